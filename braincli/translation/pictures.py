"""Pictures: a case beside its translations, growing from column to column; a case beside what a classifier looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from braincli.imaging.cases import Contrast
from braincli.imaging.slices import Slices
from braincli.imaging.volume import Volume, view_along
from braincli.reporting.board import LIGHT, Bar, Plane, Row, Words, paint
from braincli.reporting.figures import MASK, NAMES, SHOWN_BEST_ON, window_of
from braincli.reporting.planes import AXIAL, Box, View, brain_box, pick_slices

if TYPE_CHECKING:
    from PIL.Image import Image

    from braincli.translation.translate import Translation

ROWS = 3


def series(made: Sequence[Translation], title: str, measure: str) -> Image:
    """The scan, and for each goal its translation and their difference; a row per slice, those that change most.

    Args:
        made: translations of one case.
        measure: what their readings are.
    """
    first = made[0]
    base = next(contrast for contrast in SHOWN_BEST_ON if contrast in first.images)
    grid, inside = view_along(first.brain), view_along(first.brain).data
    scan = view_along(first.images[base]).data
    differences = [view_along(one.difference).data for one in made]
    masks = [None if one.goal.mask is None else view_along(one.goal.mask).data for one in made]
    weight = sum((mask for mask in masks if mask is not None), np.zeros(inside.shape, np.float32)) * inside
    weight = weight if weight.any() else sum(differences)
    top = max(float(np.quantile(np.concatenate([d[inside] for d in differences]), 0.999)), 1e-3)
    columns = [(NAMES[base], np.where(inside, scan, 0), window_of(scan, inside), "gray", None)]
    for one, difference, mask in zip(made, differences, masks, strict=True):
        translated = view_along(one.restored(base)).data
        columns.append((f"to {one.goal.name}", translated, (0.0, 1.0), "gray", mask))
        columns.append(("difference", difference, (0.0, top), "inferno", None))
    box, rows = brain_box(inside, grid.spacing), []
    for view in _views(weight, grid):
        planes = [_plane(name, data, window, colours, mask, view, box) for name, data, window, colours, mask in columns]
        rows.append(Row(view.words(grid), planes, view.aspect(grid.spacing), view.ends))
    told = "; ".join(f"to {one.goal.name}: {one.reading[0]:.3g} -> {one.reading[1]:.3g}" for one in made)
    foot = ((f"{measure[0].upper()}{measure[1:]}, before -> after. {told}", LIGHT),)
    notes = (("asked for", MASK),) if any(mask is not None for mask in masks) else ()
    return paint(rows, Words(title, notes, foot), Bar("difference", top))


def maps(
    images: Mapping[Contrast, Volume],
    brain: Volume,
    slices: Slices,
    values: np.ndarray,
    name: str,
    shown: Mapping[str, Volume],
    title: str,
) -> Image:
    """The scan beside maps in [0, 1]; a row per slice, those of which a classifier says most.

    Args:
        values: (S,) what it says of each of ``slices``; ``name`` says what that is.
        shown: maps by title.
    """
    base = next(contrast for contrast in SHOWN_BEST_ON if contrast in images)
    grid, inside = view_along(brain), view_along(brain).data
    scan = np.where(inside, view_along(images[base]).data, 0)
    numbers = slices.numbers(np.arange(grid.shape[2]))
    said = dict(zip(slices.index.tolist(), values.tolist(), strict=True))
    weight = np.zeros(inside.shape, np.float32)
    for plane in (plane for plane, number in enumerate(numbers) if int(number) in said):
        weight[:, :, plane] = inside[:, :, plane].any() * (said[int(numbers[plane])] - values.min() + 1e-6)
    box, rows = brain_box(inside, grid.spacing), []
    for view in _views(weight, grid):
        planes = [_plane(NAMES[base], scan, window_of(scan, inside), "gray", None, view, box)]
        planes += [_plane(t, view_along(v).data, (0.0, 1.0), "inferno", None, view, box) for t, v in shown.items()]
        label = f"{view.words(grid)}: {said[int(numbers[view.index])]:.3g}"
        rows.append(Row(label, planes, view.aspect(grid.spacing), view.ends))
    foot = ((f"Below each slice: {name}. Maps are shares of their largest value in the case.", LIGHT),)
    return paint(rows, Words(title, (), foot), Bar("map", 1.0))


def _views(weight: np.ndarray, grid: Volume) -> list[View]:
    chosen = pick_slices(weight, grid.spacing[AXIAL], ROWS) or [weight.shape[2] // 2]
    return [View(AXIAL, index) for index in chosen]


def _plane(
    title: str,
    data: np.ndarray,
    window: tuple[float, float],
    colours: str,
    mask: np.ndarray | None,
    view: View,
    box: Box,
) -> Plane:
    outlines = () if mask is None else ((view.of(mask, box), MASK),)
    return Plane(title, view.of(data, box), window, colours, outlines)
