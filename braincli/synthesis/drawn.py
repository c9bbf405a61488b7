"""The synthetic data set of DeScarGAN as cohorts: drawn images, stacked as slices of cases that every command reads.

An image is a slice of 1 mm pixels that pose as T1; 20 mm apart, for they have nothing to do with each other. A case
holds images of one class. Each draw is kept as the healthy or as the diseased image, never as both, so that classes are
unpaired.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from braincli.config import SynthConfig
from braincli.errors import UsageError
from braincli.imaging import volume
from braincli.imaging.results import ResultFiles
from braincli.imaging.volume import Volume
from braincli.runtime import cohort, files
from braincli.runtime.progress import Reporter
from braincli.runtime.provenance import RunRecord
from braincli.synthesis.ellipses import SIDE, THRESHOLD, Drawing, draw
from braincli.synthesis.run import PLANTED, Synthetic

PARTS = ("train", "val", "test")
STACK = 50  # images of a case, at most
PLANTING = ("run", "count", "radius_mm", "margin_mm", "pixel_mm")  # options of the kinds that plant
MARGIN = 8  # pixels around an image that hold 0, by which it is known as background
RIM = 2  # of an image, left out: canvases of 256 pixels of 1 mm and of 128 of 2 mm hold the rest and a pixel to spare
APART_MM = 20.0
UNITS, LOWEST = 1000.0, -1.0  # an intensity of 0 stands for less than any image holds


@dataclass(frozen=True)
class Stack:
    """Case ``number`` of a class: the images ``first`` to ``last`` - 1 of a part."""

    part: str
    diseased: bool
    number: int
    first: int
    last: int
    problem: None = None  # as cases have one

    @property
    def id(self) -> str:
        """Name of the case."""
        return f"{self.part}-{'diseased' if self.diseased else 'healthy'}-{self.number:03d}"

    def drawings(self, seed: int) -> list[Drawing]:
        """What the images show; each depends on its number, whatever the size of the set."""
        return [draw(_generator(f"{seed}/{self.part}/{self.diseased}/{n}")) for n in range(self.first, self.last)]


def refuse_strange(config: SynthConfig, *, scans: bool) -> None:
    """Raise where what was asked for and the kind do not go together.

    Args:
        scans: whether some were given to plant into.

    Raises:
        UsageError: scans are missing, or none are wanted; an option of other kinds; a number of images that is none.
    """
    drawn = config.kind == "ellipses"
    strange = [name for name in (PLANTING if drawn else ("images",)) if name in config.model_fields_set]
    if drawn and scans:
        raise UsageError("Kind ellipses draws its images: it takes no scans.", "Leave the inputs out, or the kind.")
    if not drawn and not scans:
        raise UsageError("There is nothing to plant anomalies into.", "Name prepared scans; kind ellipses needs none.")
    if strange:
        flag = "--" + strange[0].replace("_", "-")
        raise UsageError(f"{flag} means nothing with kind {config.kind}.", "Leave it out, or choose another kind.")
    if drawn and (min(config.images) < 0 or 1 in config.images or not any(config.images)):
        asked = " ".join(map(str, config.images))
        raise UsageError(f"--images {asked}: each is 0, or 2 and more, and not all 0.", "A case is a stack of them.")


def draw_set(out: Path, config: SynthConfig, reporter: Reporter) -> list[Synthetic]:
    """Write ``config.images`` images of each class to ``out/train``, ``out/val`` and ``out/test``.

    The folder of a case gets ``<case>_t1.nii.gz``, ``<case>_brainmask.nii.gz`` (the image without its rim),
    ``<case>_seg.nii.gz`` (where a diseased image differs from its healthy version by more than THRESHOLD), of diseased
    images ``<case>_residual-t1.nii.gz`` (healthy - diseased, signed, in the scan's units) and, last,
    ``<case>_synth.json`` with all parameters.

    Raises:
        UsageError: an output exists.
        CohortError: some cases failed; it lists them, ``outcomes`` holds what came of each.
    """
    stacks = [
        Stack(part, diseased, number, first, last)
        for part, count in zip(PARTS, config.images, strict=True)
        for diseased in (False, True)
        for number, (first, last) in enumerate(pairwise(_cuts(count)), start=1)
    ]
    outcomes = cohort.each(stacks, lambda stack: _write(stack, out / stack.part / stack.id, config), reporter)
    return cohort.results(outcomes, again="Mend that and run again with --overwrite")


def _cuts(count: int) -> list[int]:
    """Where ``count`` images are cut into cases: none larger than STACK, and none of a single image, if it can be."""
    cases = -(-count // STACK)
    return [count * number // cases for number in range(cases + 1)] if cases else []


def _write(stack: Stack, folder: Path, config: SynthConfig) -> Synthetic:
    roles = ["t1", "brainmask", "seg", *(["residual-t1"] if stack.diseased else [])]
    paths = {role: folder / f"{stack.id}_{role}.nii.gz" for role in roles}
    sidecar = folder / f"{stack.id}_synth.json"
    for path in (*paths.values(), sidecar):
        files.refuse_overwrite(path, overwrite=config.overwrite)
    record = RunRecord("synth", stack.id, config.model_dump(mode="json"), {})
    drawings = stack.drawings(config.seed)
    with record.timed("draw"):
        content = _volumes(drawings, diseased=stack.diseased)
    sidecar.unlink(missing_ok=True)
    for role, path in paths.items():
        volume.save(content[role], path, overwrite=config.overwrite)
        record.add_output(path)
    record.facts |= {
        "kind": config.kind, "seed": config.seed, "group": "diseased" if stack.diseased else "healthy",
        "labels": {"planted": PLANTED}, "threshold": THRESHOLD, "units": "1000 (value + 1), 0 beside the image",
        "images": [drawing.as_dict() for drawing in drawings],
    }  # fmt: skip
    record.write(sidecar)
    mask = content["seg"]
    planted = [round(float(mask.data.sum() * mask.voxel_ml), 3)] if stack.diseased else []
    written = ResultFiles(folder.absolute(), {role: path.name for role, path in paths.items()})
    return Synthetic(stack.id, folder, planted, 0.0, [], written)


def _volumes(drawings: list[Drawing], *, diseased: bool) -> dict[str, Volume]:
    """The volumes of a case, by their role."""
    healthy = np.stack([drawing.healthy() for drawing in drawings])
    shown = np.stack([drawing.diseased() for drawing in drawings]) if diseased else healthy
    inner = np.zeros_like(healthy, dtype=bool)
    inner[:, RIM:-RIM, RIM:-RIM] = True
    residual = (healthy - shown) * inner
    return {
        "t1": _volume(np.rint((shown - LOWEST) * UNITS * inner).astype(np.int16)),
        "brainmask": _volume(inner),
        "seg": _volume(np.abs(residual) > THRESHOLD),
        "residual-t1": _volume(np.rint(residual * UNITS).astype(np.int16)),
    }


def _volume(stack: np.ndarray) -> Volume:
    """Images (S, H, W) -> (X, Y, Z) in RAS order: rows run from anterior to posterior, as on every canvas."""
    padded = np.pad(stack, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    affine = np.diag([1.0, 1.0, APART_MM, 1.0])
    affine[:2, 3] = -(SIDE + 2 * MARGIN - 1) / 2
    return Volume(np.ascontiguousarray(padded[:, ::-1].transpose(2, 1, 0)), affine)


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"ellipses/{name}".encode()).digest()[:8], "big"))
