"""What a notebook shows of results: one piece of HTML, escaped, with the picture inside it."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from braincli import RESEARCH_USE_ONLY
from braincli.reporting.notebook import MOST_PICTURES, Results, fragment, inline


def png(width: int = 40, height: int = 30) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


@dataclass
class Made:
    name: str
    figure: bytes | None = None

    def as_row(self) -> dict[str, Any]:
        return {"case": self.name, "ml": 1.23456, "warnings": None}

    def png(self) -> bytes | None:
        return self.figure


def test_text_is_escaped_wherever_it_stands() -> None:
    bad = '<img src=x onerror="alert(1)">'
    html = fragment(bad, [{bad: bad}], notes=[bad], pictures=[(bad, png())])
    assert bad not in html and html.count("&lt;img src=x onerror=&#34;") == 5
    assert "<script" not in html and "http" not in html and RESEARCH_USE_ONLY in html


def test_pictures_are_inside_and_no_wider_than_a_notebook() -> None:
    (source,) = re.findall(r'src="([^"]+)"', fragment("p", pictures=[("p", png(2000, 1000))]))
    kind, _, content = source.partition(",")
    assert kind == "data:image/png;base64"
    assert Image.open(BytesIO(base64.b64decode(content))).size == (900, 450)
    small = Image.open(BytesIO(base64.b64decode(inline(png()).partition(",")[2])))
    assert small.size == (40, 30), "small ones stay as they are"


def test_what_one_row_lacks_is_not_available() -> None:
    html = fragment("", [{"case": "a"}, {"case": "b", "ml": 2.0}])
    assert html.count("<th>ml</th>") == 1 and "<td>a</td><td>n/a</td>" in html and "<td>b</td><td>2</td>" in html


def test_lists_of_results_are_tables_with_the_first_pictures() -> None:
    results = Results([Made(f"c{number}", png() if number else None) for number in range(MOST_PICTURES + 3)])
    html = results._repr_html_()
    assert html.count("<tr>") == MOST_PICTURES + 4 and "<td>1.235</td><td>n/a</td>" in html
    assert html.count("<img") == MOST_PICTURES and "not shown: 2 more pictures" in html
    pytest.importorskip("pandas")
    frame = results.to_dataframe()
    assert frame["case"][0] == "c0" and frame["ml"][0] == 1.23456
    assert Results[Made]([]).to_dataframe().empty and "<table" not in Results[Made]([])._repr_html_()
