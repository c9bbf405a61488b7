"""Pictures in rows and columns, with their outlines, letters, heading and colour bar, drawn as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braincli import RESEARCH_USE_ONLY
from braincli.reporting.canvas import DPI, Canvas, Extent
from braincli.reporting.planes import CONVENTION, upright
from braincli.runtime import files

if TYPE_CHECKING:
    from PIL.Image import Image

DARK, LIGHT, FAINT = "#0b0d10", "#e8eaed", "#8b929b"
CELL_INCH = 1.55
LEAST_INCH = 6.4  # of the width: the footer is as long
HEAD_INCH, FOOT_INCH, BAR_INCH, LINE_INCH = 0.62, 0.44, 0.42, 0.14
CAPTION_INCH = 0.15  # below a row: a brain may reach the lower edge of its picture
TITLE_PAD_INCH = 3 / 72
NUMBER = "#ffd75e"
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
        label: written below the first one.
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


def paint(rows: Sequence[Row], words: Words, bar: Bar | None = None) -> Image:
    """Draw ``rows``, all with equally many planes and the titles of the first; RGB."""
    columns = len(rows[0].planes)
    wide = max(CELL_INCH, LEAST_INCH / columns)
    below = FOOT_INCH + LINE_INCH * len(words.foot)
    foot = below + (BAR_INCH if bar else 0)
    tall = [wide * row.tallness for row in rows]
    captions = [CAPTION_INCH * (1 + row.label.count("\n")) if row.label else 0.0 for row in rows]
    width, height = wide * columns, HEAD_INCH + foot + sum(tall) + sum(captions)
    canvas = Canvas(width, height, DARK)
    top = height - HEAD_INCH
    for column, plane in enumerate(rows[0].planes):
        if plane is not None:
            _text(canvas, (column + 0.5) * wide, top + TITLE_PAD_INCH, plane.title, LIGHT, 8, "ms")
    for row, deep, caption in zip(rows, tall, captions, strict=True):
        top -= deep
        for column, plane in enumerate(row.planes):
            if plane is not None:
                _show(canvas, plane, _centred(plane, row.aspect, (column * wide, top, wide, deep)))
        _text(canvas, 0.03 * wide, top + deep - 0.03, row.ends[0], FAINT, 6.5, "la")
        _text(canvas, width - 0.03 * wide, top + deep - 0.03, row.ends[1], FAINT, 6.5, "ra")
        _text(canvas, 0.03 * wide, top - 0.03, row.label, FAINT, 6.5, "la")
        top -= caption
    _write(canvas, words, width, height, below)
    if bar is not None:
        _bar(canvas, bar, width, foot)
    return canvas.picture


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


def _centred(plane: Plane, aspect: float, cell: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """(left, right, bottom, top) of a picture as large as fits into ``cell`` (left, bottom, width, height)."""
    left, bottom, wide, tall = cell
    x, y = plane.data.shape
    scale = min(wide / x, tall / (y * aspect))
    across, up = scale * x / 2, scale * y * aspect / 2
    return left + wide / 2 - across, left + wide / 2 + across, bottom + tall / 2 - up, bottom + tall / 2 + up


def _show(canvas: Canvas, plane: Plane, extent: Extent) -> None:
    """A picture with its outlines. Clipped before it is interpolated: fat does not shine over."""
    canvas.image(upright(plane.data), plane.window, plane.colours, extent)
    for mask, colour in plane.outlines:
        if mask.any():
            canvas.outline(upright(mask), colour, plane.line, extent)
    left, right, bottom, top = extent
    x, y = plane.data.shape
    for text, across, up in plane.numbers:
        place = right - (right - left) * (across + 0.5) / x, bottom + (top - bottom) * (up + 0.5) / y
        canvas.dot(*place, text, DARK, NUMBER, 6.5)


def _write(canvas: Canvas, words: Words, width: float, height: float, foot: float) -> None:
    """Heading and footer."""
    _text(canvas, 0.1, height - 0.13, words.title, LIGHT, 9.5, "la", bold=True)
    for number, (text, colour) in enumerate(reversed(words.notes)):
        _text(canvas, width - 0.1 - 1.2 * number, height - 0.13, text, colour, 8, "ra")
    lines = [*words.foot, (CONVENTION, FAINT), (RESEARCH_USE_ONLY, FAINT)]
    for number, (text, colour) in enumerate(lines):
        _text(canvas, 0.1, foot - 0.1 - LINE_INCH * number, text, colour, 6.5, "la")


def _bar(canvas: Canvas, bar: Bar, width: float, foot: float) -> None:
    """The colour bar, at the right end of the footer; what lies above its top has the colour of its top."""
    long = min(1.6, 0.3 * width)
    left, right, bottom, top = width - 0.3 - long, width - 0.3, foot - 0.3, foot - 0.2
    canvas.image(np.linspace(0, 1, 128)[None], (0, 1), bar.colours, (left, right, bottom, top))
    for place, text in ((left, "0"), (right, f"{bar.top:.3g}")):
        _text(canvas, place, bottom - 0.04, text, LIGHT, 6, "ma")
    _text(canvas, left - 0.08, bottom - 0.01, bar.title, FAINT, 6.5, "rd")
    if bar.mark is not None and bar.mark < bar.top:
        place = left + long * bar.mark / bar.top
        canvas.line((place, bottom - 0.03), (place, top + 0.03), LIGHT, 1.2)
        _text(canvas, place, top + 0.04, f"threshold {bar.mark:.3g}", LIGHT, 6, "md")


def _text(
    canvas: Canvas, x: float, y: float, text: str, colour: str, points: float, anchor: str, *, bold: bool = False
) -> None:
    canvas.text(x, y, _plain(text), colour, points, anchor, bold=bold)


def _plain(text: str) -> str:
    """``text`` as fonts take it: names of cases may hold bytes that are no text; they are no formulas, either."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)
