"""The quality picture: every contrast in three planes with the brain's outline, and the atlas' edges over the reference.

Whatever lies further than 15 mm from the brain is blanked, so that no face is shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli import files, volume
from braincli.volume import Volume

if TYPE_CHECKING:
    from braincli.cases import Contrast
    from braincli.preprocess.chain import Work

SHOWN_MM = 15.0
BRAIN, ATLAS, LESION = "#ff5050", "#40e0ff", "#ffd030"


def draw(
    work: Work, images: dict[Contrast, Volume], mask: Volume | None, lesion: Volume | None, path: Path
) -> None:
    """Write the picture (PNG): one row per contrast before N4, the last row the reference under the atlas' edges."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = {str(contrast): _seen(work, contrast, mask) for contrast in images}
    rows = [*shown.items(), *((f"{c} (output)", volume.reorient(image)) for c, image in images.items())]
    outline = volume.reorient(mask) if mask else None
    drawn = volume.reorient(lesion) if lesion else None
    centre = _centre(outline or next(iter(shown.values())))
    edges = _atlas_edges(work, centre)
    figure = Figure(figsize=(3 * 2.4, (len(rows) + (edges is not None)) * 2.4), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows) + (edges is not None), 3, squeeze=False)
    for line, (title, image) in zip(axes, rows, strict=False):
        _row(line, title, image, centre)
        _contours(line, outline, centre, BRAIN)
        _contours(line, drawn, centre, LESION)
    if edges is not None:
        _row(axes[-1], f"{work.reference} + atlas edges", shown[str(work.reference)], centre)
        for axis, edge in zip(axes[-1], edges, strict=True):
            axis.contour(edge.T, [0.5], colors=ATLAS, linewidths=0.5)
    figure.subplots_adjust(0, 0, 1, 1, 0.02, 0.02)
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=80, format="png", metadata={"Software": None})


def _seen(work: Work, contrast: Contrast, mask: Volume | None) -> Volume:
    from scipy import ndimage

    from braincli.preprocess.chain import into_space

    image = into_space(work, work.scans[contrast], contrast)
    if mask is not None:
        far = ndimage.distance_transform_edt(
            ~mask.data[::2, ::2, ::2], sampling=[2 * s for s in mask.spacing]
        )
        far = np.repeat(np.repeat(np.repeat(far, 2, 0), 2, 1), 2, 2)[tuple(map(slice, mask.shape))]
        image = image.with_data(np.where(far > SHOWN_MM, np.float32(0), image.data))
    return volume.reorient(image)


def _centre(image: Volume) -> tuple[int, int, int]:
    hits = np.argwhere(image.data[::4, ::4, ::4] > 0)
    x, y, z = (hits.mean(axis=0) * 4).astype(int) if hits.size else np.asarray(image.shape) // 2
    return int(x) + 6, int(y), int(z) + 8  # beside the midline, at the ventricles


def planes(data: np.ndarray, centre: tuple[int, int, int]) -> list[np.ndarray]:
    """Sagittal, coronal and axial plane of a RAS array through ``centre``."""
    x, y, z = (min(c, n - 1) for c, n in zip(centre, data.shape, strict=True))
    return [data[x], data[:, y], data[:, :, z]]


def _row(axes: Any, title: str, image: Volume, centre: tuple[int, int, int]) -> None:
    sizes = image.spacing
    aspects = (sizes[2] / sizes[1], sizes[2] / sizes[0], sizes[1] / sizes[0])
    top = float(np.percentile(image.data[image.data > 0], 99.5)) if (image.data > 0).any() else 1.0
    for axis, plane, aspect in zip(axes, planes(image.data, centre), aspects, strict=True):
        axis.imshow(
            plane.T, cmap="gray", origin="lower", vmin=0, vmax=top, aspect=aspect, interpolation="nearest"
        )
        axis.axis("off")
    axes[0].text(0.02, 0.97, title, color="white", transform=axes[0].transAxes, va="top", fontsize=8)
    axes[2].text(0.02, 0.5, "L", color="white", transform=axes[2].transAxes, fontsize=8)


def _contours(axes: Any, mask: Volume | None, centre: tuple[int, int, int], colour: str) -> None:
    if mask is None:
        return
    for axis, plane in zip(axes, planes(mask.data, centre), strict=True):
        if plane.any():
            axis.contour(plane.T, [0.5], colors=colour, linewidths=0.7)


def _atlas_edges(work: Work, centre: tuple[int, int, int]) -> list[np.ndarray] | None:
    """Edges of the atlas brain in the three planes; None where the outputs are not in its space."""
    from skimage.feature import canny

    from braincli.preprocess import atlas

    if work.names.space != atlas.NAME:
        return None
    template = volume.reorient(atlas.load_atlas(stripped=True))
    return [
        canny(plane, sigma=2.0, low_threshold=4, high_threshold=10) for plane in planes(template.data, centre)
    ]
