"""The lesion table: what a mask holds, piece by piece."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from braincli.imaging.box import bounding_box
from braincli.imaging.volume import Volume

TSV_COLUMNS = ("lesion", "voxels", "volume_ml", "x_mm", "y_mm", "z_mm", "mean_score", "max_score")


@dataclass(frozen=True)
class Lesion:
    """One connected piece of a mask.

    Attributes:
        lesion: number from 1, the largest first.
        voxels: count.
        volume_ml: millilitres.
        centroid_mm: RAS world coordinates of the centre of its voxels.
        mean_score, max_score: of the anomaly map inside it; None without a map.
    """

    lesion: int
    voxels: int
    volume_ml: float
    centroid_mm: tuple[float, float, float]
    mean_score: float | None
    max_score: float | None


def lesion_table(mask: Volume, score: Volume | None = None) -> list[Lesion]:
    """The pieces of ``mask`` (bool), neighbours being the 26 around a voxel, largest first.

    Args:
        score: anomaly map on the same grid.
    """
    from scipy import ndimage

    box = bounding_box(mask.data)
    labels, count = ndimage.label(np.ascontiguousarray(mask.data[box]), structure=np.ones((3, 3, 3)))
    if not count:
        return []
    place = np.nonzero(labels)
    pieces = labels[place] - 1
    voxels = np.bincount(pieces, minlength=count)
    corner = [part.start for part in box]
    sums = [np.bincount(pieces, along + first) for along, first in zip(place, corner, strict=True)]
    centres = np.stack(sums, axis=1) / voxels[:, None]
    world = centres @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    means, peaks = (None, None) if score is None else _scores(score.data[box][place], pieces, voxels)
    order = np.lexsort((*world.T, -voxels))
    return [
        Lesion(
            lesion=rank,
            voxels=int(voxels[i]),
            volume_ml=round(float(voxels[i] * mask.voxel_ml), 4),
            centroid_mm=_rounded(world[i]),
            mean_score=None if means is None else round(float(means[i]), 5),
            max_score=None if peaks is None else round(float(peaks[i]), 5),
        )
        for rank, i in enumerate(order, start=1)
    ]


def _scores(values: np.ndarray, pieces: np.ndarray, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and highest of ``values`` (N,) by piece; ``pieces`` (N,) says which each is in, ``voxels`` its size."""
    peaks = np.full(len(voxels), -np.inf, dtype=values.dtype)
    np.maximum.at(peaks, pieces, values)
    return np.bincount(pieces, values) / voxels, peaks


def sphere_mm(volume_mm3: float) -> float:
    """Diameter in mm of the sphere of a volume in mm³."""
    return float((6 * volume_mm3 / np.pi) ** (1 / 3))


def table_json(lesions: list[Lesion]) -> dict[str, Any]:
    """JSON-able content: count, total volume in ml, and the lesions."""
    total = round(sum(lesion.volume_ml for lesion in lesions), 4)
    return {"count": len(lesions), "volume_ml": total, "lesions": [asdict(lesion) for lesion in lesions]}


def table_tsv(lesions: list[Lesion]) -> str:
    """The table with one line per lesion, tab-separated, ``n/a`` for what is not known (as in BIDS)."""
    lines = ["\t".join(TSV_COLUMNS)]
    for lesion in lesions:
        cells = (
            lesion.lesion, lesion.voxels, lesion.volume_ml, *lesion.centroid_mm, lesion.mean_score, lesion.max_score
        )  # fmt: skip
        lines.append("\t".join("n/a" if cell is None else str(cell) for cell in cells))
    return "\n".join(lines) + "\n"


def _rounded(point: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 2) for value in point)
    return x, y, z
