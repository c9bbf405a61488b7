"""Volumes <-> batches of axial slices.

A model sees axial slices of fixed pixel size on a canvas centred on the brain: rows run from anterior to posterior,
columns from left to right. Resampling is separable and linear, so that it is two small matrices per volume (three,
where slices are resampled through the plane, too; :func:`_weights`) and the way back is as many more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from braincli.errors import InputError
from braincli.imaging.box import as_stored, blank, bounding_box, percentiles
from braincli.imaging.cases import CONTRASTS, Case, Contrast
from braincli.imaging.coverage import cover
from braincli.imaging.reading import load_images
from braincli.imaging.volume import (
    Volume,
    load,
    mask_on_grid_of,
    nearly_same_grid,
    reorient,
    same_grid,
    view_along,
    warned,
)
from braincli.runtime.side_by_side import mapped
from braincli.spec import SliceSpec as SliceSpec

Box = tuple[slice, ...]
SAME_MM = 0.01  # slices closer to the spacing that is asked for are left as they are


@dataclass(frozen=True)
class Slices:
    """All slices of one case that hold brain.

    Attributes:
        image: (S, C, H, W) float32 in [0, 1]; background, absent contrasts, and what a contrast does not show, are 0; C
            follows CONTRASTS.
        brain: (S, 1, H, W) bool.
        index: (S,) number of each slice, from 0 at the bottom of the scan: of the scan's own, or of those that it was
            resampled to.
        contrasts: those present.
        rows, columns: (n, H) and (n, W) matrices from the canvas back to the RAS grid.
        grid: one of the input volumes, as given; results go back onto its grid.
        ras: the same volume in RAS order.
        brain_volume: (X, Y, Z) bool on the RAS grid.
        spacing: (z, y, x) of the canvas in mm.
        planes: (n, S) matrix from resampled slices back to the RAS grid; None: slices are the scan's own.
        beyond: how many slices with enough brain lie outside the range that is looked at.
        hidden: (X, Y, Z) bool on the RAS grid for each contrast that does not show all of the brain: where it does not.
        shown: (S, C, H, W) bool, where each contrast shows the brain on the canvas; None where nothing is hidden.
        warnings: about brain and coverage, in words.
    """

    image: np.ndarray
    brain: np.ndarray
    index: np.ndarray
    contrasts: tuple[Contrast, ...]
    rows: np.ndarray
    columns: np.ndarray
    grid: Volume
    ras: Volume
    brain_volume: np.ndarray
    spacing: tuple[float, float, float]
    hidden: Mapping[Contrast, np.ndarray] = field(default_factory=dict)
    shown: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    planes: np.ndarray | None = None
    beyond: int = 0

    def to_volume(self, values: np.ndarray) -> Volume:
        """(S, H, W) values on the canvas -> float32 volume on the input's grid, 0 outside the brain."""
        full = blank(self.grid.data)
        box, shown = self.to_box(values)
        view_along(self.grid.with_data(full)).data[box] = shown  # written to: full
        return self.grid.with_data(full)

    def to_box(self, values: np.ndarray, around: np.ndarray | None = None) -> tuple[Box, np.ndarray]:
        """(S, H, W) values on the canvas -> a box of the RAS grid, and float32 values (X, Y, Z) there.

        0 outside the brain, and in planes that no slice shows.

        Args:
            around: (S, H, W) bool; the box holds what these pixels reach of the brain. None: the brain.
        """
        x, y, _ = bounding_box(self.brain_volume)
        y = _backwards(y, self.ras.shape[1])
        part = (slice(None),) * 3 if around is None else bounding_box(around)
        (y, rows), (x, columns) = (
            _reached(matrix, pixels, within)
            for matrix, pixels, within in ((self.rows, part[1], y), (self.columns, part[2], x))
        )
        planes, chosen, weights = self._through(part[0])
        up = _separable(values[chosen, rows, columns], self.rows[y, rows], self.columns[x, columns])[:, ::-1]
        if weights is not None:
            up = np.tensordot(weights, up, axes=1).astype(np.float32)
        box = (x, _backwards(y, self.ras.shape[1]), _span(planes))
        brain = self.brain_volume[box].T
        if len(up) < len(brain):  # planes between them that no slice shows
            shown = np.zeros(brain.shape, np.float32)
            shown[planes - box[2].start] = up
            up = shown
        up *= brain
        return box, up.T

    def _through(self, part: slice) -> tuple[np.ndarray, slice, np.ndarray | None]:
        """Planes of the RAS grid that the slices ``part`` reach, the slices that show these, and their weights."""
        reaching = np.zeros(len(self.index), bool)
        reaching[part] = True
        if self.planes is None:
            return self.index[part], part, None
        planes = self.shown_planes(np.ones(len(self.index), bool))
        planes = planes[self.planes[np.ix_(planes, reaching)].any(axis=1)]
        chosen = _span(np.flatnonzero(self.planes[planes].any(axis=0)))
        return planes, chosen, self.planes[planes, chosen]

    def rows_of(self, chosen: np.ndarray) -> Slices:
        """The slices ``chosen`` (indices, in their order) alone, on the same scan."""
        return replace(
            self, image=self.image[chosen], brain=self.brain[chosen], index=self.index[chosen],
            shown=None if self.shown is None else self.shown[chosen],
            planes=None if self.planes is None else self.planes[:, chosen],
        )  # fmt: skip

    def shown_planes(self, rows: np.ndarray) -> np.ndarray:
        """(n,) indices of the RAS grid's planes that the slices ``rows`` (S,) bool show; each belongs to one slice."""
        if self.planes is None:
            return np.asarray(self.index[rows])
        known = self.planes.sum(axis=1) > 0
        return np.flatnonzero(known & rows[self.planes.argmax(axis=1)])

    def numbers(self, planes: np.ndarray) -> np.ndarray:
        """(P,) numbers of the slices that are nearest to ``planes`` (P,) of the RAS grid."""
        if self.planes is None:
            return planes
        n, plane_mm, slice_mm = self.ras.shape[2], self.ras.spacing[2], self.spacing[0]
        place = (planes - (n - 1) / 2) * plane_mm / slice_mm + (_count(n, plane_mm, slice_mm) - 1) / 2
        return np.floor(place + 0.5).astype(int)

    def looked_at(self, spec: SliceSpec) -> np.ndarray:
        """(n,) bool: planes of the RAS grid that lie in the range of ``spec``."""
        return _looked_at(self.numbers(np.arange(self.ras.shape[2])), spec)

    def to_canvas(self, data: np.ndarray, spec: SliceSpec) -> np.ndarray:
        """(X, Y, Z) array on the RAS grid -> (S, H, W) float32 share or mean per canvas pixel."""
        box = bounding_box(self.brain_volume)
        rows, columns = _canvas(box, self.ras.shape, self.ras.spacing, spec, self.image.shape[2:])
        down = _through(self.ras.shape[2], self.ras.spacing[2], spec)
        stack = data.T[self.index] if down is None else np.tensordot(down[self.index], data.T, axes=1)
        return _separable(stack[:, ::-1], rows, columns)


