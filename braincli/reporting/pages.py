"""Pages that a browser opens without a network: templates filled, everything that they need inside them."""

from __future__ import annotations

import base64
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.imaging.names import legible
from braincli.reporting.board import JPEG_QUALITY
from braincli.reporting.planes import CONVENTION
from braincli.reporting.viewer import HINT

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from PIL.Image import Image

TEMPLATES = Path(__file__).with_name("templates")
# Whatever a page were made to ask for, the browser would not send it.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; connect-src data: blob:; base-uri 'none'; form-action 'none'"
)


class LesionRow(NamedTuple):
    """A line of the lesion table; ``place`` is its middle in mm."""

    number: int
    place: Sequence[float]
    cells: Sequence[str]


class QualityRow(NamedTuple):
    """A figure of quality, and what is expected of it."""

    name: str
    value: str
    limits: str
    within: bool


@dataclass(frozen=True)
class CasePage:
    """What the page of a case says; text is escaped when the page is written.

    Attributes:
        subtitle: model and method.
        summary: (name, value) that come first.
        columns: of the lesion table, after the number.
        picture, quality_picture: see :func:`inline`.
        limits: what the calibration says of itself, in sentences.
        record: as JSON.
        citations: (what for, the work, where it is).
        viewer: see :func:`braincli.reporting.viewer.content`.
    """

    case: str
    subtitle: str
    summary: Sequence[tuple[str, str]]
    picture: str
    warnings: Sequence[str] = ()
    columns: Sequence[str] = ()
    lesions: Sequence[LesionRow] = ()
    table_note: str = ""
    quality: Sequence[QualityRow] = ()
    quality_picture: str = ""
    limits: Sequence[str] = ()
    record: str = ""
    citations: Sequence[tuple[str, str, str]] = ()
    viewer: Mapping[str, Any] | None = field(default=None, repr=False)

    def html(self) -> str:
        """The page."""
        return render("case.html", page=self, viewer=self.viewer, hint=HINT, convention=CONVENTION)


def cohort_page(name: str, cases: Sequence[Mapping[str, Any]]) -> str:
    """The page of a cohort: a table to sort, thumbnails, and how volumes are distributed.

    Args:
        name: of the folder.
        cases: the fields of a line of the table, ``report`` (address, or empty) and ``thumbnail`` (see :func:`inline`).
    """
    volumes = [case["volume_ml"] for case in cases if case["volume_ml"] is not None]
    counted = {status: sum(case["status"] == status for case in cases) for status in ("done", "failed", "running")}
    return render(
        "cohort.html", name=name, cases=cases, counted=counted, bins=_histogram(volumes),
        total=f"{sum(volumes):.1f}", median=f"{statistics.median(volumes):.1f}" if volumes else "n/a",
    )  # fmt: skip


class Bin(NamedTuple):
    """Of a histogram: volumes from ``low`` to below ``high``, how many, and what share of the fullest that is."""

    low: float
    high: float
    cases: int
    height: float


def _histogram(volumes: Sequence[float]) -> list[Bin]:
    """Equal bins from 0, about as many as the square root of the number of volumes, of round width."""
    if not volumes:
        return []
    wanted = max(volumes) / min(max(math.ceil(math.sqrt(len(volumes))), 4), 30) or 1.0
    size = 10.0 ** math.floor(math.log10(wanted))
    width = next(step * size for step in (1, 2, 5, 10) if step * size >= wanted)
    counts = [0] * (int(max(volumes) / width) + 1)
    for volume in volumes:
        counts[int(volume / width)] += 1
    return [Bin(width * i, width * (i + 1), count, count / max(counts)) for i, count in enumerate(counts)]


def render(template: str, **content: Any) -> str:
    """A template of this folder, filled: all text is escaped."""
    common = {"version": __version__, "notice": RESEARCH_USE_ONLY, "policy": POLICY}
    return _environment().get_template(template).render(**common, **content)


def inline(picture: Image | Path) -> str:
    """A picture, or the file of one, as the ``src`` of an image (JPEG)."""
    if isinstance(picture, Path):
        from PIL import Image as images

        with images.open(picture) as opened:
            return inline(opened.convert("RGB"))
    buffer = BytesIO()
    picture.save(buffer, format="jpeg", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        finalize=lambda value: legible(value) if isinstance(value, str) else value,
    )  # fmt: skip
    environment.globals["source"] = _source
    return environment


@cache
def _source(name: str) -> Markup:
    """A style sheet or script, as it is."""
    from markupsafe import Markup

    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
