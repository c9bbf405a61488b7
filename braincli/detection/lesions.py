"""The lesion table: what a mask holds, piece by piece, and the image that its numbers refer to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from braincli.detection.anatomy import Brain, longest, longest_axial, row_ends, to_world
from braincli.imaging.box import bounding_box
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.volume import Volume, view_along
from braincli.runtime.side_by_side import mapped, together

Point = tuple[float, float, float]
PLACES = ("", "atlas_", "native_")
TSV_COLUMNS = (
    "lesion", "voxels", "volume_ml", *(f"{place}{axis}_mm" for place in PLACES for axis in "xyz"), "native_ml", "side",
    "height", "depth_mm", "axial_mm", "longest_mm", "mean_score", "max_score", *(f"{c}_z" for c in CONTRASTS),
)  # fmt: skip


@dataclass(frozen=True)
class Lesion:
    """One connected piece of a mask.

    Attributes:
        lesion: number from 1, the largest first; its value in the labelled image.
        voxels: count.
        volume_ml: millilitres on the grid of the mask.
        centroid_mm: RAS world coordinates of the centre of its voxels on that grid.
        centroid_atlas_mm, centroid_native_mm: the same place in SRI24 and in the scan as it was given, where known.
        native_ml: volume in the scan as it was given, where known.
        side: ``left``, ``right`` or ``both``, see :meth:`braincli.detection.anatomy.Brain.side`.
        height: of its middle between the lowest (0) and the highest slice of the brain (1).
        depth_mm: mean distance from the brain's surface.
        axial_mm, longest_mm: greatest diameter within an axial slice, and in space.
        mean_score, max_score: of the anomaly map inside it; None without a map.
        z: mean intensity by contrast, in standard deviations above the mean of the brain outside the mask.
    """

    lesion: int
    voxels: int
    volume_ml: float
    centroid_mm: Point
    centroid_atlas_mm: Point | None = None
    centroid_native_mm: Point | None = None
    native_ml: float | None = None
    side: str | None = None
    height: float | None = None
    depth_mm: float | None = None
    axial_mm: float | None = None
    longest_mm: float | None = None
    mean_score: float | None = None
    max_score: float | None = None
    z: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Space:
    """Where the grid of a mask lies.

    Attributes:
        to_native: (4, 4) world of the grid -> world of the scan as it was given; None where that is not known.
        is_atlas: the grid's world is that of SRI24.
    """

    to_native: np.ndarray | None = None
    is_atlas: bool = False


def label_lesions(mask: Volume) -> Volume:
    """The pieces of ``mask`` (bool), 26 voxels being neighbours: uint8 or uint16, 0 outside, 1 the largest piece."""
    from scipy import ndimage

    box = bounding_box(mask.data)
    found, count = ndimage.label(np.ascontiguousarray(mask.data[box].T), structure=np.ones((3, 3, 3)))
    numbers = np.zeros_like(mask.data, dtype=np.uint8 if count < 256 else np.uint16)
    if count:
        place = np.nonzero(found)[::-1]
        pieces = found.T[place] - 1
        voxels = np.bincount(pieces, minlength=count)
        sums = [np.bincount(pieces, along + part.start) for along, part in zip(place, box, strict=True)]
        centres = to_world(np.stack(sums, axis=1) / voxels[:, None], mask.affine)
        ranks = np.empty(count, dtype=numbers.dtype)
        ranks[np.lexsort((*centres.T, -voxels))] = np.arange(1, count + 1)
        numbers[box][place] = ranks[pieces]
    return mask.with_data(numbers)


def lesion_table(
    labels: Volume,
    score: Volume | None = None,
    *,
    brain: Volume | None = None,
    images: Mapping[Contrast, Volume] | None = None,
    space: Space | None = None,
    threads: int | None = 1,
) -> list[Lesion]:
    """What :func:`label_lesions` numbered, in the order of the numbers.

    Args:
        score: anomaly map; brain: bool; images: of the contrasts looked at. All on the grid of ``labels``.
        space: lengths are measured in the scan as it was given, where it says how.
        threads: see :func:`braincli.runtime.side_by_side.mapped`.
    """
    space = space or Space()
    ras = view_along(labels)
    box = bounding_box(ras.data > 0)
    place = np.nonzero(ras.data[box])
    numbers = ras.data[box][place].astype(np.intp)
    if not numbers.size:
        return []
    order = np.argsort(numbers, kind="stable")
    voxels = np.column_stack([along + part.start for along, part in zip(place, box, strict=True)])[order]
    cuts = np.flatnonzero(np.diff(numbers[order])) + 1
    to_mm = (np.eye(4) if space.to_native is None else space.to_native) @ ras.affine
    shape = None if brain is None else Brain(view_along(brain).data.astype(bool, copy=False), to_mm)

    def of_each(data: np.ndarray) -> list[np.ndarray]:
        """The values in every lesion."""
        return np.split(data[box][place][order], cuts)

    there = {} if shape is None or images is None else {str(c): images[c] for c in CONTRASTS if c in images}
    healthy = None if shape is None else shape.mask[shape.box] & (ras.data[shape.box] == 0)

    def deviations(image: Volume) -> list[float | None]:
        assert shape is not None
        data = view_along(image).data
        return _deviations(of_each(data), data[shape.box][healthy])

    surface = [] if shape is None else [lambda: shape.surface]  # that all depths are measured from: found beside
    work: list[Callable[[], Any]] = [*(partial(deviations, image) for image in there.values()), *surface]
    z = together(work, threads)[: len(there)]
    scores = None if score is None else of_each(view_along(score).data)

    def describe(given: tuple[int, np.ndarray]) -> Lesion:
        k, each = given
        named = {name: values[k] for name, values in zip(there, z, strict=True)}
        return _describe(k + 1, each, ras, to_mm, space, shape, None if scores is None else scores[k], named)

    return mapped(describe, enumerate(np.split(voxels, cuts)), threads)


def _describe(
    number: int,
    voxels: np.ndarray,
    ras: Volume,
    to_mm: np.ndarray,
    space: Space,
    brain: Brain | None,
    scores: np.ndarray | None,
    z: dict[str, float | None],
) -> Lesion:
    """One lesion by its ``voxels`` (N, 3) on the grid ``ras``."""
    centre = voxels.mean(axis=0, keepdims=True)
    here = _rounded(to_world(centre, ras.affine)[0])
    depth = None if brain is None else brain.depth(voxels)
    ends = row_ends(voxels)
    return Lesion(
        lesion=number,
        voxels=len(voxels),
        volume_ml=round(len(voxels) * ras.voxel_ml, 4),
        centroid_mm=here,
        centroid_atlas_mm=here if space.is_atlas else None,
        centroid_native_mm=None if space.to_native is None else _rounded(to_world(centre, to_mm)[0]),
        native_ml=None if space.to_native is None else round(len(voxels) * abs(np.linalg.det(to_mm[:3, :3])) / 1000, 4),
        side=None if brain is None else brain.side(voxels),
        height=None if brain is None else round(brain.height(voxels), 3),
        depth_mm=None if depth is None else round(depth, 1),
        axial_mm=round(longest_axial(ends, to_mm), 1),
        longest_mm=round(longest(ends, to_mm), 1),
        mean_score=None if scores is None else round(float(scores.mean(dtype=np.float64)), 5),
        max_score=None if scores is None else round(float(scores.max()), 5),
        z=z,
    )


def _deviations(lesions: Sequence[np.ndarray], healthy: np.ndarray) -> list[float | None]:
    """``z`` of every lesion by its intensities (N,); None where ``healthy`` tissue has one intensity."""
    mean, deviation = (float(healthy.mean(dtype=np.float64)), float(healthy.std())) if healthy.size else (0.0, 0.0)
    means = (float(values.mean(dtype=np.float64)) for values in lesions)
    return [round((there - mean) / deviation, 2) if deviation > 0 else None for there in means]


def sphere_mm(volume_mm3: float) -> float:
    """Diameter in mm of the sphere of a volume in mm³."""
    return float((6 * volume_mm3 / np.pi) ** (1 / 3))


def table_json(lesions: list[Lesion]) -> dict[str, Any]:
    """JSON-able content: count, total volume in ml, and the lesions."""
    total = round(sum(lesion.volume_ml for lesion in lesions), 4)
    return {"count": len(lesions), "volume_ml": total, "lesions": [asdict(lesion) for lesion in lesions]}


def from_json(content: Mapping[str, Any]) -> list[Lesion]:
    """The lesions of :func:`table_json`, read from a file."""
    places = [name for name in Lesion.__dataclass_fields__ if name.startswith("centroid")]
    return [
        Lesion(**each | {name: tuple(each[name]) for name in places if each.get(name)}) for each in content["lesions"]
    ]


def as_row(lesion: Lesion) -> dict[str, Any]:
    """A line of the table by TSV_COLUMNS; None for what is not known."""
    unknown = (None, None, None)
    cells = (
        lesion.lesion, lesion.voxels, lesion.volume_ml, *lesion.centroid_mm, *(lesion.centroid_atlas_mm or unknown),
        *(lesion.centroid_native_mm or unknown), lesion.native_ml, lesion.side, lesion.height, lesion.depth_mm,
        lesion.axial_mm, lesion.longest_mm, lesion.mean_score, lesion.max_score,
        *(lesion.z.get(str(c)) for c in CONTRASTS),
    )  # fmt: skip
    return dict(zip(TSV_COLUMNS, cells, strict=True))


def table_tsv(lesions: list[Lesion], *, indexed: bool = False) -> str:
    """The table with one line per lesion, tab-separated, ``n/a`` for what is not known (as in BIDS).

    Args:
        indexed: with ``index`` and ``name`` instead of the lesion's number, as BIDS wants them of a segmentation.
    """
    first, *columns = TSV_COLUMNS
    lines = ["\t".join(("index", "name", *columns) if indexed else TSV_COLUMNS)]
    for lesion in lesions:
        row = as_row(lesion)
        number = (lesion.lesion, f"lesion {lesion.lesion}") if indexed else (row[first],)
        cells = (*number, *(row[name] for name in columns))
        lines.append("\t".join("n/a" if cell is None else str(cell) for cell in cells))
    return "\n".join(lines) + "\n"


def _rounded(point: np.ndarray) -> Point:
    x, y, z = (round(float(value), 2) for value in point)
    return x, y, z
