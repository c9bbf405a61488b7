"""What pictures are drawn on: grey and coloured slices, outlines, letters; places in inches from the lower left corner.

It is Pillow's; matplotlib, whose fonts these are, takes half a second to be imported and as long to draw.
"""

from __future__ import annotations

from functools import cache
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as BitmapFont

DPI = 130
POINT = DPI / 72  # pixels
FINE = 4  # outlines and dots are drawn that many times as large, for smooth edges
DOT_ALPHA, DOT_PAD = 0.85, 0.15  # of the letters' size
INFERNO = (  # of matplotlib (CC0), at 33 places
    "000004 040312 0b0724 150b37 210c4a 2f0a5b 3d0965 4a0c6b 57106e 64156e 71196e 7d1e6d 8a226a 972766 a32c61 b0315b "
    "bc3754 c73e4c d24644 db503b e45a31 eb6628 f1731d f68013 f98e09 fb9d07 fcac11 fbbc21 f9cb35 f5db4c f2ea69 f3f68a "
    "fcffa4"
)
Extent = tuple[float, float, float, float]  # left, right, bottom, top


@cache
def colours(name: str) -> np.ndarray:
    """(256, 3) uint8: the colour scale ``gray`` or ``inferno``."""
    steps = np.linspace(0, 1, 256)
    if name == "gray":
        return np.repeat(np.rint(255 * steps).astype(np.uint8)[:, None], 3, axis=1)
    known = np.array([[*bytes.fromhex(colour)] for colour in INFERNO.split()])
    places = np.linspace(0, 1, len(known))
    return np.rint(np.stack([np.interp(steps, places, channel) for channel in known.T], axis=1)).astype(np.uint8)


class Canvas:
    """A picture of ``width`` x ``height`` inches, all of it ``background``; what is drawn covers what was there."""

    def __init__(self, width: float, height: float, background: str) -> None:
        from PIL import Image, ImageDraw

        self.picture: Image.Image = Image.new("RGB", (round(width * DPI), round(height * DPI)), background)
        self._pen = ImageDraw.Draw(self.picture)

    def image(self, values: np.ndarray, window: tuple[float, float], scale: str, extent: Extent) -> None:
        """``values`` (rows from the top, columns), interpolated; the colour scale begins and ends at ``window``."""
        from PIL import Image

        low, high = window
        left, top, size = self._pixels(extent)
        shares = np.asarray((values.clip(low, high) - low) / (high - low), np.float32)
        fine = np.asarray(Image.fromarray(255 * shares).resize(size, Image.Resampling.BILINEAR))
        self.picture.paste(Image.fromarray(colours(scale)[np.rint(fine).astype(np.uint8)]), (left, top))

    def outline(self, mask: np.ndarray, colour: str, points: float, extent: Extent) -> None:
        """The edge of ``mask`` (rows from the top, columns; bool), which fills ``extent``; closed at its border."""
        from PIL import Image, ImageFilter

        left, top, (wide, tall) = self._pixels(extent)
        reach = max(1, round(FINE * points * POINT / 2))  # the line lies half inside and half outside
        margin = FINE * -(-reach // FINE)
        fine = FINE * wide, FINE * tall
        soft = Image.fromarray(np.asarray(255 * mask, np.uint8)).resize(fine, Image.Resampling.BILINEAR)
        inside = Image.new("L", (fine[0] + 2 * margin, fine[1] + 2 * margin))
        inside.paste(soft.point(lambda value: 255 * (value > 127)), (margin, margin))
        near = inside.filter(ImageFilter.BoxBlur(reach))  # neither all outside nor all inside
        line = near.point(lambda value: 255 * (0 < value < 255)).reduce(FINE)
        self.picture.paste(colour, (left - margin // FINE, top - margin // FINE), line)

    def text(
        self, x: float, y: float, words: str, colour: str, points: float, anchor: str = "ls", *, bold: bool = False
    ) -> None:
        """``words`` at a place; ``anchor`` is Pillow's: l, m, r and ascender, middle, s (baseline), descender."""
        self._pen.text(self._place(x, y), words, colour, font=font(points, bold), anchor=anchor)

    def dot(self, x: float, y: float, words: str, colour: str, fill: str, points: float) -> None:
        """A disc with bold ``words`` in it."""
        from PIL import Image, ImageDraw

        across, down = self._place(x, y)
        box = font(points, True).getbbox(words, anchor="mm")
        radius = round(np.hypot(box[2] - box[0], box[3] - box[1]) / 2 + DOT_PAD * points * POINT)
        disc = Image.new("L", (FINE * (2 * radius + 1),) * 2)
        ImageDraw.Draw(disc).ellipse((0, 0, disc.width - 1, disc.height - 1), fill=round(255 * DOT_ALPHA))
        self.picture.paste(fill, (round(across) - radius, round(down) - radius), disc.reduce(FINE))
        self.text(x, y, words, colour, points, "mm", bold=True)

    def line(self, first: tuple[float, float], last: tuple[float, float], colour: str, points: float) -> None:
        """A straight line."""
        self._pen.line([self._place(*first), self._place(*last)], colour, max(1, round(points * POINT)))

    def _place(self, x: float, y: float) -> tuple[float, float]:
        return x * DPI, self.picture.height - y * DPI

    def _pixels(self, extent: Extent) -> tuple[int, int, tuple[int, int]]:
        """Left, top, and (width, height)."""
        left, top = (round(part) for part in self._place(extent[0], extent[3]))
        right, bottom = (round(part) for part in self._place(extent[1], extent[2]))
        return left, top, (max(right - left, 1), max(bottom - top, 1))


@cache
def font(points: float, bold: bool = False) -> FreeTypeFont | BitmapFont:
    """DejaVu Sans, which matplotlib brings; Pillow's own where it does not."""
    from PIL import ImageFont

    spec, size = util.find_spec("matplotlib"), points * POINT  # found, not imported
    for folder in spec.submodule_search_locations or [] if spec else []:
        file = Path(folder) / "mpl-data" / "fonts" / "ttf" / f"DejaVuSans{'-Bold' if bold else ''}.ttf"
        if file.is_file():
            return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)
    return ImageFont.load_default(size)
