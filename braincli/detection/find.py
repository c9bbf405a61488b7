"""One case, from images in memory to mask, maps and lesion table on their own grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from braincli.config import DetectConfig
from braincli.detection.lesions import Lesion, lesion_table
from braincli.detection.maps import channels, fuse, renormalise, segment
from braincli.detection.residuals import residual
from braincli.detection.restore import Restoration, restore
from braincli.detection.samples import averaged
from braincli.errors import ModelError, UsageError
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.slices import Slices, SliceSpec, from_volumes, normalise
from braincli.imaging.volume import Volume, onto_grid_of
from braincli.model.folder import LoadedModel
from braincli.model.info import PAPER_WEIGHTS, ModelInfo, subset
from braincli.runtime.device import precision
from braincli.runtime.progress import Reporter

if TYPE_CHECKING:
    from braincli.methods.base import MethodConfig

LARGE_SHARE = 0.3  # of the brain: no tumour of BraTS reaches it


@dataclass(frozen=True)
class Findings:
    """What was found in a case. All volumes lie on the grid of ``images``.

    Attributes:
        images: the inputs, as given.
        brain: bool.
        mask: bool.
        anomaly: float32 >= 0, weighted residual in shares of the intensity range, or the method's score; 0 outside the
            brain.
        lesions: the mask's pieces.
        weights: of the contrasts present; they sum to 1. None where the map is a score.
        threshold, min_lesion_mm3: what made the mask.
        warnings: what the user should know, in words.
        device: where the network ran in the end.
        restoration: mean over samples.
        uncertainty: float32 >= 0, standard deviation of the anomaly map over samples; None for one sample.
    """

    images: dict[Contrast, Volume]
    brain: Volume
    mask: Volume
    anomaly: Volume
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
        return float(self.mask.data.sum() * self.mask.voxel_ml)

    @property
    def share(self) -> float:
        """Of the brain that the mask covers."""
        return float(self.mask.data.sum() / max(int(self.brain.data.sum()), 1))

    @property
    def has_restoration(self) -> bool:
        """Whether the method gave one; the next three need it."""
        return self.restoration.restored is not None

    def restored(self, contrast: Contrast) -> Volume:
        """The restoration on the model's scale: 0 and 1 are the image's 1st and 99th percentile in the brain.

        The network's change, made at its pixel size, is added to the scan: detail that it left alone stays sharp.
        """
        image = self.images[contrast]
        normalised = normalise(image.data, self.brain.data, self.spec)
        return image.with_data((normalised + self._change(contrast)).clip(0, 1) * self.brain.data)

    def restored_like_input(self, contrast: Contrast) -> Volume:
        """The restoration in the input's own units, as a viewer expects; outside the brain, the input."""
        image, change = self.images[contrast], self._change(contrast)
        inside = image.data[self.brain.data]
        units = image.data.astype(np.float32)
        if self.spec.normalisation == "equalise":
            changed = change != 0
            units[changed] = quantiles(inside, self.restored(contrast).data[changed])
        else:
            low, high = np.percentile(inside, self.spec.percentiles)
            units += (high - low) * change
        return image.with_data(units)

    def _change(self, contrast: Contrast) -> np.ndarray:
        """Restoration minus input at the network's pixel size, on the input's grid; 0 outside the brain."""
        slices, (image, restored) = self.restoration.slices, self._pair(contrast)
        return slices.to_volume((restored - image) * slices.brain[:, 0]).data

    def residual(self, contrast: Contrast) -> Volume:
        """|input - restoration| in shares of the intensity range, 0 outside the brain."""
        slices = self.restoration.slices
        return slices.to_volume(residual(*self._pair(contrast)) * slices.brain[:, 0])

    def _pair(self, contrast: Contrast) -> tuple[np.ndarray, np.ndarray]:
        """Input and restoration of a contrast on the canvas."""
        found, channel = self.restoration, CONTRASTS.index(contrast)
        assert found.restored is not None
        return found.slices.image[:, channel], found.restored[:, channel]


