"""The picture of a case: inputs, restoration, anomaly map and mask on the most abnormal slices; slices side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braincli import RESEARCH_USE_ONLY
from braincli.imaging.box import values_in
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.volume import Volume, view_along
from braincli.runtime import files

NAMES = {Contrast.T1: "T1", Contrast.T1CE: "T1ce", Contrast.T2: "T2", Contrast.FLAIR: "FLAIR"}
SHOWN_BEST_ON = (Contrast.FLAIR, Contrast.T2, Contrast.T1CE, Contrast.T1)
DARK, LIGHT, FAINT = "#0b0d10", "#e8eaed", "#8b929b"
MASK, REFERENCE = "#ff5a4f", "#45d3c4"
APART_MM = 8.0  # least distance between the slices shown
MARGIN_MM = 6.0
CELL_INCH = 1.55
TITLE_PAD_INCH = 3 / 72
PNG_LEVEL = 3


@dataclass(frozen=True)
class _Panel:
    title: str
    data: np.ndarray  # (X, Y, Z) in RAS
    window: tuple[float, float]
    colours: str = "gray"
    outlined: bool = False
    blank: bool = False  # what lies outside the brain is as dark as the window goes


@dataclass(frozen=True)
class Plane:
    """One picture of an axial slice, (X, Y) in RAS, with its grey or colour ``window`` and outlined (mask, colour)."""

    title: str
    data: np.ndarray
    window: tuple[float, float] = (0.0, 1.0)
    colours: str = "gray"
    outlines: tuple[tuple[np.ndarray, str], ...] = ()


@dataclass(frozen=True)
class Row:
    """Pictures side by side, None where there is none, and what is written into the first one."""

    label: str
    planes: Sequence[Plane | None]


def restoration_figure(
    path: Path,
    images: Mapping[Contrast, Volume],
    *,
    mask: Volume,
    brain: np.ndarray | None = None,
    restored: Mapping[Contrast, Volume] | None = None,
    anomaly: Volume | None = None,
    threshold: float | None = None,
    reference: Volume | None = None,
    title: str = "",
    rows: int = 3,
    overwrite: bool = False,
) -> None:
    """Draw a case as PNG: inputs, restoration, anomaly map and the mask as contour, one row per slice.

    Axial slices in radiological convention (the patient's left is on the right), in true proportions. Slices
    are those with most mask, or the highest anomaly where the mask is empty. The same content gives the same
    bytes.

    Args:
        images: skull-stripped inputs, all volumes here on one grid; shown from their 1st to 99th percentile.
        mask: bool.
        brain: (X, Y, Z) bool; by default where any image is not 0.
        restored: in [0, 1], 0 and 1 being those percentiles.
        anomaly: anomaly map, >= 0.
        threshold: of the anomaly map; the colour scale ends at twice its value.
        reference: known mask, drawn in a second colour.
        title: first words of the heading.
        rows: slices shown at most.

    Raises:
        UsageError: ``path`` exists and ``overwrite`` is false.
        ResourceError: the disk is full or the folder cannot be written.
    """
    files.refuse_overwrite(path, overwrite=overwrite)
    grid = view_along(mask)
    inside = view_along(mask.with_data(brain)).data if brain is not None else _inside(images)
    marked = grid.data > 0
    known = None if reference is None else view_along(reference).data > 0
    score = None if anomaly is None else view_along(anomaly).data
    panels = _panels(images, inside, restored or {}, score, threshold)
    chosen = pick_slices(marked, score, grid.spacing[2], rows)
    _draw(path, panels, marked, known, inside, chosen, grid, title)


def pick_slices(mask: np.ndarray, score: np.ndarray | None, step_mm: float, count: int) -> list[int]:
    """Indices of at most ``count`` axial slices, from the top of the head down, at least 8 mm apart.

    Args:
        mask: (X, Y, Z) bool in RAS; the slices with most of it come first.
        score: (X, Y, Z) >= 0; decides where the mask is empty.
        step_mm: distance between slices.
    """
    weight = mask.sum(axis=(0, 1)).astype(np.float64)
    if not weight.any() and score is not None:
        weight = score.sum(axis=(0, 1)).astype(np.float64)
    if not weight.any():
        return [mask.shape[2] // 2]
    chosen: list[int] = []
    for index in np.argsort(-weight, kind="stable"):
        if len(chosen) == count or weight[index] <= 0:
            break
        if all(abs(index - other) * step_mm >= APART_MM for other in chosen):
            chosen.append(int(index))
    return sorted(chosen, reverse=True)


def _inside(images: Mapping[Contrast, Volume]) -> np.ndarray:
    return np.logical_or.reduce([view_along(image).data != 0 for image in images.values()])


def _panels(
    images: Mapping[Contrast, Volume],
    inside: np.ndarray,
    restored: Mapping[Contrast, Volume],
    score: np.ndarray | None,
    threshold: float | None,
) -> list[_Panel]:
    panels = []
    for contrast in (c for c in CONTRASTS if c in images):
        data = view_along(images[contrast]).data
        panels.append(_Panel(NAMES[contrast], data, _window(data, inside), blank=True))
    best = next(contrast for contrast in SHOWN_BEST_ON if contrast in images)
    if shown := next((contrast for contrast in SHOWN_BEST_ON if contrast in restored), None):
        panels.append(_Panel(f"{NAMES[shown]} restored", view_along(restored[shown]).data, (0.0, 1.0)))
    if score is not None:
        highest = float(score.max()) or 1.0
        top = min(2 * threshold, max(highest, 1.2 * threshold)) if threshold else highest
        panels.append(_Panel("anomaly map", score, (0.0, top), "inferno"))
    base = next(panel for panel in panels if panel.title == NAMES[best])
    panels.append(_Panel(f"mask on {NAMES[best]}", base.data, base.window, outlined=True, blank=True))
    return panels


def _window(data: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """1st and 99th percentile of ``data`` where ``inside``, both (X, Y, Z)."""
    values = values_in(data, inside)
    low, high = np.percentile(values, [1, 99]) if values.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))


def slices_figure(
    path: Path, rows: Sequence[Row], *, title: str, note: str = "", aspect: float = 1.0, overwrite: bool = False
) -> None:
    """Draw slices of any cases or methods as PNG, one row each, all cells of one size.

    Args:
        rows: with equally many planes; the titles are those of the first row.
        note: right end of the heading.
        aspect: height of a pixel by its width.

    Raises:
        UsageError: ``path`` exists and ``overwrite`` is false.
        ResourceError: the disk is full or the folder cannot be written.
    """
    files.refuse_overwrite(path, overwrite=overwrite)
    shapes = [plane.data.shape for row in rows for plane in row.planes if plane is not None]
    tallness = max(y * aspect for _, y in shapes) / max(x for x, _ in shapes)
    figure = _paint(rows, tallness, aspect)
    _heading(figure, title, note, LIGHT)
    _save(figure, path)


def _draw(
    path: Path,
    panels: list[_Panel],
    marked: np.ndarray,
    known: np.ndarray | None,
    inside: np.ndarray,
    chosen: list[int],
    grid: Volume,
    title: str,
) -> None:
    box = brain_box(inside, grid.spacing)
    dx, dy, _ = grid.spacing
    wide, tall = (box[0].stop - box[0].start) * dx, (box[1].stop - box[1].start) * dy
    rows = []
    for index in chosen:
        place = (*box, index)
        outlines = [(marked[place], MASK)] + ([] if known is None else [(known[place], REFERENCE)])
        planes = [
            Plane(p.title, np.where(inside[place], p.data[place], p.window[0]) if p.blank else p.data[place], p.window,
                  p.colours, tuple(outlines) if p.outlined else ())
            for p in panels
        ]  # fmt: skip
        rows.append(Row(f"z {height_mm(grid, index):+.0f} mm", planes))
    figure = _paint(rows, tall / wide, dy / dx)
    _words(figure, title, marked, known, grid.voxel_ml)
    _save(figure, path)


def _paint(rows: Sequence[Row], tallness: float, aspect: float) -> Any:
    """A figure with one cell per plane; ``tallness`` is a cell's height by its width.

    All cells lie in one matplotlib Axes measured in inches: an Axes for each took longer than all that is in them.
    """
    columns = len(rows[0].planes)
    head, foot = 0.62, 0.36
    wide, tall = CELL_INCH, CELL_INCH * tallness
    width, height = wide * columns, head + foot + tall * len(rows)
    figure = new_figure(figsize=(width, height), dpi=130, facecolor=DARK)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), autoscale_on=False)
    axes.set_axis_off()
    for number, row in enumerate(rows):
        bottom = foot + tall * (len(rows) - 1 - number)
        for column, plane in enumerate(row.planes):
            if plane is not None:
                _show(axes, plane, _centred(plane, aspect, (column * wide, bottom, wide, tall)))
                if number == 0:
                    _title(axes, plane.title, (column + 0.5) * wide, bottom + tall)
        _label(axes, 0.03 * wide, bottom + 0.02 * tall, row.label, "left", "bottom")
        _label(axes, 0.03 * wide, bottom + 0.97 * tall, "R", "left", "top")
        _label(axes, width - 0.03 * wide, bottom + 0.97 * tall, "L", "right", "top")
    return figure


def _centred(plane: Plane, aspect: float, cell: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """(left, right, bottom, top) of a picture as large as fits into ``cell`` (left, bottom, width, height)."""
    left, bottom, wide, tall = cell
    x, y = plane.data.shape
    scale = min(wide / x, tall / (y * aspect))
    across, up = scale * x / 2, scale * y * aspect / 2
    return left + wide / 2 - across, left + wide / 2 + across, bottom + tall / 2 - up, bottom + tall / 2 + up


def new_figure(**options: Any) -> Any:
    """A matplotlib Figure that Agg draws, whatever MPLBACKEND says.

    With a notebook's backend there, which is not installed everywhere, matplotlib even refuses to be imported.
    """
    wanted = os.environ.pop("MPLBACKEND", None)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    finally:
        if wanted is not None:
            os.environ["MPLBACKEND"] = wanted
    figure = Figure(**options)
    FigureCanvasAgg(figure)
    return figure


def _show(axes: Any, plane: Plane, extent: tuple[float, float, float, float]) -> None:
    """A picture with its outlines; ``extent`` is (left, right, bottom, top)."""
    low, high = plane.window
    axes.imshow(
        _upright(plane.data), cmap=plane.colours, vmin=low, vmax=high, extent=extent, aspect="auto",
        interpolation="bilinear",
    )  # fmt: skip
    for mask, colour in plane.outlines:
        _outline(axes, mask, colour, extent)


def _save(figure: Any, path: Path) -> None:
    """Draw ``figure`` as PNG; written without its alpha channel, which says nothing, in half the time."""
    from PIL import Image

    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    with files.atomic_path(path) as temporary:
        picture.save(temporary, format="png", compress_level=PNG_LEVEL, dpi=(figure.dpi, figure.dpi))


def _heading(figure: Any, title: str, note: str, colour: str) -> None:
    """Title on the left, ``note`` on the right, the footer."""
    width, height = figure.get_size_inches()
    margin, top = 0.1 / width, 1 - 0.13 / height
    figure.text(margin, top, _plain(title), color=LIGHT, fontsize=9.5, va="top", weight="bold", parse_math=False)
    figure.text(1 - margin, top, _plain(note), color=colour, fontsize=8, va="top", ha="right", parse_math=False)
    words = f"Axial, radiological convention: the patient's left is on the right. {RESEARCH_USE_ONLY}"
    figure.text(margin, 0.12 / height, words, color=FAINT, fontsize=6.5, va="bottom")


def _words(figure: Any, title: str, marked: np.ndarray, known: np.ndarray | None, voxel_ml: float) -> None:
    """Heading, legend with volumes, and the footer."""
    _heading(figure, title, f"mask {marked.sum() * voxel_ml:.1f} ml", MASK)
    if known is not None:
        width, height = figure.get_size_inches()
        text = f"reference {known.sum() * voxel_ml:.1f} ml"
        figure.text(1 - 1.25 / width, 1 - 0.13 / height, text, color=REFERENCE, fontsize=8, va="top", ha="right")


def brain_box(inside: np.ndarray, spacing: tuple[float, float, float]) -> tuple[slice, slice]:
    """The box of the brain (X, Y, Z) in the axial plane, with a margin."""
    slices = []
    for axis in (0, 1):
        used = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        low, high = (used[0], used[-1]) if len(used) else (0, inside.shape[axis] - 1)
        margin = int(np.ceil(MARGIN_MM / spacing[axis]))
        slices.append(slice(max(0, int(low) - margin), min(inside.shape[axis], int(high) + 1 + margin)))
    return slices[0], slices[1]


def _upright(plane: np.ndarray) -> np.ndarray:
    """(X, Y) in RAS -> rows from anterior to posterior, columns from the patient's right to left."""
    return plane.T[::-1, ::-1]


def _outline(axes: Any, plane: np.ndarray, colour: str, extent: tuple[float, float, float, float]) -> None:
    """The contour of a mask (X, Y) whose picture fills ``extent``."""
    if not plane.any():
        return
    left, right, bottom, top = extent
    values = _upright(plane).astype(float)
    rows, columns = values.shape
    x = left + (right - left) * (np.arange(columns) + 0.5) / columns
    y = top - (top - bottom) * (np.arange(rows) + 0.5) / rows
    axes.contour(x, y, values, levels=[0.5], colors=[colour], linewidths=0.9)


def _title(axes: Any, text: str, x: float, y: float) -> None:
    style = {"color": LIGHT, "fontsize": 8, "ha": "center", "va": "baseline", "parse_math": False}
    axes.text(x, y + TITLE_PAD_INCH, _plain(text), **style)


def _label(axes: Any, x: float, y: float, text: str, align: str, vertical: str) -> None:
    style = {"color": FAINT, "fontsize": 6.5, "ha": align, "va": vertical, "parse_math": False}
    axes.text(x, y, _plain(text), **style)


def _plain(text: str) -> str:
    """``text`` as fonts take it: names of cases may hold bytes that are no text; they are no formulas, either."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)


def height_mm(grid: Volume, index: int) -> float:
    """World z in mm of the middle of an axial slice."""
    x, y, _ = grid.shape
    return float((grid.affine @ [x / 2, y / 2, index, 1])[2])
