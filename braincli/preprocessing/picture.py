"""The quality picture: every contrast in three planes with the brain's outline, and the atlas' edges.

Whatever lies further than 15 mm from the brain is blanked, so that no face is shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from braincli.imaging import volume
from braincli.imaging.cases import Contrast
from braincli.imaging.volume import Volume
from braincli.preprocessing.work import Images
from braincli.reporting.figures import new_figure
from braincli.runtime import files

SHOWN_MM = 15.0
SIDE = 2.2  # inches of a panel
BRAIN, ATLAS, LESION = "#ff5050", "#40e0ff", "#ffd030"


def draw(images: Images, reference: Contrast, path: Path, *, in_atlas_space: bool) -> None:
    """Write the picture (PNG): a row per contrast, before (left) and after (right) intensities were corrected.

    Args:
        in_atlas_space: the atlas brain and its edges are shown, too.
    """
    far = _far(images.brain) if images.brain else np.zeros((1, 1, 1), bool)
    shown = {c: volume.reorient(head.with_data(np.where(far, 0, head.data))) for c, head in images.heads.items()}
    outline = volume.reorient(images.brain) if images.brain else None
    lesion = volume.reorient(images.lesion) if images.lesion else None
    centre = _centre(outline or shown[reference])
    template = _atlas() if in_atlas_space else None
    edges = _edges(template, centre) if template else []
    figure = new_figure(figsize=(6 * SIDE, (len(shown) + 1) * SIDE), facecolor="black")
    axes = figure.subplots(len(shown) + 1, 6, squeeze=False)
    for line, (contrast, image) in zip(axes, shown.items(), strict=False):
        _row(line[:3], f"{contrast}, aligned", image, centre)
        _row(line[3:], f"{contrast}, output", volume.reorient(images.finished[contrast]), centre)
        for mask, colour in ((outline, BRAIN), (lesion, LESION)):
            _contours(line[:3], mask, centre, colour)
    _row(axes[-1][:3], f"{reference} and atlas edges", shown[reference] if edges else None, centre)
    _row(axes[-1][3:], "atlas", template, centre)
    for axis, edge in zip(axes[-1][:3], edges, strict=False):
        axis.contour(edge.T, [0.5], colors=ATLAS, linewidths=0.5)
    figure.subplots_adjust(0, 0, 1, 1, 0.02, 0.02)
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=80, format="png", metadata={"Software": None})


def _far(mask: Volume) -> np.ndarray:
    """(X, Y, Z) bool: what lies further than :data:`SHOWN_MM` from the brain ``mask``."""
    from scipy import ndimage

    step = [max(1, round(2.0 / size)) for size in mask.spacing]  # on a grid of about 2 mm: the limit is no sharp one
    small = mask.data[tuple(slice(None, None, s) for s in step)]
    far = ndimage.distance_transform_edt(~small, sampling=np.asarray(step) * mask.spacing) > SHOWN_MM
    for axis, repeat in enumerate(step):
        far = np.repeat(far, repeat, axis)
    return np.asarray(far[tuple(map(slice, mask.shape))])


def _centre(image: Volume) -> tuple[int, int, int]:
    hits = np.argwhere(image.data[::4, ::4, ::4] > 0)
    x, y, z = (hits.mean(axis=0) * 4).astype(int) if hits.size else np.asarray(image.shape) // 2
    return int(x) + 6, int(y), int(z) + 8  # beside the midline, at the ventricles


def planes(data: np.ndarray, centre: tuple[int, int, int]) -> list[np.ndarray]:
    """Sagittal, coronal and axial plane of a RAS array through ``centre``."""
    x, y, z = (min(c, n - 1) for c, n in zip(centre, data.shape, strict=True))
    return [data[x], data[:, y], data[:, :, z]]


def _row(axes: Any, title: str, image: Volume | None, centre: tuple[int, int, int]) -> None:
    for axis in axes:
        axis.axis("off")
    if image is None:
        return
    sizes = image.spacing
    aspects = (sizes[2] / sizes[1], sizes[2] / sizes[0], sizes[1] / sizes[0])
    bright = image.data[image.data > 0]
    top = float(np.percentile(bright, 99.5)) if bright.size else 1.0
    for axis, plane, aspect in zip(axes, planes(image.data, centre), aspects, strict=True):
        axis.imshow(plane.T, cmap="gray", origin="lower", vmin=0, vmax=top, aspect=aspect, interpolation="nearest")
    axes[0].text(0.02, 0.97, title, color="white", transform=axes[0].transAxes, va="top", fontsize=8)
    axes[2].text(0.02, 0.5, "L", color="white", transform=axes[2].transAxes, fontsize=8)


def _contours(axes: Any, mask: Volume | None, centre: tuple[int, int, int], colour: str) -> None:
    if mask is None:
        return
    for axis, plane in zip(axes, planes(mask.data, centre), strict=True):
        if plane.any():
            axis.contour(plane.T, [0.5], colors=colour, linewidths=0.7)


def _atlas() -> Volume:
    """The atlas brain."""
    from braincli.preprocessing import atlas

    return volume.reorient(atlas.load_atlas(stripped=True))


def _edges(template: Volume, centre: tuple[int, int, int]) -> list[np.ndarray]:
    """Edges of the atlas brain in the three planes."""
    from skimage.feature import canny

    return [canny(plane, sigma=2.0, low_threshold=4, high_threshold=10) for plane in planes(template.data, centre)]
