"""Pictures in rows and columns, with their outlines, letters, heading and colour bar, drawn as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli import RESEARCH_USE_ONLY
from braincli.reporting.planes import CONVENTION, upright
from braincli.runtime import files

if TYPE_CHECKING:
    from PIL.Image import Image

DARK, LIGHT, FAINT = "#0b0d10", "#e8eaed", "#8b929b"
CELL_INCH = 1.55
LEAST_INCH = 6.4  # of the width: the footer is as long
DPI = 130
HEAD_INCH, FOOT_INCH, BAR_INCH, LINE_INCH = 0.62, 0.44, 0.42, 0.14
TITLE_PAD_INCH = 3 / 72
NUMBER = {"boxstyle": "circle,pad=0.15", "facecolor": "#ffd75e", "edgecolor": "none", "alpha": 0.85}
PNG_LEVEL, JPEG_QUALITY = 3, 85


@dataclass(frozen=True)
class Plane:
    """One picture of a slice in RAS order (see :func:`braincli.reporting.planes.upright`).

    Attributes:
        window: grey or colour runs from the first value to the second.
        outlines: (bool mask of the same shape, colour).
        numbers: (text, place along the first axis, place along the second).
        line: width of outlines in points.
    """

    title: str
    data: np.ndarray
    window: tuple[float, float] = (0.0, 1.0)
    colours: str = "gray"
    outlines: tuple[tuple[np.ndarray, str], ...] = ()
    numbers: tuple[tuple[str, float, float], ...] = ()
    line: float = 0.9


@dataclass(frozen=True)
class Row:
    """Pictures of one size side by side, None where there is none.

    Attributes:
        label: written into the first one.
        aspect: height of a pixel by its width.
        ends: letters at the left and the right end.
    """

    label: str
    planes: Sequence[Plane | None]
    aspect: float = 1.0
    ends: tuple[str, str] = ("R", "L")

    @property
    def tallness(self) -> float:
        """Height of the tallest picture by its width."""
        shapes = [plane.data.shape for plane in self.planes if plane is not None]
        return max((y * self.aspect for _, y in shapes), default=1.0) / max((x for x, _ in shapes), default=1)


@dataclass(frozen=True)
class Bar:
    """What the colours of a map mean: from 0 to ``top``, with ``mark`` (the threshold) on it."""

    title: str
    top: float
    mark: float | None = None
    colours: str = "inferno"


@dataclass(frozen=True)
class Words:
    """What is written around the pictures.

    Attributes:
        title: left end of the heading.
        notes: right end of it, (text, colour), the last one outermost.
        foot: lines below the pictures, before those on the convention and on what the picture is for.
    """

    title: str
    notes: tuple[tuple[str, str], ...] = ()
    foot: tuple[tuple[str, str], ...] = ()


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


def paint(rows: Sequence[Row], words: Words, bar: Bar | None = None) -> Image:
    """Draw ``rows``, all with equally many planes and the titles of the first; RGB.

    All cells lie in one matplotlib Axes measured in inches: an Axes for each took longer than all that is in them.
    """
    columns = len(rows[0].planes)
    wide = max(CELL_INCH, LEAST_INCH / columns)
    below = FOOT_INCH + LINE_INCH * len(words.foot)
    foot = below + (BAR_INCH if bar else 0)
    tall = [wide * row.tallness for row in rows]
    width, height = wide * columns, HEAD_INCH + foot + sum(tall)
    figure = new_figure(figsize=(width, height), dpi=DPI, facecolor=DARK)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), autoscale_on=False)
    axes.set_axis_off()
    top = height - HEAD_INCH
    for column, plane in enumerate(rows[0].planes):
        if plane is not None:
            _text(axes, (column + 0.5) * wide, top + TITLE_PAD_INCH, plane.title, LIGHT, 8, ha="center", va="baseline")
    for row, deep in zip(rows, tall, strict=True):
        top -= deep
        for column, plane in enumerate(row.planes):
            if plane is not None:
                _show(axes, plane, _centred(plane, row.aspect, (column * wide, top, wide, deep)))
        _text(axes, 0.03 * wide, top + 0.03, row.label, FAINT, 6.5, va="bottom")
        _text(axes, 0.03 * wide, top + deep - 0.03, row.ends[0], FAINT, 6.5, va="top")
        _text(axes, width - 0.03 * wide, top + deep - 0.03, row.ends[1], FAINT, 6.5, ha="right", va="top")
    _write(axes, words, width, height, below)
    if bar is not None:
        _bar(axes, bar, width, foot)
    return _rendered(figure)


def save(picture: Image, path: Path) -> None:
    """Write ``picture`` as PNG, or as JPEG where ``path`` says so; the same content gives the same bytes.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    with files.atomic_path(path) as temporary:
        if path.suffix == ".jpg":
            picture.save(temporary, format="jpeg", quality=JPEG_QUALITY, subsampling=0)
        else:
            picture.save(temporary, format="png", compress_level=PNG_LEVEL, dpi=(DPI, DPI))


