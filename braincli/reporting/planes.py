"""How a brain is shown, everywhere: which slices, which way up, which letters at their ends.

The convention is the radiological one: we look from the patient's feet (axial), face (coronal) and left side
(sagittal), so that the patient's left is on the right of a picture, and the front on its left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braincli.imaging.box import bounding_box
from braincli.imaging.volume import Volume

CONVENTION = "Radiological convention: the patient's left is on the right; in sagittal slices the front is on the left."
SAGITTAL, CORONAL, AXIAL = range(3)
NAMES = ("sagittal", "coronal", "axial")
ENDS = (("A", "P"), ("R", "L"), ("R", "L"))  # what lies at the left and the right end of a picture
APART_MM = 8.0  # least distance between parallel slices
MARGIN_MM = 6.0

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class View:
    """One slice of a volume in RAS order: ``index`` along ``axis``."""

    axis: int
    index: int

    def of(self, data: np.ndarray, box: Box | None = None) -> np.ndarray:
        """The slice of ``data`` (X, Y, Z) in RAS, within ``box``: (Y, Z), (X, Z) or (X, Y); see :func:`upright`."""
        place: list[slice | int] = list(box or (slice(None),) * 3)
        place[self.axis] = self.index
        return data[tuple(place)]

    def aspect(self, spacing: tuple[float, float, float]) -> float:
        """Height of a pixel by its width."""
        wide, tall = (mm for axis, mm in enumerate(spacing) if axis != self.axis)
        return tall / wide

    def words(self, grid: Volume) -> str:
        """``axial, z +12 mm``; ``grid`` in RAS order."""
        return f"{NAMES[self.axis]}, {'xyz'[self.axis]} {self.mm(grid):+.0f} mm"

    def mm(self, grid: Volume) -> float:
        """World position of the middle of the slice, along the axis that it is cut across; ``grid`` in RAS order."""
        middle = [size / 2 for size in grid.shape]
        middle[self.axis] = self.index
        return float((grid.affine @ [*middle, 1])[self.axis])

    @property
    def ends(self) -> tuple[str, str]:
        """The letters at the left and the right end of the picture."""
        return ENDS[self.axis]


def upright(plane: np.ndarray) -> np.ndarray:
    """A slice in RAS order as it is shown: rows from the top (front or head) down, columns from the left end."""
    return plane.T[::-1, ::-1]


def pick_slices(
    weight: np.ndarray, step_mm: float, count: int, *, axis: int = AXIAL, apart_from: tuple[int, ...] = ()
) -> list[int]:
    """Indices of at most ``count`` parallel slices, the heaviest ones, from the top down and at least 8 mm apart.

    Args:
        weight: (X, Y, Z) >= 0 in RAS.
        step_mm: distance between slices.
        apart_from: indices chosen already, to which the distance is kept.
    """
    box, sums = bounding_box(weight > 0), np.zeros(weight.shape[axis])
    sums[box[axis]] = weight[box].sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
    chosen: list[int] = []
    for index in np.argsort(-sums, kind="stable"):
        if len(chosen) == count or sums[index] <= 0:
            break
        if all(abs(index - other) * step_mm >= APART_MM for other in (*chosen, *apart_from)):
            chosen.append(int(index))
    return sorted(chosen, reverse=True)


def pick_views(
    mask: np.ndarray,
    spacing: tuple[float, float, float],
    *,
    known: np.ndarray | None = None,
    score: np.ndarray | None = None,
    count: int = 3,
) -> list[View]:
    """The slices that a case is judged by: axial ones from the top down, then a coronal and a sagittal one.

    Axial slices are those with most mask, and one more with most of what the mask misses of a known lesion. The other
    two go through the axial slice with most of it. Where there is neither, the score decides, then the middle.

    Args:
        mask, known: (X, Y, Z) bool in RAS.
        score: (X, Y, Z) >= 0.
        count: of axial slices with mask, at most.
    """
    weight = next((each for each in (mask, known, score) if each is not None and each.any()), None)
    if weight is None:
        return [View(axis, mask.shape[axis] // 2) for axis in (AXIAL, CORONAL, SAGITTAL)]
    axial = pick_slices(weight, spacing[AXIAL], count)
    if known is not None and weight is mask:
        axial += pick_slices(known & ~mask, spacing[AXIAL], 1, apart_from=tuple(axial))
    (most,) = pick_slices(weight, spacing[AXIAL], 1)
    through = weight[:, :, most : most + 1]
    crossing = [View(axis, *pick_slices(through, spacing[axis], 1, axis=axis)) for axis in (CORONAL, SAGITTAL)]
    return [*(View(AXIAL, index) for index in sorted(axial, reverse=True)), *crossing]


def brain_box(inside: np.ndarray, spacing: tuple[float, float, float]) -> Box:
    """The box of the brain (X, Y, Z) bool, with a margin."""
    slices = []
    for used, size, mm in zip(bounding_box(inside), inside.shape, spacing, strict=True):
        low, high = (used.start, used.stop) if used.stop else (0, size)
        margin = int(np.ceil(MARGIN_MM / mm))
        slices.append(slice(max(0, low - margin), min(size, high + margin)))
    return slices[0], slices[1], slices[2]