def from_volumes(
    volumes: Mapping[Contrast, Volume], spec: SliceSpec, *,
    brain: Volume | None = None, stride: int = 1, threads: int | None = 1,
) -> Slices:  # fmt: skip
    """Cut a case into slices.

    Args:
        volumes: skull-stripped images on one grid.
        brain: mask on the same grid; by default, and what each contrast shows of it, as
            :func:`braincli.imaging.coverage.cover` says.
        stride: H and W are multiples of it.
        threads: see :func:`braincli.runtime.side_by_side.mapped`.

    Raises:
        InputError: the grids differ, there is no brain, or it cannot be one.
    """
    first = next(iter(volumes.values()))
    notes = on_one_grid([*volumes.values(), *([brain] if brain is not None else [])])
    coverage = cover(volumes, brain, threads=threads)
    ras = {contrast: view_along(volume) for contrast, volume in volumes.items()}
    grid = next(iter(ras.values()))
    mask, *parts = (view_along(first.with_data(part)).data for part in (coverage.brain, *coverage.hidden.values()))
    hidden = dict(zip(coverage.hidden, parts, strict=True))
    box = bounding_box(mask)
    size = _canvas_size(box, grid.spacing, spec, stride)
    rows, columns = _canvas(box, grid.shape, grid.spacing, spec, size)
    rows, columns = rows[:, _backwards(box[1], grid.shape[1])], columns[:, box[0]]
    down = _through(grid.shape[2], grid.spacing[2], spec)

    def onto_canvas(data: np.ndarray, kept: slice | np.ndarray = slice(None)) -> np.ndarray:
        stack = data.T[kept] if down is None else np.tensordot(down[kept, box[2]], data.T, axes=1)
        return _separable(stack[:, ::-1], rows, columns)

    brain_box = mask[box]
    share = onto_canvas(brain_box)
    inside = share > 0.5
    number = np.arange(len(share)) + (box[2].start if down is None else 0)
    enough = inside.sum(axis=(1, 2)) * spec.pixel_mm**2 >= spec.min_brain_mm2
    keep = enough & _looked_at(number, spec)
    if not keep.any():
        raise _nothing_to_see(number[enough], spec)
    image = np.zeros((int(keep.sum()), len(CONTRASTS), *size), dtype=np.float32)
    shown = np.zeros(image.shape, dtype=bool) if hidden else None

    def cut(contrast: Contrast) -> None:
        channel, seen, part, within = CONTRASTS.index(contrast), brain_box, share, inside
        if contrast in hidden:
            seen = brain_box & ~hidden[contrast][box]
            part = onto_canvas(seen)
            within = inside & (part > 0.5)
        canvas = onto_canvas(normalise(ras[contrast].data[box], seen, spec), keep)
        # dividing by the brain's share keeps pixels at its edge as bright as the tissue in them
        image[:, channel] = np.where(within[keep], canvas / np.maximum(part[keep], 0.5), 0)
        if shown is not None:
            shown[:, channel] = within[keep]

    mapped(cut, ras, threads)
    return Slices(
        image=image.clip(0, 1),
        brain=inside[keep][:, None],
        index=number[keep],
        contrasts=tuple(c for c in CONTRASTS if c in ras),
        rows=_up(box, 1, grid, spec, size[0]),
        columns=_up(box, 0, grid, spec, size[1]),
        grid=first,
        ras=grid,
        brain_volume=mask,
        spacing=(grid.spacing[2] if down is None else float(spec.slice_mm), spec.pixel_mm, spec.pixel_mm),
        hidden=hidden,
        shown=shown,
        warnings=(*notes, *coverage.warnings),
        planes=None if down is None else _back_through(grid.shape[2], grid.spacing[2], spec, number[keep]),
        beyond=int((enough & ~keep).sum()),
    )