def _rendered(figure: Any) -> Image:
    """The pixels of ``figure``, without an alpha channel that says nothing and takes half of the time to compress."""
    from PIL import Image

    figure.canvas.draw()
    return Image.fromarray(np.ascontiguousarray(np.asarray(figure.canvas.buffer_rgba())[..., :3]))


def _centred(plane: Plane, aspect: float, cell: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """(left, right, bottom, top) of a picture as large as fits into ``cell`` (left, bottom, width, height)."""
    left, bottom, wide, tall = cell
    x, y = plane.data.shape
    scale = min(wide / x, tall / (y * aspect))
    across, up = scale * x / 2, scale * y * aspect / 2
    return left + wide / 2 - across, left + wide / 2 + across, bottom + tall / 2 - up, bottom + tall / 2 + up


def _show(axes: Any, plane: Plane, extent: tuple[float, float, float, float]) -> None:
    """A picture with its outlines; ``extent`` is (left, right, bottom, top). Clipped first: fat does not shine over."""
    low, high = plane.window
    axes.imshow(
        upright(plane.data.clip(low, high)), cmap=plane.colours, vmin=low, vmax=high, extent=extent, aspect="auto",
        interpolation="bilinear",
    )  # fmt: skip
    for mask, colour in plane.outlines:
        _outline(axes, mask, colour, plane.line, extent)
    left, right, bottom, top = extent
    x, y = plane.data.shape
    for text, across, up in plane.numbers:
        place = right - (right - left) * (across + 0.5) / x, bottom + (top - bottom) * (up + 0.5) / y
        _text(axes, *place, text, DARK, 6.5, ha="center", va="center", weight="bold", bbox=NUMBER)


def _outline(axes: Any, plane: np.ndarray, colour: str, line: float, extent: tuple[float, float, float, float]) -> None:
    """The contour of a mask whose picture fills ``extent``."""
    if not plane.any():
        return
    left, right, bottom, top = extent
    values = np.pad(upright(plane).astype(float), 1)  # what reaches the edge is closed there
    rows, columns = values.shape
    x = left + (right - left) * (np.arange(columns) - 0.5) / (columns - 2)
    y = top - (top - bottom) * (np.arange(rows) - 0.5) / (rows - 2)
    axes.contour(x, y, values, levels=[0.5], colors=[colour], linewidths=line)


def _write(axes: Any, words: Words, width: float, height: float, foot: float) -> None:
    """Heading and footer."""
    _text(axes, 0.1, height - 0.13, words.title, LIGHT, 9.5, va="top", weight="bold")
    for number, (text, colour) in enumerate(reversed(words.notes)):
        _text(axes, width - 0.1 - 1.2 * number, height - 0.13, text, colour, 8, ha="right", va="top")
    lines = [*words.foot, (CONVENTION, FAINT), (RESEARCH_USE_ONLY, FAINT)]
    for number, (text, colour) in enumerate(lines):
        _text(axes, 0.1, foot - 0.1 - LINE_INCH * number, text, colour, 6.5, va="top")


def _bar(axes: Any, bar: Bar, width: float, foot: float) -> None:
    """The colour bar, at the right end of the footer; what lies above its top has the colour of its top."""
    long = min(1.6, 0.3 * width)
    left, right, bottom, top = width - 0.3 - long, width - 0.3, foot - 0.3, foot - 0.2
    colours = np.linspace(0, 1, 128)[None]
    axes.imshow(colours, cmap=bar.colours, extent=(left, right, bottom, top), aspect="auto")
    for place, text in ((left, "0"), (right, f"{bar.top:.3g}")):
        _text(axes, place, bottom - 0.04, text, LIGHT, 6, ha="center", va="top")
    _text(axes, left - 0.08, bottom - 0.01, bar.title, FAINT, 6.5, ha="right", va="bottom")
    if bar.mark is not None and bar.mark < bar.top:
        place = left + long * bar.mark / bar.top
        axes.plot([place, place], [bottom - 0.03, top + 0.03], color=LIGHT, linewidth=1.2)
        _text(axes, place, top + 0.04, f"threshold {bar.mark:.3g}", LIGHT, 6, ha="center", va="bottom")


def _text(axes: Any, x: float, y: float, text: str, colour: str, size: float, **style: Any) -> None:
    axes.text(x, y, _plain(text), color=colour, fontsize=size, parse_math=False, **style)


def _plain(text: str) -> str:
    """``text`` as fonts take it: names of cases may hold bytes that are no text; they are no formulas, either."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)
