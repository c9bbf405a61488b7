"""Which slices the pictures show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from braincli.imaging.cases import Contrast
from braincli.imaging.volume import Volume
from braincli.reporting.board import Row
from braincli.translation import pictures
from braincli.translation.pictures import Column, series

SHAPE = (20, 24, 40)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """What is about to be painted."""
    rows: list[Row] = []

    def paint(given: list[Row], *rest: Any) -> None:
        rows.extend(given)

    monkeypatch.setattr(pictures, "paint", paint)
    return rows


def column(changed: slice, mask: Volume | None, grid: Volume) -> Column:
    difference = np.zeros(SHAPE, np.float32)
    difference[5:15, 5:15, changed] = 0.5
    return Column("to x", grid, grid.with_data(difference), mask, (0.0, 1.0))


def test_a_series_shows_slices_that_were_translated(drawn: list[Row]) -> None:
    """Also where the mask goes on beyond them."""
    grid = Volume(np.ones(SHAPE, np.float32), np.eye(4))
    brain, mask = grid.with_data(np.ones(SHAPE, bool)), np.zeros(SHAPE, bool)
    mask[5:10, 5:10, 2:38] = True
    columns = [column(slice(18, 29), grid.with_data(mask), grid), column(slice(18, 29), None, grid)]
    series({Contrast.FLAIR: grid}, brain, columns, "title", "measure")
    heights = [float(row.label.split("z ")[1].split(" mm")[0]) for row in drawn]
    assert heights and all(18 <= height <= 28 for height in heights)
    assert len(drawn[0].planes) == 1 + 2 * len(columns)
    outlined = [bool(plane.outlines) for plane in drawn[0].planes if plane is not None]
    assert outlined == [False, True, False, False, False]


def test_without_any_change_the_mask_or_the_middle_is_shown(drawn: list[Row]) -> None:
    grid = Volume(np.ones(SHAPE, np.float32), np.eye(4))
    brain = grid.with_data(np.ones(SHAPE, bool))
    series({Contrast.T1: grid}, brain, [column(slice(0, 0), None, grid)], "title", "measure")
    assert [row.label for row in drawn] == ["axial, z +20 mm"]
