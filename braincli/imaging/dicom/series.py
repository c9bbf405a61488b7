"""The images of a study -> its three-dimensional series, with their place in the world and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from braincli.imaging.dicom.headers import Image, Parameters
from braincli.wording import counted

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SAME_PLACE = 0.05  # of the distance between slices
FEWEST = 8  # slices of a scan; localisers have fewer in each plane
LOWEST_MM = 75.0  # of a brain's extent that a scan shows along every axis


@dataclass(frozen=True)
class Series:
    """Images that lie above each other: a series, or the part of one that has one echo, orientation and size.

    Attributes:
        label: its number, with a letter where several have the same: ``7``, ``5a``.
        images: from one end to the other.
        affine: (4, 4) voxel (column, row, slice) -> RAS mm; None where the images have no place in the world.
        flaw: why it is no whole scan, in words; empty for a sound one.
        unfit: why it cannot be one at all: a localiser, a series over time, a colour picture ...
    """

    label: str
    images: tuple[Image, ...]
    affine: np.ndarray | None = field(default=None, repr=False, compare=False)
    flaw: str = ""
    unfit: str = ""

    @property
    def parameters(self) -> Parameters:
        """How it was measured."""
        return self.images[0].parameters

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        first = self.images[0]
        return first.columns, first.rows, len(self.images)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Mm between columns, rows and slices; 0 where it has no place in the world."""
        if self.affine is None:
            return 0.0, 0.0, 0.0
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def looks(self) -> str:
        """What a person tells it from others by: ``3D, 1.0 x 1.0 x 1.2 mm, 160 slices``."""
        size = " x ".join(f"{mm:.1f}" for mm in self.spacing)
        parts = [
            self.parameters.acquisition,
            f"{size} mm" if self.affine is not None else "",
            counted(self.shape[2], "slice"),
        ]
        return ", ".join(part for part in parts if part)


def series_of(images: Iterable[Image]) -> list[Series]:
    """The series of a study, by number; an image that was copied twice counts once."""
    once = {(image.uid, image.frame): image for image in images}
    stacks: dict[tuple[object, ...], list[Image]] = {}
    for image in once.values():
        stacks.setdefault((image.series_uid, *_alike(image)), []).append(image)
    numbers: dict[int, list[list[Image]]] = {}
    for stack in sorted(stacks.values(), key=_order):
        numbers.setdefault(stack[0].parameters.number, []).append(stack)
    return [
        _series(f"{number}{_letter(index) if len(several) > 1 else ''}", stack)
        for number, several in sorted(numbers.items())
        for index, stack in enumerate(several)
    ]


def _alike(image: Image) -> tuple[object, ...]:
    """What is the same in all slices of one scan."""
    parameters = image.parameters
    turned = None if image.orientation is None else tuple(round(part, 2) for part in image.orientation)
    times = [None if ms is None else round(ms) for ms in (parameters.echo_ms, parameters.inversion_ms)]
    return image.rows, image.columns, turned, *times, parameters.kind, parameters.b_value


def _order(stack: Sequence[Image]) -> tuple[int, float, int]:
    parameters = stack[0].parameters
    return parameters.number, parameters.echo_ms or 0.0, min(image.instance for image in stack)


def _letter(index: int) -> str:
    return chr(ord("a") + index % 26) * (1 + index // 26)


def _series(label: str, stack: Sequence[Image]) -> Series:
    found = Series(label, tuple(sorted(stack, key=lambda image: (image.instance, image.frame))))
    if unfit := _no_scan(stack[0]):
        return replace(found, unfit=unfit)
    normal, places = _along_normal(stack)
    order = np.argsort(places, kind="stable")
    found, places = replace(found, images=tuple(stack[index] for index in order)), places[order]
    if len(stack) < FEWEST:
        return replace(found, unfit=f"a localiser or single images: {len(stack)} of one orientation")
    steps = np.diff(places)
    step = float(np.median(steps[steps > 1e-3])) if (steps > 1e-3).any() else 0.0
    if step == 0 or (steps < SAME_PLACE * step).any():
        return replace(found, unfit="several images at one place: a series over time, of diffusion, or of averages")
    found = replace(found, affine=_affine(found.images, normal * float(places[-1] - places[0]) / (len(places) - 1)))
    extent = np.array(found.shape) * found.spacing
    if extent.min() < LOWEST_MM:
        return replace(found, unfit=f"it shows {extent.min():.0f} mm of the head only")
    return replace(found, flaw=_flaw(found, steps, step))


def _no_scan(image: Image) -> str:
    """Why an image belongs to no scan of MR at all."""
    modality = image.parameters.modality
    if modality != "MR":
        return f"no MR ({modality})" if modality else "no MR"
    if image.colour:
        return "a picture in colour"
    if image.position is None or image.orientation is None or image.spacing is None or 0 in image.spacing:
        return "pictures without a place in the patient"
    return ""


def _along_normal(stack: Sequence[Image]) -> tuple[np.ndarray, np.ndarray]:
    """The unit normal (3,) of the slices, LPS, and where they lie along it (N,) in mm."""
    rows, columns = np.array(stack[0].orientation).reshape(2, 3)
    normal = np.cross(rows, columns)
    normal /= max(float(np.linalg.norm(normal)), 1e-6)
    return normal, np.array([image.position for image in stack]) @ normal


def _affine(images: Sequence[Image], step: np.ndarray) -> np.ndarray:
    """(4, 4) voxel (column, row, slice) -> RAS mm, by equation C.7.6.2.1-1 of DICOM PS3.3."""
    first = images[0]
    assert first.orientation is not None and first.spacing is not None and first.position is not None
    rows, columns = np.array(first.orientation).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = rows * first.spacing[1], columns * first.spacing[0], step
    affine[:3, 3] = first.position
    return RAS_FROM_LPS @ affine


def _flaw(series: Series, steps: np.ndarray, step: float) -> str:
    """What keeps a series from being a whole scan."""
    if missing := int(np.rint(steps / step).sum()) - len(steps):
        return f"{missing} of {len(steps) + 1 + missing} slices are missing"
    if np.abs(steps - step).max() > SAME_PLACE * step:
        return f"its slices are {steps.min():.2f} to {steps.max():.2f} mm apart"
    assert series.affine is not None
    expected = (RAS_FROM_LPS @ series.affine)[:3]
    places = np.array([image.position for image in series.images])
    line = expected[:, 3] + np.arange(len(places))[:, None] * expected[:, 2]
    if np.abs(places - line).max() > SAME_PLACE * step + 0.05:
        return "its slices do not lie above each other"
    if short := sum(image.short > 0 for image in series.images):
        files = len({image.path for image in series.images})
        return f"{short} of {files} files are cut off" if files > 1 else "its file is cut off"
    return ""
