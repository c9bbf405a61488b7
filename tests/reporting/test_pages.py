"""The pages as text: what they hold, what they escape, and that they ask for nothing."""

from __future__ import annotations

import base64
import gzip
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pagecontent import EVIL, page, row, shown
from PIL import Image

from braincli.reporting import layers, viewer
from braincli.reporting.layers import Screen
from braincli.reporting.pages import cohort_page, inline


class Tags(HTMLParser):
    """Tags with their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.scripts += tag == "script"


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for NiiVue, where only the page counts."""
    monkeypatch.setattr(viewer, "library", lambda: base64.b64encode(gzip.compress(b"window.niivue = {}")).decode())
    monkeypatch.setattr(viewer.metadata, "version", lambda name: "0.0")


@pytest.mark.parametrize("interactive", [True, False])
def test_names_and_words_of_users_are_text_and_nothing_else(library: None, interactive: bool) -> None:
    honest, evil = (
        Tags(page(case=case, viewer=viewer.content(shown()) if interactive else None)) for case in ("p01", EVIL)
    )
    assert honest.found == evil.found and evil.scripts == (3 if interactive else 0)
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", page())[0]
    both = Tags(cohort_page(EVIL, [row(EVIL, warnings=EVIL, error=EVIL, qc=EVIL, status=EVIL)]))
    assert [tag for tag, _ in both.found].count("img") == 0 and both.scripts == 1


def test_pages_ask_for_nothing(library: None) -> None:
    texts = [page(viewer=viewer.content(shown())), page(), cohort_page("x", [row("p", volume_ml=3.0, lesions=1)])]
    for text in texts:
        assert "default-src 'none'" in unescape(text)
        for tag, attributes in Tags(text).found:
            for name in ("src", "srcset", "data", "action", "poster", "background"):
                assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
            assert tag in ("a",) or "href" not in attributes
        assert not re.search(r"@import|url\(", re.sub(r'<script type="application.*?</script>', "", text, flags=re.S))


def test_without_the_library_the_page_has_pictures_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer.util, "find_spec", lambda name: None)
    viewer.library.cache_clear()
    try:
        assert viewer.content(shown()) is None
    finally:
        viewer.library.cache_clear()
    text = page(viewer=None)
    assert "pip install nilearn" in text and "data:image/jpeg;base64," in text and "<canvas" not in text


def test_layers_lie_where_the_scans_lie() -> None:
    case = shown()
    screen = Screen(case)
    made = {layer.kind: layer for layer in screen.layers()}
    assert list(made) == ["scan", "restored", "anomaly", "mask", "reference"]
    assert screen.pitch == (1, 1, 1)  # small enough: as it is
    mask = made["mask"].data
    there = screen.affine @ [*np.argwhere(mask).mean(axis=0), 1]
    known = case.mask.affine @ [*np.argwhere(case.mask.data).mean(axis=0), 1]
    assert there == pytest.approx(known)
    assert case.top == 0.5 and sorted(set(made["anomaly"].data[mask > 0])) == [153, 255]
    assert set(np.unique(made["restored"].data)) == {0, 127} or set(np.unique(made["restored"].data)) == {0, 128}
    raw = gzip.decompress(base64.b64decode(made["scan"].packed()))
    assert np.array_equal(np.frombuffer(raw, np.uint8).reshape(mask.shape, order="F"), made["scan"].data)
    header = nib.Nifti1Header(viewer._header(screen, mask.shape)[:348])
    assert header.get_data_shape() == mask.shape and header.get_best_affine() == pytest.approx(screen.affine, abs=1e-5)


def test_layers_are_never_larger_than_the_screen_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MOST_VOXELS", 2000)
    for scale in (1.0, 5.0):
        case = shown(scale)
        screen = Screen(case)
        made = next(screen.layers()).data
        assert 1000 < made.size <= 2000
        corners = [screen.affine @ [*corner, 1] for corner in ((-0.5,) * 3, np.array(made.shape) - 0.5)]
        wanted = [case.grid.affine @ [*(getattr(p, end) - 0.5 for p in case.box), 1] for end in ("start", "stop")]
        assert np.abs(np.subtract(corners, wanted)).max() < max(screen.pitch)
        assert min(screen.pitch) == screen.pitch[0] == screen.pitch[1] <= screen.pitch[2]


def test_a_cohort_is_counted_and_its_volumes_are_binned() -> None:
    volumes = [0.0, 1.0, 2.5, 7.0, 7.5, 39.0]
    rows = [row(f"p{n}", volume_ml=v, lesions=1) for n, v in enumerate(volumes)]
    text = cohort_page("study", [*rows, row("q", status="failed", error="no scan")])
    assert "7 cases" in text and "57.0 ml" in text and "4.8 ml" in text and "no scan" in text
    bins = re.findall(r"<title>(\S+) to (\S+) ml: (\d+)</title>", text)
    assert bins == [("0", "10", "5"), ("10", "20", "0"), ("20", "30", "0"), ("30", "40", "1")]
    assert "<svg" not in cohort_page("study", [row("q", status="failed")])


def test_pictures_come_inside(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 6), "red").save(tmp_path / "x.png")
    kind, _, content = inline(tmp_path / "x.png").partition(",")
    assert kind == "data:image/jpeg;base64" and base64.b64decode(content)[:2] == b"\xff\xd8"


def test_a_name_that_is_no_text_does_not_spoil_the_page() -> None:
    text = page(case="caf\udce9", warnings=["na\u00efve"])
    assert "caf\u00e9" in text and "na\u00efve" in text and "\u2013 braincli" in text
    text.encode()
    cohort_page("caf\udce9", [row("caf\udce9")]).encode()
