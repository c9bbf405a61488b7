"""The box of a mask."""

from __future__ import annotations

import numpy as np

from braincli.imaging.box import bounding_box


def test_box_holds_all_that_is_set_and_nothing_more() -> None:
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert bounding_box(mask) == (slice(1, 4), slice(2, 3), slice(3, 7))
    assert bounding_box(mask[1]) == (slice(2, 3), slice(3, 4))


def test_nothing_set_is_an_empty_box() -> None:
    assert np.zeros((2, 3))[bounding_box(np.zeros((2, 3), bool))].size == 0
