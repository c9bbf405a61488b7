"""What of a prepared case is brain, and what of the brain each contrast shows: decided here for every command."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from braincli.errors import InputError
from braincli.imaging.box import bounding_box
from braincli.imaging.brain import fill_holes, foregrounds
from braincli.imaging.cases import Contrast
from braincli.imaging.shading import shading
from braincli.imaging.volume import Volume
from braincli.runtime.side_by_side import mapped

if TYPE_CHECKING:
    from scipy.spatial import ConvexHull

BRAIN_ML = (850.0, 2000.0)  # of adults
ABSURD_ML = 2500.0  # no brain is that large: a head, or no background
SHOWN = (0.9, 1.0)  # share of the brain that a contrast should show
BEYOND_MM = 5.0  # what lies that far outside the hull of a contrast was not in its field of view
DEEP_MM = 8.0  # empty regions that thick and open to the outside are no sulci
NOTICED = 0.02  # share of the brain: less than that missing is the rim of a mask
HOLES_ML = 0.05  # smaller ones are filled without a word
DIRECTIONS = 0.1  # components of unit vectors that count as one direction
THICK = 0.1  # of the largest slice: an empty slice between two such lies in the brain
AXES = ("first", "second", "third")


@dataclass(frozen=True)
class Coverage:
    """The brain of a case, and where a contrast shows nothing of it.

    Attributes:
        brain: (X, Y, Z) bool, on the grid and in the axis order of the images.
        hidden: (X, Y, Z) bool for each contrast that does not show the whole brain.
        warnings: in words.
    """

    brain: np.ndarray
    hidden: dict[Contrast, np.ndarray] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def cover(volumes: Mapping[Contrast, Volume], brain: Volume | None = None, *, threads: int | None = 1) -> Coverage:
    """Decide on brain and coverage.

    Without a mask, the brain is the union of what is not background (:func:`braincli.imaging.brain.foreground`). Holes
    are filled, in a given mask too. A contrast shows nothing in slices that are empty while their neighbours are not,
    outside of the convex hull of its own foreground (fields of view are convex), and in thick empty regions that are
    open to the outside; dark tissue, fluid and ventricles are none of these.

    Args:
        volumes: skull-stripped images on one grid.
        brain: a mask on that grid.
        threads: see :func:`braincli.runtime.side_by_side.mapped`.

    Raises:
        InputError: there is no brain, or more than any brain holds (not where a mask was given).
    """
    own = dict(zip(volumes, foregrounds(volumes.values(), threads), strict=True))
    first = next(iter(volumes.values()))
    warnings: list[str] = []
    if brain is None:
        mask = reduce(np.logical_or, own.values())
    else:
        mask = fill_holes(brain.data > 0)
        if (holes_ml := float((mask & ~(brain.data > 0)).sum()) * first.voxel_ml) >= HOLES_ML:
            warnings.append(f"{_of(brain)}the brain mask had holes of {holes_ml:.1f} ml; they were filled")
    if not mask.any():
        raise InputError("The brain mask is empty.", "Give a mask with --brain-mask, or preprocess the scan first.")
    warnings += _judge_size(mask, first, given=brain is not None)
    hidden: dict[Contrast, np.ndarray] = {}
    for contrast, (missing, words) in zip(volumes, _looks(volumes, own.values(), mask), strict=True):
        warnings += words
        if missing is not None:
            hidden[contrast] = missing
    shown = {key: mask & seen for key, seen in {id(seen): seen for seen in own.values()}.items()}
    factors = mapped(lambda contrast: shading(volumes[contrast], shown[id(own[contrast])]), volumes, threads)
    warnings += [
        f"{contrast.upper()} brightens by a factor of {factor:.1f} across the brain: its bias field was hardly "
        "corrected (detect --n4, or braincli preprocess)"
        for contrast, factor in zip(volumes, factors, strict=True)
        if factor
    ]
    return Coverage(mask, hidden, warnings)


def about_unused(volumes: Mapping[Contrast, Volume], brain: np.ndarray) -> list[str]:
    """What is to be said of contrasts that no model looks at: where they show nothing of ``brain`` (X, Y, Z)."""
    looks = _looks(volumes, foregrounds(volumes.values()), brain)
    return [text for _, words in looks for text in words]


def _looks(
    volumes: Mapping[Contrast, Volume], own: Collection[np.ndarray], brain: np.ndarray
) -> Iterator[tuple[np.ndarray | None, list[str]]]:
    """Where each contrast with its foreground shows nothing of the brain (None: it shows all), and words for it.

    Foregrounds that are one array, as those of scans stripped with one mask, are looked at once.
    """
    size, known = np.count_nonzero(brain), {}
    for (contrast, volume), shown in zip(volumes.items(), own, strict=True):
        if id(shown) not in known:
            gaps = _gaps(shown)
            missing = _missing(brain, shown, gaps, volume.spacing)
            known[id(shown)] = gaps, missing, np.count_nonzero(missing) / size
        gaps, missing, share = known[id(shown)]
        words = list(_name_gaps(contrast, volume, gaps))
        if share <= NOTICED and not (gaps and share):
            yield None, words
            continue
        text = f"{contrast.upper()} shows {np.floor(1000 * (1 - share)) / 10:g} % of the brain"
        yield missing, [*words, f"{text}; where it shows nothing it counts for nothing"]


def _judge_size(mask: np.ndarray, grid: Volume, *, given: bool) -> list[str]:
    ml = np.count_nonzero(mask) * grid.voxel_ml
    low, high = BRAIN_ML
    if ml > ABSURD_ML and not given:
        raise InputError(
            f"{_of(grid)}what is not background holds {ml:.0f} ml, an adult's brain {low:.0f} to {high:.0f} ml.",
            "Is it a whole head (braincli preprocess), or is its background not constant? Give --brain-mask.",
        )
    if low <= ml <= high:
        return []
    text = f"the brain holds {ml:.{0 if ml >= 10 else 2}f} ml, an adult's {low:.0f} to {high:.0f} ml"
    return [f"{text}: look at scan and brain mask"]


def _of(volume: Volume) -> str:
    return f"{volume.source.name}: " if volume.source else ""


def _gaps(shown: np.ndarray) -> list[tuple[int, int, int]]:
    """Runs of empty slices between slices that are large: (axis, first, last)."""
    runs = []
    box = bounding_box(shown)
    inner = shown[box]
    for axis, begin in enumerate(part.start for part in box):
        areas = inner.sum(axis=tuple(other for other in range(3) if other != axis))
        for low, high in pairwise(np.flatnonzero(areas)):
            if high - low > 1 and min(areas[low], areas[high]) > THICK * areas.max():
                runs.append((axis, begin + int(low) + 1, begin + int(high) - 1))
    return runs


def _name_gaps(contrast: Contrast, volume: Volume, gaps: list[tuple[int, int, int]]) -> Iterator[str]:
    name = volume.source.name if volume.source else contrast.upper()
    for axis, low, high in gaps:
        which = f"slice {low} is" if low == high else f"slices {low} to {high} are"
        yield f"{name}: {which} empty inside the brain (along the {AXES[axis]} axis, counted from 0)"


def _missing(
    brain: np.ndarray, shown: np.ndarray, gaps: list[tuple[int, int, int]], spacing: tuple[float, ...]
) -> np.ndarray:
    """(X, Y, Z) bool: where the brain lies outside of what a contrast shows."""
    missing = np.zeros_like(brain)
    for axis, low, high in gaps:
        planes = tuple(slice(low, high + 1) if i == axis else slice(None) for i in range(3))
        missing[planes] = brain[planes]
    empty = brain & ~shown
    if np.count_nonzero(empty) > NOTICED * np.count_nonzero(brain):
        if not shown.any():
            return brain.copy()
        missing |= _outside_hull(empty, shown, spacing) | _deep(empty, spacing)
    return missing


def _outside_hull(empty: np.ndarray, shown: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """What of ``empty`` lies outside the convex hull of ``shown``, where that goes on to BEYOND_MM and more."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(_ends(shown) * spacing)
    except QhullError:  # flat: one slice
        return np.zeros_like(empty)
    voxels = (np.argwhere(empty) * spacing).astype(np.float32)
    farthest = np.full(len(voxels), -np.inf, dtype=np.float32)
    for normal in _normals(hull):
        np.maximum(farthest, voxels @ normal - (hull.points[hull.vertices] @ normal).max(), out=farthest)
    outside, far = np.zeros_like(empty), np.zeros_like(empty)
    outside[empty] = farthest > 0.5 * min(spacing)
    far[empty] = farthest > BEYOND_MM
    return outside & _within(far, BEYOND_MM, spacing)


