"""The box of a mask."""

from __future__ import annotations

import numpy as np
import pytest

from braincli.imaging.box import as_stored, bounding_box, values_in


def test_box_holds_all_that_is_set_and_nothing_more() -> None:
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert bounding_box(mask) == (slice(1, 4), slice(2, 3), slice(3, 7))
    assert bounding_box(mask[1]) == (slice(2, 3), slice(3, 4))


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("turned", [(1, 1, 1), (-1, 1, -1), (1, -1, 2)])
def test_box_is_the_same_however_the_mask_is_stored(axes: tuple[int, ...], turned: tuple[int, ...]) -> None:
    mask = (np.random.default_rng(3).random((5, 6, 7)) > 0.97).transpose(axes)
    mask = mask[tuple(slice(None, None, step) for step in turned)]
    places = np.argwhere(mask)
    box = tuple(slice(int(low), int(high) + 1) for low, high in zip(places.min(0), places.max(0), strict=True))
    assert bounding_box(mask) == box
    assert bounding_box(np.ascontiguousarray(mask)) == box


def test_nothing_set_is_an_empty_box() -> None:
    assert np.zeros((2, 3))[bounding_box(np.zeros((2, 3), bool))].size == 0


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_values_come_in_the_order_of_memory(axes: tuple[int, int, int]) -> None:
    stored = np.arange(24.0).reshape(2, 3, 4)
    seen = stored[:, ::-1].transpose(axes)
    (plain,) = as_stored(seen)
    assert np.array_equal(plain, stored)
    assert np.array_equal(values_in(seen, seen > 5), np.arange(6.0, 24.0))


def test_arrays_are_turned_alike_and_written_through() -> None:
    stored, other = np.arange(24.0).reshape(2, 3, 4), np.zeros((4, 3, 2))
    first, second = as_stored(stored.T[::-1], other)
    second[first == 5] = 1
    assert np.array_equal(np.argwhere(other), np.argwhere(stored.T[::-1] == 5))
