"""Where in the brain a lesion lies and how long it is, by the brain mask alone: no region is named that no atlas gave.

Everything here is in the order of RAS axes: x to the patient's right, y to the front, z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from braincli.imaging.box import bounding_box

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

ONE_SIDE = 0.8  # share of a lesion that lies on one side where it is said to be there
SAMPLE = 500  # voxels of a lesion whose depth is looked up


@dataclass(frozen=True)
class Brain:
    """The shape of a brain.

    Attributes:
        mask: (X, Y, Z) bool in RAS, all of the field of view.
        to_mm: (4, 4) voxel -> mm in which depth is measured.
    """

    mask: np.ndarray
    to_mm: np.ndarray

    @cached_property
    def box(self) -> tuple[slice, ...]:
        """What holds all of it."""
        return bounding_box(self.mask)

    @cached_property
    def _boxed(self) -> np.ndarray:
        """What lies in the box, in one piece of memory: looked through many times."""
        return np.ascontiguousarray(self.mask[self.box])

    @cached_property
    def _corner(self) -> np.ndarray:
        return np.array([part.start for part in self.box])

    @cached_property
    def _middle(self) -> np.ndarray:
        """(3,) a, b, c of the plane x = a + b y + c z that halves the brain: fitted to the middle of every row of it.

        Both ends of a row count, so a head that is turned or tilted has its own plane, wherever the world's x = 0 lies.
        """
        there = np.nonzero(self._boxed.any(axis=0))
        first, last = _both_ends(self._boxed, 0, there)
        y, z = (along + start for along, start in zip(there, self._corner[1:], strict=True))
        rows = np.column_stack([np.ones_like(y), y, z])
        return np.linalg.lstsq(rows.astype(np.float64), (first + last) / 2 + self._corner[0], rcond=None)[0]

    @cached_property
    def surface(self) -> cKDTree:
        """What is seen of the brain from its six sides, in mm; where the field of view cuts it is no surface."""
        from scipy.spatial import cKDTree

        seen = np.zeros_like(self._boxed)
        for axis, (part, size) in enumerate(zip(self.box, self.mask.shape, strict=True)):
            there = np.nonzero(self._boxed.any(axis=axis))
            for end, edge in zip(_both_ends(self._boxed, axis, there), (0, size - 1), strict=True):
                uncut = end + part.start != edge
                seen[tuple(np.insert(np.stack(there), axis, end, axis=0)[:, uncut])] = True
        places = np.stack(np.unravel_index(np.flatnonzero(seen), seen.shape), axis=1)
        # points that lie so evenly need no balance: built in half the time, and asked in a quarter
        return cKDTree(to_world(places + self._corner, self.to_mm), balanced_tree=False, compact_nodes=False)

    def side(self, voxels: np.ndarray) -> str:
        """``left`` or ``right``, where at least 80 % of ``voxels`` (N, 3) lie; else ``both``."""
        a, b, c = self._middle
        right = float((voxels[:, 0] > a + b * voxels[:, 1] + c * voxels[:, 2]).mean())
        return "right" if right >= ONE_SIDE else "left" if right <= 1 - ONE_SIDE else "both"

    def height(self, voxels: np.ndarray) -> float:
        """Where the middle of ``voxels`` (N, 3) lies between the lowest (0) and the highest slice of the brain (1)."""
        low, high = self.box[2].start, self.box[2].stop - 1
        return float(np.clip((voxels[:, 2].mean() - low) / max(high - low, 1), 0, 1))

    def depth(self, voxels: np.ndarray) -> float | None:
        """Mean distance in mm of ``voxels`` (N, 3) from the brain's surface; None where all of it is cut off."""
        if not self.surface.n:
            return None
        some = voxels[:: max(1, len(voxels) // SAMPLE)]
        return float(self.surface.query(to_world(some, self.to_mm))[0].mean())


def longest(voxels: np.ndarray, to_mm: np.ndarray) -> float:
    """Greatest distance in mm between two points of the surface of ``voxels`` (N, 3).

    Points of the surface are the middles of the voxels' faces, as the vertices of marching cubes are: what PyRadiomics
    calls the maximum 3D diameter. One voxel of 1 mm has a diameter of 1 mm.
    """
    return _farthest(_faces(row_ends(voxels), (0, 1, 2)) @ to_mm[:3, :3].T)


def longest_axial(voxels: np.ndarray, to_mm: np.ndarray) -> float:
    """The same within one axial slice (constant z), the longest of all slices."""
    ends = row_ends(voxels)
    slices = np.split(ends, np.flatnonzero(np.diff(ends[:, 2])) + 1)
    plane = to_mm[:3, :2]  # of x and y; it may be tilted in the world
    across = plane @ np.linalg.inv(np.linalg.cholesky(plane.T @ plane)).T  # orthonormal basis of that plane
    return max(_farthest(_faces(part[:, :2], (0, 1)) @ plane.T @ across) for part in slices)


def to_world(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(N, 3) voxels -> (N, 3) mm."""
    return points @ affine[:3, :3].T + affine[:3, 3]


def _both_ends(mask: np.ndarray, axis: int, there: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the first and the last voxel of ``mask`` in every row along ``axis`` that ``there`` names."""
    first = mask.argmax(axis=axis)[there]
    return first, mask.shape[axis] - 1 - np.flip(mask, axis).argmax(axis=axis)[there]


def row_ends(voxels: np.ndarray) -> np.ndarray:
    """The first and the last of ``voxels`` (N, 3) in every row along x, by z, y and x.

    Nothing between them is a corner of the convex hull.
    """
    corner = voxels.min(axis=0)
    filled = np.zeros((voxels.max(axis=0) - corner + 1)[::-1], dtype=bool)
    filled[tuple((voxels - corner).T[::-1])] = True
    z, y = np.nonzero(filled.any(axis=2))
    first, last = _both_ends(filled, 2, (z, y))
    both = np.stack([np.column_stack([x, y, z]) for x in (first, last)], axis=1) + corner
    kept = np.stack([np.ones(len(first), dtype=bool), last > first], axis=1)
    return both[kept]


def _faces(voxels: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The middles of the faces of ``voxels`` (N, D) across ``axes``."""
    steps = np.eye(voxels.shape[1])[list(axes)] / 2
    return np.concatenate([voxels + sign * step for step in steps for sign in (-1, 1)])


def _farthest(points: np.ndarray) -> float:
    """Greatest distance between any two of ``points`` (N, D), which lie in no plane of fewer dimensions."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    return float(pdist(points[ConvexHull(points).vertices]).max())