def _within(core: np.ndarray, distance_mm: float, spacing: tuple[float, ...]) -> np.ndarray:
    """(X, Y, Z) bool: what lies at most ``distance_mm`` and a voxel from ``core``."""
    from scipy import ndimage

    if not core.any():
        return core
    near: np.ndarray = ndimage.distance_transform_edt(~core, sampling=spacing) <= distance_mm + max(spacing)
    return near


def _normals(hull: ConvexHull) -> np.ndarray:
    """(n, 3) float32: in each of some hundred directions the normal of the largest facet, so those of cut planes."""
    corners = hull.points[hull.simplices]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    normals = hull.equations[np.argsort(-areas), :3]
    _, first = np.unique(np.rint(normals / DIRECTIONS), axis=0, return_index=True)
    chosen: np.ndarray = normals[first].astype(np.float32)
    return chosen


def _ends(mask: np.ndarray) -> np.ndarray:
    """(n, 3) first and last voxels of every line along the last axis: the hull's corners are among them."""
    lines = np.argwhere(mask.any(axis=2))
    across = mask[lines[:, 0], lines[:, 1]]
    low, high = across.argmax(axis=1), mask.shape[2] - 1 - across[:, ::-1].argmax(axis=1)
    return np.concatenate([np.column_stack([lines, low]), np.column_stack([lines, high])])


def _deep(empty: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """The parts of ``empty`` around points that lie DEEP_MM from all that is shown or no brain."""
    from scipy import ndimage

    core = ndimage.distance_transform_edt(np.pad(empty, 1), sampling=spacing)[1:-1, 1:-1, 1:-1] > DEEP_MM
    return empty & _within(core, DEEP_MM, spacing)
