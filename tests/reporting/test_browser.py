"""The pages in a real browser, which alone knows whether they work."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import browser
import numpy as np
import pytest
from pagecontent import EVIL, page, row, shown
from PIL import Image

from braincli.reporting import viewer
from braincli.reporting.pages import LesionRow, cohort_page

pytestmark = [
    pytest.mark.skipif(browser.installed() is None, reason="no Chromium on this machine (apt-get install chromium)"),
    pytest.mark.slow,
]
GRID = shown().grid
PLACE = tuple((GRID.affine @ [*np.argwhere(GRID.data).mean(axis=0), 1])[:3].tolist())
needs_viewer = pytest.mark.skipif(viewer.library() is None, reason="nilearn, which brings NiiVue, is not installed")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    with browser.opened(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def case(tab: browser.Page, tmp_path_factory: pytest.TempPathFactory) -> browser.Page:
    """The page of a case with an evil name, its viewer ready."""
    lesions = [LesionRow(1, (-7.0, 5.0, 16.0), ["1"]), LesionRow(2, (0.0, 10.0, 20.0), ["2"])]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(lesions=lesions, viewer=viewer.content(shown(), PLACE)), encoding="utf-8")
    tab.open(path)
    tab.wait("document.body.dataset.viewer")
    assert tab.run("document.body.dataset.viewer") == "ready", tab.run("document.getElementById('canvas').textContent")
    return tab


def pixels(tab: browser.Page) -> np.ndarray:
    """The canvas without its rounded corners."""
    return np.asarray(Image.open(io.BytesIO(tab.picture("#canvas"))).convert("RGB")).astype(int)[6:-6, 6:-6]


def slide(tab: browser.Page, name: str, value: float) -> None:
    tab.run(f"(e => {{ e.value = {value}; e.dispatchEvent(new Event('input')) }})(document.getElementById('{name}'))")


@needs_viewer
def test_the_viewer_draws_three_planes(case: browser.Page) -> None:
    drawn = pixels(case)
    red, green, blue = np.moveaxis(drawn, -1, 0)
    crosshair = (red > 200) & (abs(red - green - 40) < 25) & (red - blue > 100)
    upright = (crosshair.mean(axis=0) > 0.4).astype(int)
    assert (np.diff(upright) == 1).sum() == 3  # one in each plane
    grey = drawn[np.ptp(drawn, axis=-1) < 10]
    assert ((grey > 60).sum() > 10_000) and grey.std() > 20


@needs_viewer
def test_sliders_change_what_is_drawn(case: browser.Page) -> None:
    for name in ("anomaly", "mask", "reference"):
        slide(case, name, 0)
    grey = pixels(case)
    assert grey.std() > 20
    slide(case, "mask", 100)
    masked = pixels(case)
    assert ((masked[..., 0] - masked[..., 1] > 100) & (grey[..., 0] - grey[..., 1] < 60)).sum() > 100
    slide(case, "mask", 0)
    slide(case, "reference", 100)
    known = pixels(case)
    assert (known[..., 1] - known[..., 0] > 80).sum() > 100
    slide(case, "reference", 0)
    slide(case, "anomaly", 100)
    slide(case, "from", 0.1)
    low = pixels(case)
    slide(case, "from", 0.45)  # above all of the map but a corner of it
    high = pixels(case)
    assert (np.abs(low - grey).sum(axis=-1) > 60).sum() > 100
    assert (np.abs(high - grey).sum(axis=-1) > 60).sum() == 0
    slide(case, "restored", 100)  # of one grey: the scan is noise
    flat = pixels(case)
    inside = (flat.sum(axis=-1) > 300) & (np.ptp(flat, axis=-1) < 10)
    assert flat[inside].std() < 0.5 * grey[inside].std()


@needs_viewer
def test_a_lesions_number_leads_to_its_place(case: browser.Page) -> None:
    case.run("document.querySelectorAll('button.number')[1].click()")
    assert case.run("document.getElementById('place').textContent") == "x 0, y 10, z 20 mm"
    case.run("document.querySelectorAll('button.number')[0].click()")
    assert case.run("document.getElementById('place').textContent") == "x -7, y 5, z 16 mm"


@needs_viewer
def test_the_patients_left_is_on_the_right(case: browser.Page) -> None:
    """The mask lies in the right half of the world's x axis: on the left of the axial and the coronal plane."""
    for name, value in (("anomaly", 0), ("reference", 0), ("mask", 100)):
        slide(case, name, value)
    drawn = pixels(case)
    red = drawn[..., 0] - drawn[..., 1] > 100
    below = slice(round(0.65 * len(drawn)), None)  # where only the axial plane is as tall
    grey = np.flatnonzero((drawn[below].min(axis=-1) > 60).any(axis=0))
    side = np.argwhere(GRID.data).mean(axis=0)[0] / GRID.shape[0]  # in RAS, 0 is the patient's left
    columns = np.nonzero(red[below])[1]
    assert side > 0.55 and (columns.mean() - grey[0]) / (grey[-1] - grey[0]) < 0.45


@needs_viewer
def test_nothing_is_complained_of_and_nothing_leaves(case: browser.Page) -> None:
    assert case.errors == [] and case.requests == []
    assert case.run("document.querySelector('h1').textContent") == EVIL
    blocked = case.run("fetch('https://example.org/').then(() => 'sent', () => 'refused')")
    assert blocked == "refused" and case.requests == []


def test_a_cohort_is_sorted_by_a_click(tab: browser.Page, tmp_path: Path) -> None:
    volumes = {"p10": 5.0, "p9": 40.0, EVIL: None, "p1": 12.0}
    path = tmp_path / "index.html"
    path.write_text(cohort_page(EVIL, [row(case, volume_ml=ml) for case, ml in volumes.items()]), encoding="utf-8")
    tab.open(path)

    def cases() -> list[str]:
        return tab.run("[...document.querySelectorAll('#cases tbody tr')].map(row => row.cells[1].textContent)")

    def click(column: int) -> None:
        tab.run(f"document.querySelectorAll('#cases th')[{column}].querySelector('button').click()")

    assert cases() == list(volumes)
    click(3)
    assert cases() == ["p10", "p1", "p9", EVIL]
    click(3)
    assert cases() == ["p9", "p1", "p10", EVIL]  # what is not known stays last
    click(1)
    assert [case for case in cases() if case != EVIL] == ["p1", "p9", "p10"]
    assert tab.errors == [] and tab.requests == []
