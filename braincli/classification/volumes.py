"""Prepared scans as volumes on the classifier's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from braincli.classification.info import Grid
from braincli.errors import InputError
from braincli.imaging import volume
from braincli.imaging.box import bounding_box, percentiles, values_in
from braincli.imaging.brain import foreground, refuse_head
from braincli.imaging.case import Case
from braincli.imaging.names import Contrast
from braincli.imaging.volume import Volume, same_grid, view_along, view_onto
from braincli.runtime.progress import Reporter


@dataclass(frozen=True)
class Reading:
    """How scans are read: which contrast, and what the user says of them."""

    contrast: Contrast
    volume: int | None = None
    prefer: str = "sform"
    already_stripped: bool = False


@dataclass(frozen=True)
class Head:
    """A prepared scan.

    Attributes:
        scan: as it is on disk.
        brain: bool, of the scan in RAS order.
    """

    scan: Volume
    brain: np.ndarray

    @cached_property
    def image(self) -> Volume:
        """The scan in RAS order."""
        return view_along(self.scan)


def read(case: Case, how: Reading) -> Head:
    """The scan of ``case``.

    Raises:
        InputError: it is unusable, shows the head, holds no brain, or its brain mask lies on another grid.
    """
    number = case.volumes.get(how.contrast, how.volume)
    image = volume.load(case.images[how.contrast], volume=number, prefer=how.prefer)
    mask = volume.load(case.brain, labels=True, prefer=how.prefer) if case.brain else None
    if mask is not None and (problem := same_grid(mask, image)):
        raise InputError(problem.message, problem.hint)
    if not how.already_stripped and mask is None:
        refuse_head(case.id, {how.contrast: image})
    inside = foreground(image) if mask is None else mask.data > 0
    if not inside.any():
        raise InputError(f"{case.id} shows no brain.", "Look at it: every voxel is background.")
    return Head(image, view_along(image.with_data(inside)).data)


@dataclass(frozen=True)
class Stack:
    """Volumes of several cases.

    Attributes:
        image: (N, X, Y, Z) float16 in [0, 1].
        grid: where they were cut.
        sha256: of each scan, by the case's id.
    """

    image: np.ndarray
    grid: Grid
    sha256: dict[str, str]


def read_all(
    cases: Sequence[Case],
    how: Reading,
    grid: Grid | None,
    mm: float,
    shape: tuple[int, int, int],
    clip: tuple[float, float],
    reporter: Reporter,
) -> Stack:
    """All ``cases`` on one grid.

    Scans have to lie on one grid as they are: a classifier learns from where things are. ``grid`` None: it is made
    from ``mm``, ``shape`` and ``clip``, its middle that of the first scan's brain.

    Raises:
        InputError: see :func:`read`; or a scan lies on another grid than the first.
    """
    images: list[np.ndarray] = []
    hashes: dict[str, str] = {}
    with reporter.step("read volumes", total=len(cases)) as step:
        for case in cases:
            head = read(case, how)
            grid = grid or grid_of(head, mm, shape, clip)
            images.append(on_grid(case.id, head, grid))
            hashes[case.id] = head.image.sha256
            step.advance(note=case.id)
    if grid is None:
        raise InputError("There are no cases to classify.")
    return Stack(np.stack(images), grid, hashes)


def grid_of(head: Head, mm: float, shape: tuple[int, int, int], clip: tuple[float, float]) -> Grid:
    """The grid of voxels of ``mm`` about the middle of the brain of ``head``, rounded to mm."""
    middle = [(part.start + part.stop - 1) / 2 for part in bounding_box(head.brain)]
    centre = head.image.affine @ np.array([*middle, 1.0])
    x, y, z = (float(round(place)) for place in centre[:3])
    scan = head.image
    return Grid(
        mm=mm, shape=shape, centre=(x, y, z), percentiles=clip, scan_shape=scan.shape,
        scan_affine=tuple(tuple(map(float, row)) for row in scan.affine),  # type: ignore[arg-type]
    )  # fmt: skip


def on_grid(id: str, head: Head, grid: Grid) -> np.ndarray:
    """(X, Y, Z) float16 on ``grid``: the percentiles inside the brain become 0 and 1, what is outside is 0.

    Raises:
        InputError: the scan lies on another grid than those that the classifier learns or has learnt from.
    """
    image = head.image
    wanted = Volume(np.broadcast_to(np.float32(0), grid.scan_shape), np.array(grid.scan_affine))
    if same_grid(image, wanted):
        sizes = [" x ".join(map(str, one.shape)) + f" of {one.spacing[0]:.3g} mm" for one in (image, wanted)]
        what = f"{sizes[0]} instead of {sizes[1]}" if sizes[0] != sizes[1] else "it lies elsewhere in space"
        raise InputError(
            f"{id} is on another grid than the first scan: {what}.",
            "A classifier learns from where things are: bring all scans to one space (braincli preprocess).",
        )
    low, high = percentiles(values_in(image.data, head.brain).astype(np.float32), grid.percentiles)
    box = bounding_box(head.brain)
    scaled = np.clip((image.data[box] - low) / max(high - low, 1e-9), 0, 1) * head.brain[box]
    first = _middle(image, grid)
    for axis in range(3):
        size, start = grid.shape[axis], first[axis] - box[axis].start
        matrix = _weights(scaled.shape[axis], image.spacing[axis], start, size, grid.mm, (size - 1) / 2)
        scaled = np.moveaxis(np.tensordot(matrix, scaled, axes=(1, axis)), 0, axis)
    return scaled.astype(np.float16)


def off_grid(values: np.ndarray, head: Head, grid: Grid) -> Volume:
    """(X, Y, Z) on ``grid`` as a float32 volume on the scan's own grid, 0 outside the brain."""
    image, first = head.image, _middle(head.image, grid)
    for axis in range(3):
        size, pitch = grid.shape[axis], image.spacing[axis]
        matrix = _weights(size, grid.mm, (size - 1) / 2, image.shape[axis], pitch, first[axis])
        values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
    return view_onto(image.with_data((values * head.brain).astype(np.float32)), head.scan)


def _middle(image: Volume, grid: Grid) -> np.ndarray:
    """(3,) the middle of ``grid`` in voxels of ``image``, whose axes it shares."""
    voxels: np.ndarray = (np.linalg.inv(image.affine) @ np.array([*grid.centre, 1.0]))[:3]
    return voxels


def _weights(
    n_in: int, pitch_in: float, centre_in: float, n_out: int, pitch_out: float, centre_out: float
) -> np.ndarray:  # fmt: skip
    """(n_out, n_in) float32 linear resampling of one axis; beyond the input is 0.

    The centres (in voxels) are one place. The triangle is as wide as the coarser pitch, so that shrinking averages.
    """
    source = (np.arange(n_in) - centre_in) * pitch_in
    target = (np.arange(n_out) - centre_out) * pitch_out
    width = max(pitch_in, pitch_out)
    triangle = np.maximum(0, 1 - np.abs(target[:, None] - source[None]) / width)
    return (triangle * pitch_in / width).astype(np.float32)