def on_one_grid(volumes: Sequence[Volume]) -> list[str]:
    """Notes, in words, where grids differ by more than rounding but less than matters.

    Raises:
        InputError: they differ.
    """
    notes = []
    for volume in volumes[1:]:
        if problem := same_grid(volumes[0], volume):
            raise InputError(problem.message, problem.hint)
        notes += nearly_same_grid(volumes[0], volume)
    return notes


def normalise(data: np.ndarray, brain: np.ndarray, spec: SliceSpec) -> np.ndarray:
    """(X, Y, Z) float32 in [0, 1], 0 outside ``brain``; a constant image becomes all 0."""
    whole = blank(data)
    box = bounding_box(brain)
    data, brain, result = as_stored(data[box], brain[box], whole[box])
    inside = data[brain]
    if not inside.size:
        return whole
    if spec.normalisation == "equalise":
        kinds, counts = np.unique(inside, return_counts=True)  # scans of whole numbers have few: quick to look up in
        below = np.cumsum(counts) - counts
        result[brain] = below[np.searchsorted(kinds, inside)] / len(inside)
        return whole
    low, high = percentiles(inside, spec.percentiles)
    if high > low:
        scaled = inside - np.float32(low)
        scaled /= np.float32(high - low)
        result[brain] = scaled.clip(0, 1, out=scaled)
    return whole


def load_case(case: Case, spec: SliceSpec, *, stride: int = 1) -> tuple[Slices, np.ndarray | None]:
    """Read a prepared case; also its lesion as (S, H, W) share per canvas pixel, or None where it has no mask.

    Raises:
        InputError: a file is unusable, or the grids differ.
    """
    volumes = load_images(case)
    brain = load(case.brain, labels=True) if case.brain else None
    slices = from_volumes(volumes, spec, brain=brain, stride=stride)
    lesion = load(case.lesion, labels=True) if case.lesion else None
    read = [volume for volume in (*volumes.values(), brain, lesion) if volume is not None]
    slices = replace(slices, warnings=(*warned(*read), *slices.warnings))
    if lesion is None:
        return slices, None
    placed, problem = mask_on_grid_of(lesion, slices.grid)
    slices = replace(slices, warnings=(*slices.warnings, *([problem.message] if problem else [])))
    return slices, slices.to_canvas(reorient(placed).data > 0, spec)


