"""One case, from images in memory to mask, maps and lesion table on their own grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from braincli.config import DetectConfig
from braincli.detection.contrasts import choose
from braincli.detection.lesions import Lesion, Space, label_lesions, lesion_table
from braincli.detection.maps import anomaly_map, core, counting, rise, segment, share_out
from braincli.detection.ongrid import OnGrid
from braincli.detection.restore import Restoration, restore
from braincli.detection.samples import averaged
from braincli.errors import UsageError
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.coverage import about_unused, cover
from braincli.imaging.slices import Slices, SliceSpec, from_volumes, on_one_grid
from braincli.imaging.volume import Volume, view_onto
from braincli.model.folder import LoadedModel
from braincli.runtime.device import precision
from braincli.runtime.overlap import Steps, in_one_go
from braincli.runtime.progress import Reporter
from braincli.spec import MapOptions
from braincli.wording import counted

if TYPE_CHECKING:
    from braincli.methods.base import PlainConfig

LARGE_SHARE = 0.3  # of the brain: no tumour of BraTS reaches it


@dataclass(frozen=True)
class Findings(OnGrid):
    """What was found in a case. All volumes lie on the grid of ``images``.

    Attributes:
        images: the inputs that were looked at, as given.
        brain: bool.
        mask: bool.
        anomaly: float32 >= 0, weighted residual in shares of the intensity range, or the method's score or suspicion; 0
            outside the brain.
        labels: int, which of them each voxel of the mask is in. lesions: the mask's pieces.
        weights: of these; they sum to 1. None where the map is a score, or suspicion alone.
        threshold, min_lesion_mm3: what made the mask; the threshold of this case, where the model's rises with its map.
        warnings: what the user should know, in words.
        device: where the network ran in the end.
        restoration: mean over samples.
        uncertainty: float32 >= 0, standard deviation of the anomaly map over samples; None for one sample.
    """

    images: dict[Contrast, Volume]
    brain: Volume
    mask: Volume
    anomaly: Volume
    labels: Volume
    lesions: list[Lesion]
    weights: dict[Contrast, float]
    threshold: float
    min_lesion_mm3: float
    warnings: list[str]
    device: str
    restoration: Restoration
    spec: SliceSpec
    uncertainty: Volume | None = None

    @property
    def volume_ml(self) -> float:
        """Volume of the mask."""
        return np.count_nonzero(self.mask.data) * self.mask.voxel_ml

    @property
    def share(self) -> float:
        """Of the brain that the mask covers."""
        return np.count_nonzero(self.mask.data) / max(int(np.count_nonzero(self.brain.data)), 1)


def search(
    case_id: str,
    images: Mapping[Contrast, Volume],
    model: LoadedModel,
    config: DetectConfig,
    *,
    brain: Volume | None = None,
    space: Space | None = None,
    reporter: Reporter | None = None,
    timed: Callable[[str], AbstractContextManager[None]] = lambda step: nullcontext(),
) -> Steps[Findings]:
    """Restore a case and segment what differs; in parts that end before and after the network.

    Args:
        case_id: part of the noise seed.
        images: skull-stripped, on one grid.
        brain: mask on that grid; by default what is not background.
        space: where that grid lies, for the lesion table.
        timed: told the steps ``slice``, ``restore`` and ``post-process``.

    Raises:
        InputError: grids differ, there is no brain, or the model is not calibrated for these contrasts.
        ModelError: the model is not calibrated and ``config.threshold`` is not set, or its network gives no numbers.
        UsageError: a restoration or several samples were asked for and the method does not give them.
        ResourceError: out of memory.
    """
    spec = model.info.slices
    refuse_samples(model.info.method, model.method.config, config.samples)
    notes = on_one_grid([*images.values()])  # what is not looked at, too: the case is not what it seems
    choice = choose(model.info, images, config)
    unused = {contrast: image for contrast, image in images.items() if contrast not in choice.contrasts}
    images = {contrast: images[contrast] for contrast in choice.contrasts}
    uncorrected: list[str] = []
    if config.n4:
        with timed("bias field"):
            images, uncorrected = without_bias(images, brain)
    with timed("slice"):
        slices = from_volumes(images, spec, brain=brain, stride=model.method.stride, threads=config.threads)
    counts = counting(slices, model.info.map)
    yield

    def draw(sample: int) -> Restoration:
        return restore(
            slices, model, case_id=case_id, seed=config.seed, sample=sample, batch=config.batch, on_oom=config.on_oom,
            dtype=precision(model.device, config.precision), needs_restored=config.restored or config.residual,
            reporter=reporter, samples=config.samples,
        )  # fmt: skip

    def to_map(restoration: Restoration) -> np.ndarray:
        return anomaly_map(restoration, model.info.map, choice.weights, counts, threads=config.threads)

    with timed("restore"):
        result, spread = averaged(draw, config.samples, to_map)
    yield
    weights = choice.weights if result.score is None else {}
    warnings = [*choice.warnings, *uncorrected, *slices.warnings, *beyond(slices, spec)]
    warnings += unjudged(slices, counts, weights, model.info.map)
    warnings += [note for note in notes if note not in warnings]
    with timed("post-process"):
        fused = to_map(result)
        anomaly, threshold = (
            slices.to_volume(fused),
            choice.threshold * rise(fused, slices.brain[:, 0], choice.rises_from),
        )
        voxel_mm3 = anomaly.voxel_ml * 1000
        smallest = max(choice.min_lesion_mm3, config.min_lesion_voxels * voxel_mm3)
        mask = anomaly.with_data(segment(anomaly.data, threshold, voxel_mm3, smallest))
        brain = inside(slices)
        warnings += [*about_unused(unused, brain.data), *sanity(mask, brain)]
        labels = label_lesions(mask)
        lesions = lesion_table(
            labels, anomaly, brain=brain, images=images, space=space, threads=config.threads
        )  # fmt: skip
    return Findings(
        dict(images), brain, mask, anomaly, labels, lesions, weights, threshold, smallest, warnings, result.device,
        result, spec, None if spread is None else slices.to_volume(spread),
    )  # fmt: skip


find_lesions = in_one_go(search)


def refuse_samples(method: str, options: PlainConfig, samples: int) -> None:
    """Raise where several samples would all be the same.

    Raises:
        UsageError: the method is deterministic.
    """
    if samples > 1 and not options.stochastic:
        raise UsageError(
            f"The method {method} is deterministic: all its samples are the same.",
            "Leave out --samples and --uncertainty.",
        )


def inside(slices: Slices) -> Volume:
    """The brain mask (bool) on the grid of the input."""
    return view_onto(slices.ras.with_data(slices.brain_volume), slices.grid)


def without_bias(images: Mapping[Contrast, Volume], brain: Volume | None) -> tuple[dict[Contrast, Volume], list[str]]:
    """``images`` with their bias fields divided out (N4, where each shows the brain), and which had none to divide."""
    from braincli.preprocessing.intensity import has_bias, n4

    coverage = cover(images, brain)
    corrected, warnings = dict(images), []
    for contrast, image in images.items():
        if not has_bias(image.data):
            warnings.append(
                f"{contrast.upper()} has negative intensities (z-scores?); its bias field was not estimated"
            )
            continue
        seen = coverage.brain & ~coverage.hidden.get(contrast, np.zeros_like(coverage.brain)) & (image.data > 0)
        corrected[contrast] = image.with_data(n4(image.data, seen, image.spacing))
    return corrected, warnings


def beyond(slices: Slices, spec: SliceSpec) -> list[str]:
    """A warning where the model looks at a range of slices, and the scan holds more."""
    if spec.range == "all" or not slices.beyond:
        return []
    first, last = spec.range
    mm = "" if spec.slice_mm == "own" else f" of {spec.slice_mm:g} mm"
    return [
        f"only the slices {first} to {last}{mm} were looked at, as in training: "
        f"outside them, {counted(slices.beyond, 'slice')} of brain got no mask"
    ]


def unjudged(
    slices: Slices, counts: np.ndarray | None, weights: Mapping[Contrast, float], options: MapOptions
) -> list[str]:
    """A warning where the contrasts that show a part of the brain hold too little weight to judge it."""
    if counts is None or not weights:
        return []
    vector = np.array([[weights.get(c, 0.0) for c in CONTRASTS]], dtype=np.float32)
    judged = share_out(vector, counts)[0][core(slices.brain[:, 0], slices.spacing, options)] > 0
    share = 1 - float(judged.mean()) if judged.size else 0.0
    return [f"{share:.0%} of the brain was not judged: too few contrasts show it"] if share > 0.01 else []


def sanity(mask: Volume, brain: Volume) -> list[str]:
    """Warnings about a mask that can hardly be right."""
    if not mask.data.any():
        return ["the mask is empty: no region exceeds the threshold and the smallest lesion"]
    share = np.count_nonzero(mask.data) / np.count_nonzero(brain.data)
    if share > LARGE_SHARE:
        return [f"the mask covers {share:.0%} of the brain; look at the picture, and at contrast and preparation"]
    return []
