"""Pictures: a case beside its translations, growing from column to column; a case beside what a classifier looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from braincli.imaging.cases import Contrast
from braincli.imaging.slices import Slices
from braincli.imaging.volume import Volume, view_along
from braincli.reporting.board import LIGHT, Bar, Plane, Row, Words, paint
from braincli.reporting.figures import MASK, NAMES, SHOWN_BEST_ON, window_of
from braincli.reporting.planes import AXIAL, View, brain_box, pick_slices, pick_views

if TYPE_CHECKING:
    from PIL.Image import Image

ROWS = 3


@dataclass(frozen=True)
class Column:
    """One translation in a series; volumes on the scan's grid.

    Attributes:
        title: what the scan was translated to.
        translated: in [0, 1], of the contrast that is shown.
        difference: from the scan, >= 0.
        mask: what was asked for, bool; None where it was a number.
        reading: what the model's guide says before and after.
    """

    title: str
    translated: Volume
    difference: Volume
    mask: Volume | None
    reading: tuple[float, float]


def series(
    images: Mapping[Contrast, Volume], brain: Volume, columns: Sequence[Column], title: str, measure: str
) -> Image:
    """The scan, and for each goal its translation and their difference; a row per slice, those that change most.

    Args:
        measure: what readings are.
    """
    base, grid = shown_on(images), view_along(brain)
    inside, scan = grid.data, view_along(images[base]).data
    differences = [view_along(column.difference).data for column in columns]
    masks = [None if column.mask is None else view_along(column.mask).data for column in columns]
    weight = np.zeros(inside.shape, np.float32)
    for asked in [mask & inside for mask in masks if mask is not None]:
        weight += asked
    change = np.sum(differences, axis=0)
    if (translated := change.any(axis=(0, 1))).any():
        weight[:, :, ~translated] = 0
    if not weight.any():
        weight = change
    top = max(float(np.quantile(np.concatenate([part[inside] for part in differences]), 0.999)), 1e-3)
    box, rows = brain_box(inside, grid.spacing), []
    for view in _views(weight, grid):
        planes = [Plane(NAMES[base], view.of(np.where(inside, scan, 0), box), window_of(scan, inside))]
        for column, difference, mask in zip(columns, differences, masks, strict=True):
            outlines = () if mask is None else ((view.of(mask, box), MASK),)
            planes.append(Plane(column.title, view.of(view_along(column.translated).data, box), outlines=outlines))
            planes.append(Plane("difference", view.of(difference, box), (0.0, top), "inferno"))
        rows.append(Row(view.words(grid), planes, view.aspect(grid.spacing), view.ends))
    told = "; ".join(f"{c.title}: {c.reading[0]:.3g} -> {c.reading[1]:.3g}" for c in columns)
    foot = ((f"{measure[0].upper()}{measure[1:]}, before -> after. {told}", LIGHT),)
    notes = (("asked for", MASK),) if any(mask is not None for mask in masks) else ()
    return paint(rows, Words(title, notes, foot), Bar("difference", top))


def shown_on(images: Mapping[Contrast, Volume]) -> Contrast:
    """The contrast that pictures show."""
    return next(contrast for contrast in SHOWN_BEST_ON if contrast in images)


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
    base, grid = shown_on(images), view_along(brain)
    inside = grid.data
    scan = np.where(inside, view_along(images[base]).data, 0)
    numbers = slices.numbers(np.arange(grid.shape[2]))
    said = dict(zip(slices.index.tolist(), values.tolist(), strict=True))
    weight = np.zeros(inside.shape, np.float32)
    for plane in (plane for plane, number in enumerate(numbers) if int(number) in said):
        weight[:, :, plane] = inside[:, :, plane].any() * (said[int(numbers[plane])] - values.min() + 1e-6)
    box, rows = brain_box(inside, grid.spacing), []
    for view in _views(weight, grid):
        planes = [Plane(NAMES[base], view.of(scan, box), window_of(scan, inside))]
        planes += [Plane(t, view.of(view_along(v).data, box), colours="inferno") for t, v in shown.items()]
        label = f"{view.words(grid)}: {said[int(numbers[view.index])]:.3g}"
        rows.append(Row(label, planes, view.aspect(grid.spacing), view.ends))
    foot = ((f"Below each slice: {name}. Maps are shares of their largest value in the case.", LIGHT),)
    return paint(rows, Words(title, (), foot), Bar("map", 1.0))


def crossing(
    contrast: Contrast, scan: Volume, brain: np.ndarray, shown: Mapping[str, Volume], words: str, title: str
) -> Image:
    """The scan beside maps in [0, 1]; slices through where the first of them is highest.

    Args:
        scan: in RAS order, as is ``brain``.
        shown: maps by title, on the scan's grid as it is on disk.
        words: what the classifier says.
    """
    found = {name: view_along(each).data for name, each in shown.items()}
    box, inside = brain_box(brain, scan.spacing), np.where(brain, scan.data, 0)
    rows = []
    for view in pick_views(np.zeros_like(brain), scan.spacing, score=next(iter(found.values())), count=2):
        parts = [Plane(NAMES[contrast], view.of(inside, box), window_of(inside, brain))]
        parts += [Plane(name, view.of(data, box), colours="inferno") for name, data in found.items()]
        rows.append(Row(view.words(scan), parts, view.aspect(scan.spacing), view.ends))
    foot = ((f"{words[0].upper()}{words[1:]}. Maps are shares of their largest value.", LIGHT),)
    return paint(rows, Words(title, (), foot), Bar("map", 1.0))


def _views(weight: np.ndarray, grid: Volume) -> list[View]:
    chosen = pick_slices(weight, grid.spacing[AXIAL], ROWS) or [weight.shape[2] // 2]
    return [View(AXIAL, index) for index in chosen]