def _separable(stack: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(S, h, w) float32 -> (S, H, W): ``rows`` (H, h) and ``columns`` (W, w) applied to every slice.

    Plain matrix products: numpy's batched one is many times slower, and one for all rows would copy the stack twice.
    """
    wide = np.tensordot(np.ascontiguousarray(stack, dtype=np.float32), columns.astype(np.float32), (2, 1))
    tall, rows = np.empty((len(stack), len(rows), len(columns)), np.float32), rows.astype(np.float32)
    for plane, out in zip(wide, tall, strict=True):
        np.matmul(rows, plane, out=out)
    return tall


def _span(places: np.ndarray) -> slice:
    """From the first to the last of ``places`` (n,), in rising order."""
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _reached(matrix: np.ndarray, pixels: slice, within: slice) -> tuple[slice, slice]:
    """What of the places ``within`` the ``pixels`` reach by ``matrix`` (n, L), and all pixels that these take from."""
    reached = within.start + np.flatnonzero(matrix[within, pixels].any(axis=1))
    return _span(reached), _span(np.flatnonzero(matrix[reached].any(axis=0)))


def _backwards(part: slice, size: int) -> slice:
    """``part`` of an axis of ``size`` in the coordinates of the reversed axis, as y runs on the canvas."""
    return slice(size - part.stop, size - part.start)


def _canvas_size(box: Box, spacing: Sequence[float], spec: SliceSpec, stride: int) -> tuple[int, int]:
    """(H, W), multiples of ``stride``: the training canvas, or one that holds the brain with a pixel to spare."""
    size = []
    for axis, least in ((1, spec.size[0]), (0, spec.size[1])):
        needed = int(np.ceil((box[axis].stop - box[axis].start) * spacing[axis] / spec.pixel_mm)) + 2
        size.append(-(-max(least, needed) // stride) * stride)
    return size[0], size[1]


def _looked_at(number: np.ndarray, spec: SliceSpec) -> np.ndarray:
    """Which of the slices ``number`` (S,) lie in the range that is looked at."""
    if spec.range == "all":
        return np.ones(len(number), dtype=bool)
    return (number >= spec.range[0]) & (number <= spec.range[1])


def _nothing_to_see(number: np.ndarray, spec: SliceSpec) -> InputError:
    if not len(number):
        return InputError("No slice holds enough brain.", "Is the scan a whole head, in mm?")
    return InputError(
        f"The brain lies in the slices {number[0]} to {number[-1]}; {spec.range[0]} to {spec.range[1]} are looked at.",
        "Slices count from the bottom of a scan in SRI24 space (braincli preprocess); train --slices takes others.",
    )


def _count(planes: int, plane_mm: float, slice_mm: float) -> int:
    """How many slices of ``slice_mm`` stand for ``planes`` of ``plane_mm``."""
    return max(1, round(planes * plane_mm / slice_mm))


def _through(planes: int, plane_mm: float, spec: SliceSpec) -> np.ndarray | None:
    """Matrix (S, n) from the scan's ``planes`` to slices at ``spec.slice_mm``; None where slices are the scan's own."""
    if spec.slice_mm == "own" or abs(plane_mm - spec.slice_mm) < SAME_MM:
        return None
    count = _count(planes, plane_mm, spec.slice_mm)
    return _weights(planes, plane_mm, (planes - 1) / 2, count, spec.slice_mm, (count - 1) / 2)


def _back_through(planes: int, plane_mm: float, spec: SliceSpec, kept: np.ndarray) -> np.ndarray:
    """Matrix (n, S) back from the slices ``kept`` (S,); planes that these hardly show are 0."""
    assert spec.slice_mm != "own"
    count = _count(planes, plane_mm, spec.slice_mm)
    up = _weights(count, spec.slice_mm, (count - 1) / 2, planes, plane_mm, (planes - 1) / 2)[:, kept]
    total = up.sum(axis=1, keepdims=True)
    return np.where(total >= 0.5 - 1e-9, up / np.maximum(total, 0.5), 0)


def _centre(box: Box, axis: int, length: int) -> float:
    """Middle of the brain's box along an axis of the stack (the y axis runs backwards there)."""
    middle = (box[axis].start + box[axis].stop - 1) / 2
    return length - 1 - middle if axis == 1 else middle


def _canvas(
    box: Box, shape: Sequence[int], spacing: Sequence[float], spec: SliceSpec, size: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Matrices (H, Y) and (W, X) from a grid of ``shape`` to the canvas."""
    down = [
        _weights(shape[axis], spacing[axis], _centre(box, axis, shape[axis]), length, spec.pixel_mm, (length - 1) / 2)
        for axis, length in ((1, size[0]), (0, size[1]))
    ]
    return down[0], down[1]


def _up(box: Box, axis: int, grid: Volume, spec: SliceSpec, length: int) -> np.ndarray:
    """Matrix (n, length) from the canvas back to ``grid``."""
    n, spacing = grid.shape[axis], grid.spacing[axis]
    return _weights(length, spec.pixel_mm, (length - 1) / 2, n, spacing, _centre(box, axis, n))


def _weights(
    n_in: int, pitch_in: float, centre_in: float, n_out: int, pitch_out: float, centre_out: float
) -> np.ndarray:
    """(n_out, n_in) linear resampling of one axis, the two centres lying on each other.

    The triangle is as wide as the coarser pitch, so that shrinking averages and enlarging interpolates; what lies
    beyond the input counts as 0.
    """
    width = max(pitch_in, pitch_out)
    beyond = int(np.ceil(width / pitch_in))
    source = (np.arange(-beyond, n_in + beyond) - centre_in) * pitch_in
    target = (np.arange(n_out) - centre_out) * pitch_out
    triangle = np.maximum(0, 1 - np.abs(target[:, None] - source[None]) / width)
    total = triangle.sum(axis=1, keepdims=True)
    return np.divide(triangle, total, out=np.zeros_like(triangle), where=total > 0)[:, beyond:-beyond]
