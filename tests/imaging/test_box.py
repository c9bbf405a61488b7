"""The box of a mask."""

from __future__ import annotations

import numpy as np
import pytest

from braincli.imaging.box import as_stored, blank, bounding_box, percentiles, values_in


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


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_blank_lies_in_memory_as_what_it_is_made_for(axes: tuple[int, int, int]) -> None:
    like = np.ones((2, 3, 4), np.int16).transpose(axes)
    made = blank(like[::-1])
    assert made.shape == like.shape and made.strides == np.zeros_like(like, np.float32).strides
    assert made.dtype == np.float32 and not made.any()


@pytest.mark.parametrize("count", [1, 2, 999, 1000, 1001, 20_000])
@pytest.mark.parametrize("kind", ["spread", "whole numbers", "equal"])
def test_percentiles_are_numpys(count: int, kind: str) -> None:
    values = np.random.default_rng(count).gamma(2.0, 100.0, count).astype(np.float32)
    values = {"spread": values, "whole numbers": np.rint(values), "equal": np.full_like(values, 7)}[kind]
    before, wanted = values.copy(), (99, 0, 1, 50, 99.5, 100, 50)
    expected = np.percentile(values.astype(np.float64), wanted)
    np.testing.assert_allclose(percentiles(values, wanted), expected, rtol=1e-12)
    assert np.array_equal(values, before)
