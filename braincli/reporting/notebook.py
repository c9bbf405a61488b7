"""How results look in a notebook: a table, what is to be said, and the figure, as one piece of HTML."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from braincli.reporting.pages import render
from braincli.runtime.frames import dataframe
from braincli.wording import counted

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 900  # pixels of a figure: what a notebook shows without scrolling
COLOURS = 256
MOST_PICTURES = 8  # of a cohort: a notebook is no report


class Result(Protocol):
    """What a list of results shows of each."""

    def as_row(self) -> dict[str, Any]:
        """Figures by name, one line of a table."""

    def png(self) -> bytes | None:
        """The figure, if one was drawn."""


R = TypeVar("R", bound=Result)


class Results(list[R]):
    """Results of cases, in order: a list that notebooks show as a table with pictures."""

    def to_dataframe(self) -> pd.DataFrame:
        """One line per case.

        Raises:
            UsageError: pandas is not installed.
        """
        rows = [result.as_row() for result in self]
        return dataframe(rows, names(rows))

    def _repr_html_(self) -> str:
        rows = [result.as_row() for result in self]
        pictures = [(str(next(iter(row.values()))), each.png()) for row, each in zip(rows, self, strict=True)]
        return fragment("", rows, pictures=[(name, png) for name, png in pictures if png])


def fragment(
    title: str,
    rows: Sequence[Mapping[str, Any]] = (),
    *,
    notes: Sequence[str] = (),
    pictures: Sequence[tuple[str, bytes]] = (),
) -> str:
    """HTML without script or address; all text is escaped.

    Args:
        rows: of one table.
        notes: sentences.
        pictures: (what it shows, PNG), of which the first few are shown.
    """
    columns = names(rows)
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    sources = [(name, inline(png)) for name, png in pictures[:MOST_PICTURES]]
    if hidden := len(pictures) - len(sources):
        notes = [*notes, f"not shown: {counted(hidden, 'more picture')}"]
    return render("notebook.html", title=title, columns=columns, rows=cells, notes=notes, pictures=sources).strip()


def names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of all ``rows``, in the order in which they come up."""
    return list(dict.fromkeys(name for row in rows for name in row))


def inline(png: bytes, width: int = WIDTH) -> str:
    """A PNG as the ``src`` of an image: no wider than ``width`` pixels, of few colours; notebooks stay small."""
    from PIL import Image

    with Image.open(BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "n/a"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
