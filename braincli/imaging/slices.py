"""Volumes <-> batches of axial slices.

A model sees axial slices of fixed pixel size on a canvas centred on the brain: rows run from anterior to posterior,
columns from left to right. Resampling is separable and linear, so that it is two small matrices per volume
(:func:`_weights`) and the way back is two more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from braincli.errors import InputError
from braincli.imaging.box import as_stored, bounding_box
from braincli.imaging.cases import CONTRASTS, Case, Contrast
from braincli.imaging.coverage import cover
from braincli.imaging.reading import load_images
from braincli.imaging.spec import SliceSpec as SliceSpec
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

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Slices:
    """All slices of one case that hold brain.

    Attributes:
        image: (S, C, H, W) float32 in [0, 1]; background, absent contrasts, and what a contrast does not show, are 0; C
            follows CONTRASTS.
        brain: (S, 1, H, W) bool.
        index: (S,) position along the RAS z axis.
        contrasts: those present.
        rows, columns: (n, H) and (n, W) matrices from the canvas back to the RAS grid.
        grid: one of the input volumes, as given; results go back onto its grid.
        ras: the same volume in RAS order.
        brain_volume: (X, Y, Z) bool on the RAS grid.
        spacing: (z, y, x) of the canvas in mm.
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

    def to_volume(self, values: np.ndarray) -> Volume:
        """(S, H, W) values on the canvas -> float32 volume on the input's grid, 0 outside the brain."""
        x, y, _ = bounding_box(self.brain_volume)
        up = _separable(values, self.rows[_backwards(y, self.ras.shape[1])], self.columns[x])[:, ::-1]
        full = np.zeros_like(self.grid.data, dtype=np.float32)
        planes = view_along(self.grid.with_data(full)).data.T  # written to: full, from above
        planes[self.index, y, x] = up * self.brain_volume.T[self.index, y, x]
        return self.grid.with_data(full)

    def to_canvas(self, data: np.ndarray, spec: SliceSpec) -> np.ndarray:
        """(X, Y, Z) array on the RAS grid -> (S, H, W) float32 share or mean per canvas pixel."""
        box = bounding_box(self.brain_volume)
        rows, columns = _canvas(box, self.ras.shape, self.ras.spacing, spec, self.image.shape[2:])
        return _separable(data.T[self.index, ::-1], rows, columns)


def from_volumes(
    volumes: Mapping[Contrast, Volume], spec: SliceSpec, *, brain: Volume | None = None, stride: int = 1
) -> Slices:
    """Cut a case into slices.

    Args:
        volumes: skull-stripped images on one grid.
        brain: mask on the same grid; by default, and what each contrast shows of it, as
            :func:`braincli.imaging.coverage.cover` says.
        stride: H and W are multiples of it.

    Raises:
        InputError: the grids differ, there is no brain, or it cannot be one.
    """
    first = next(iter(volumes.values()))
    notes = on_one_grid([*volumes.values(), *([brain] if brain is not None else [])])
    coverage = cover(volumes, brain)
    ras = {contrast: view_along(volume) for contrast, volume in volumes.items()}
    grid = next(iter(ras.values()))
    mask, *parts = (view_along(first.with_data(part)).data for part in (coverage.brain, *coverage.hidden.values()))
    hidden = dict(zip(coverage.hidden, parts, strict=True))

    box = bounding_box(mask)
    size = _canvas_size(box, grid.spacing, spec, stride)
    rows, columns = _canvas(box, grid.shape, grid.spacing, spec, size)
    rows, columns = rows[:, _backwards(box[1], grid.shape[1])], columns[:, box[0]]
    brain_box = mask[box]
    share = _separable(brain_box.T[:, ::-1], rows, columns)
    inside = share > 0.5
    keep = inside.sum(axis=(1, 2)) * spec.pixel_mm**2 >= spec.min_brain_mm2
    if not keep.any():
        raise InputError("No slice holds enough brain.", "Is the scan a whole head, in mm?")
    image = np.zeros((int(keep.sum()), len(CONTRASTS), *size), dtype=np.float32)
    shown = np.zeros(image.shape, dtype=bool) if hidden else None
    for contrast, volume in ras.items():
        channel, seen, part, within = CONTRASTS.index(contrast), brain_box, share, inside
        if contrast in hidden:
            seen = brain_box & ~hidden[contrast][box]
            part = _separable(seen.T[:, ::-1], rows, columns)
            within = inside & (part > 0.5)
        canvas = _separable(normalise(volume.data[box], seen, spec).T[keep, ::-1], rows, columns)
        # dividing by the brain's share keeps pixels at its edge as bright as the tissue in them
        image[:, channel] = np.where(within[keep], canvas / np.maximum(part[keep], 0.5), 0)
        if shown is not None:
            shown[:, channel] = within[keep]
    return Slices(
        image=image.clip(0, 1),
        brain=inside[keep][:, None],
        index=box[2].start + np.flatnonzero(keep),
        contrasts=tuple(c for c in CONTRASTS if c in ras),
        rows=_up(box, 1, grid, spec, size[0]),
        columns=_up(box, 0, grid, spec, size[1]),
        grid=first,
        ras=grid,
        brain_volume=mask,
        spacing=(grid.spacing[2], spec.pixel_mm, spec.pixel_mm),
        hidden=hidden,
        shown=shown,
        warnings=(*notes, *coverage.warnings),
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
    whole = np.zeros_like(data, dtype=np.float32)
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
    low, high = np.percentile(inside, spec.percentiles)
    if high > low:
        result[brain] = ((inside - low) / (high - low)).clip(0, 1)
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

    Two plain matrix products; numpy's batched one is many times slower.
    """
    wide = np.tensordot(np.ascontiguousarray(stack, dtype=np.float32), columns.astype(np.float32), (2, 1))
    return np.ascontiguousarray(np.tensordot(rows.astype(np.float32), wide, (1, 1)).transpose(1, 0, 2))


def _backwards(part: slice, size: int) -> slice:
    """``part`` of an axis of ``size`` in the coordinates of the reversed axis, as y runs on the canvas."""
    return slice(size - part.stop, size - part.start)


def _canvas_size(box: Box, spacing: Sequence[float], spec: SliceSpec, stride: int) -> tuple[int, int]:
    """(H, W): the training canvas, or the next multiple of ``stride`` that holds the brain with a pixel to spare."""
    size = []
    for axis, least in ((1, spec.size[0]), (0, spec.size[1])):
        needed = int(np.ceil((box[axis].stop - box[axis].start) * spacing[axis] / spec.pixel_mm)) + 2
        size.append(max(least, -(-needed // stride) * stride))
    return size[0], size[1]


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