def quantiles(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The quantiles of ``values`` (N,) at ``shares`` (M,) in [0, 1], float64, interpolated linearly.

    What ``np.quantile`` gives, which takes minutes where there are a million shares: it partitions once for each.
    """
    return np.interp(shares.astype(np.float64) * (values.size - 1), np.arange(values.size), np.sort(values))


def find_lesions(
    case_id: str,
    images: Mapping[Contrast, Volume],
    model: LoadedModel,
    config: DetectConfig,
    *,
    brain: Volume | None = None,
    reporter: Reporter | None = None,
    timed: Callable[[str], AbstractContextManager[None]] = lambda step: nullcontext(),
) -> Findings:
    """Restore a case and segment what differs.

    Args:
        case_id: part of the noise seed.
        images: skull-stripped, on one grid.
        brain: mask on that grid; by default what is not background.
        timed: told the steps ``slice``, ``restore`` and ``post-process``.

    Raises:
        InputError: grids differ, or there is no brain.
        ModelError: the model is not calibrated and ``config.threshold`` is not set.
        UsageError: a restoration or several samples were asked for and the method does not give them.
        ResourceError: out of memory.
    """
    spec = model.info.slices
    with timed("slice"):
        slices = from_volumes(images, spec, brain=brain, stride=model.method.stride)
    refuse_samples(model.info.method, model.method.config, config.samples)
    threshold, smallest = limits(model.info, slices.contrasts, config)

    def draw(sample: int) -> Restoration:
        return restore(
            slices, model, case_id=case_id, seed=config.seed, sample=sample, batch=config.batch, on_oom=config.on_oom,
            dtype=precision(model.device, config.precision), needs_restored=config.restored or config.residual,
            reporter=reporter,
        )  # fmt: skip

    def to_map(found: Restoration) -> np.ndarray:
        return fuse(channels(found, model.info.map), contrast_weights(model.info, slices.contrasts)[0])

    with timed("restore"):
        result, spread = averaged(draw, config.samples, to_map)
    weights, warnings = contrast_weights(model.info, slices.contrasts, scored=result.score is not None)
    with timed("post-process"):
        anomaly = slices.to_volume(to_map(result))
        voxel_mm3 = anomaly.voxel_ml * 1000
        smallest = max(smallest, config.min_lesion_voxels * voxel_mm3)
        mask = anomaly.with_data(segment(anomaly.data, threshold, voxel_mm3, smallest))
        brain = inside(slices)
        warnings += sanity(mask, brain)
        lesions = lesion_table(mask, anomaly)
    return Findings(
        dict(images), brain, mask, anomaly, lesions, weights, threshold, smallest, warnings, result.device, result,
        spec, None if spread is None else slices.to_volume(spread),
    )  # fmt: skip


def refuse_samples(method: str, options: MethodConfig, samples: int) -> None:
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
    return onto_grid_of(slices.ras.with_data(slices.brain_volume), slices.grid)


def contrast_weights(
    info: ModelInfo, contrasts: Sequence[Contrast], *, scored: bool = False
) -> tuple[dict[Contrast, float], list[str]]:
    """The model's weights for the contrasts present (the paper's where it is not calibrated; none where the map is a
    score), and what to tell the user where some are missing."""
    found = info.calibration_for(contrasts)
    weights = {} if scored else renormalise(found.weights if found else PAPER_WEIGHTS, contrasts)
    missing = [contrast.upper() for contrast in info.contrasts if contrast not in contrasts]
    if not missing:
        return weights, []
    text = f"missing: {', '.join(missing)}"
    if subset(contrasts) in info.subsets:
        return weights, [f"{text}; weights and threshold are those calibrated for {subset(contrasts)}"]
    if weights:
        used = ", ".join(f"{contrast} {weight:.2f}" for contrast, weight in weights.items())
        text += f"; the weights of the others were renormalised ({used})"
    return weights, [text + "; the threshold was calibrated with all contrasts"]


def limits(info: ModelInfo, contrasts: Sequence[Contrast], config: DetectConfig) -> tuple[float, float]:
    """Threshold of the anomaly map and smallest lesion in mm³: the user's, or else the model's for these contrasts.

    Raises:
        ModelError: neither gives a threshold.
    """
    found = info.calibration_for(contrasts)
    if config.threshold is None and found is None:
        raise ModelError(
            f"The model {info.name} is not calibrated: it has no threshold.",
            "Run braincli calibrate on cases with masks, or give --threshold.",
        )
    threshold = found.threshold if found else 0.0
    smallest = found.min_lesion_mm3 if found else 0.0
    return (
        threshold if config.threshold is None else config.threshold,
        smallest if config.min_lesion_mm3 is None else config.min_lesion_mm3,
    )


def sanity(mask: Volume, brain: Volume) -> list[str]:
    """Warnings about a mask that can hardly be right."""
    if not mask.data.any():
        return ["the mask is empty: no region exceeds the threshold and the smallest lesion"]
    share = float(mask.data.sum() / brain.data.sum())
    if share > LARGE_SHARE:
        return [f"the mask covers {share:.0%} of the brain; look at the picture, and at contrast and preparation"]
    return []
