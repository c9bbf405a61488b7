"""The quality picture: every contrast before and after, with the brain's outline, and the atlas' edges, in five slices.

Whatever lies further than 15 mm from the brain is blanked, so that no face is shown. Grey runs from the 1st to the
99th percentile inside the brain, so that bright fat does not darken it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from braincli.imaging.cases import Contrast
from braincli.imaging.names import legible
from braincli.imaging.volume import view_along
from braincli.preprocessing import quality
from braincli.preprocessing.spaces import Template
from braincli.preprocessing.work import Images
from braincli.reporting import board
from braincli.reporting.board import FAINT, Plane, Row, Words
from braincli.reporting.figures import NAMES, window_of
from braincli.reporting.planes import AXIAL, CORONAL, SAGITTAL, View, brain_box

SHOWN_MM = 15.0
BRAIN, ATLAS, LESION, OUTSIDE = "#ff5050", "#40e0ff", "#ffd030", "#ffb000"
HEIGHTS = (0.75, 0.55, 0.35)  # of the axial slices, from the lowest (0) to the highest of the brain
BESIDE_MM = 8.0  # the sagittal slice is so far from the midline, where the falx is


@dataclass(frozen=True)
class _Column:
    title: str
    data: np.ndarray  # (X, Y, Z) in RAS
    window: tuple[float, float]
    outlines: tuple[tuple[np.ndarray, str], ...] = ()


def draw(
    images: Images,
    reference: Contrast,
    path: Path,
    *,
    case: str,
    figures: Mapping[str, Any],
    template: Template | None = None,
) -> None:
    """Write the picture (PNG): a row per slice; each contrast when aligned, and when intensities were corrected.

    Args:
        case: id, for the heading.
        figures: of quality; they are written below, those outside their limits in another colour.
        template: of the images' space: its brain and edges are shown, too.
    """
    grid = view_along(images.heads[reference])
    brain = view_along(images.brain).data > 0 if images.brain else grid.data > 0
    lesion = view_along(images.lesion).data > 0 if images.lesion else None
    near = _near(brain, grid.spacing) if images.brain else brain
    columns = list(_columns(images, brain, near, lesion))
    atlas = None if template is None else view_along(template.load_atlas(stripped=True)).data
    if atlas is not None:
        head = np.where(near, grid.data, 0)
        columns += [
            _Column(f"{NAMES[reference]} and atlas", head, window_of(head, brain)),
            _Column("atlas", atlas, window_of(atlas, atlas > 0)),
        ]
    box = brain_box(near, grid.spacing)
    rows = []
    for view in _views(brain, grid.spacing):
        planes = [
            Plane(c.title, view.of(c.data, box), c.window, outlines=tuple((view.of(m, box), k) for m, k in c.outlines))
            for c in columns
        ]
        if atlas is not None:
            edges = _edges(view.of(atlas, box))
            planes[-2] = replace(planes[-2], outlines=((edges, ATLAS),), line=0.35)
        rows.append(Row(view.words(grid), planes, view.aspect(grid.spacing), view.ends))
    notes = [("brain", BRAIN)] * (images.brain is not None) + [("lesion", LESION)] * (lesion is not None)
    words = Words(f"{legible(case)}  (preprocessing)", tuple(notes), tuple(_told(figures)))
    board.save(board.paint(rows, words), path)


def _columns(images: Images, brain: np.ndarray, near: np.ndarray, lesion: np.ndarray | None) -> Iterator[_Column]:
    known = () if lesion is None else ((lesion, LESION),)
    outlined = (((brain, BRAIN),) if images.brain else ()) + known
    for contrast, head in images.heads.items():
        data = np.where(near, view_along(head).data, 0)
        yield _Column(f"{NAMES[contrast]} aligned", data, window_of(data, brain), outlined)
        done = view_along(images.finished[contrast]).data
        yield _Column(f"{NAMES[contrast]} output", done, window_of(done, brain), known)


def _views(brain: np.ndarray, spacing: tuple[float, float, float]) -> list[View]:
    """Axial slices from the top down, a coronal one in the middle, a sagittal one beside it."""
    if not brain.any():
        return [View(axis, brain.shape[axis] // 2) for axis in (AXIAL, CORONAL, SAGITTAL)]
    used = [np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    x, y = (int(used[axis].mean()) for axis in (SAGITTAL, CORONAL))
    beside = min(x + round(BESIDE_MM / spacing[0]), int(used[0][-1]))
    heights = dict.fromkeys(int(np.quantile(used[2], share)) for share in HEIGHTS)
    return [*(View(AXIAL, z) for z in heights), View(CORONAL, y), View(SAGITTAL, beside)]


def _told(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The figures of quality with their limits, one line for those within them, one for each of the others."""
    within = []
    for name, what, value, (low, high) in quality.each(dict(figures)):
        limits = f"at least {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"
        of = f" of {NAMES[Contrast(what)]}" if what else ""
        text = f"{name.replace('_', ' ')}{of} {value:g} ({limits})"
        if low <= value <= high:
            within.append(text)
        else:
            yield f"outside its limits: {text}", OUTSIDE
    for start in range(0, len(within), 3):
        yield "   ".join(within[start : start + 3]), FAINT


def _near(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """(X, Y, Z) bool: what lies within :data:`SHOWN_MM` of the brain ``mask``."""
    from scipy import ndimage

    step = [max(1, round(2.0 / size)) for size in spacing]  # on a grid of about 2 mm: the limit is no sharp one
    small = mask[tuple(slice(None, None, s) for s in step)]
    near = ndimage.distance_transform_edt(~small, sampling=np.asarray(step) * spacing) <= SHOWN_MM
    for axis, repeat in enumerate(step):
        near = np.repeat(near, repeat, axis)
    return np.asarray(near[tuple(map(slice, mask.shape))])


def _edges(plane: np.ndarray) -> np.ndarray:
    """Edges of the atlas brain in a slice of it."""
    from skimage.feature import canny

    return np.asarray(canny(plane, sigma=2.5, low_threshold=4, high_threshold=10))
