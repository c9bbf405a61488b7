"""Which slices are shown, and which way up."""

from __future__ import annotations

import numpy as np
import pytest

from braincli.imaging.volume import Volume
from braincli.reporting.planes import AXIAL, CORONAL, SAGITTAL, View, pick_slices, pick_views, upright


def test_pictures_are_radiological_in_all_three_planes() -> None:
    data = np.zeros((5, 6, 7))
    data[4, 5, 6] = 1  # right, front, top
    for axis in (AXIAL, CORONAL, SAGITTAL):
        picture = upright(View(axis, data.shape[axis] - 1).of(data))
        assert picture[0, 0] == 1, axis  # all of them are shown at the left end and on top
    assert [View(axis, 0).ends for axis in (AXIAL, CORONAL, SAGITTAL)] == [("R", "L"), ("R", "L"), ("A", "P")]
    assert upright(View(AXIAL, 6).of(data)).shape == (6, 5) and upright(View(SAGITTAL, 4).of(data)).shape == (7, 6)


def test_views_say_where_they_are_and_how_tall_their_pixels_are() -> None:
    grid = Volume(np.zeros((4, 6, 8)), np.array([[2, 0, 0, -4.0], [0, 3, 0, -9], [0, 0, 5, 10], [0, 0, 0, 1]]))
    assert View(AXIAL, 2).words(grid) == "axial, z +20 mm"
    assert View(CORONAL, 0).words(grid) == "coronal, y -9 mm"
    assert View(SAGITTAL, 2).words(grid) == "sagittal, x +0 mm"
    assert [View(axis, 0).aspect(grid.spacing) for axis in range(3)] == pytest.approx([5 / 3, 5 / 2, 3 / 2])


def test_slices_hold_most_mask_and_lie_apart() -> None:
    mask = np.zeros((10, 10, 60), bool)
    mask[:8, :8, 30] = mask[:7, :7, 31] = mask[:6, :6, 40] = mask[:2, :2, 50] = True
    assert pick_slices(mask, 1.0, 3) == [50, 40, 30]
    assert pick_slices(mask, 1.0, 2) == [40, 30]
    assert pick_slices(mask, 1.0, 3, apart_from=(32,)) == [50, 40]
    assert pick_slices(mask, 0.1, 3) == [30]


def test_a_case_is_seen_in_three_planes_through_most_of_the_mask() -> None:
    mask = np.zeros((20, 30, 40), bool)
    mask[4:9, 10:20, 12:15] = True
    mask[4:8, 10:20, 12] = False
    mask[6, 11, 13] = True
    views = pick_views(mask, (1, 1, 1), count=1)
    assert [view.axis for view in views] == [AXIAL, CORONAL, SAGITTAL]
    axial, coronal, sagittal = views
    assert mask[sagittal.index, coronal.index, axial.index]


def test_what_the_mask_misses_of_the_reference_is_shown_too() -> None:
    mask, known = np.zeros((2, 20, 20, 60), bool)
    mask[5:15, 5:15, 10:13] = known[5:15, 5:15, 10:13] = True
    known[2:4, 2:4, 45] = True
    axial = [view.index for view in pick_views(mask, (1, 1, 1), known=known, count=1) if view.axis == AXIAL]
    assert axial == [45, 10]
    alone = [view.index for view in pick_views(0 * mask > 0, (1, 1, 1), known=known, count=2) if view.axis == AXIAL]
    assert alone == [45, 10]


def test_empty_mask_falls_back_to_the_score_then_to_the_middle() -> None:
    empty = np.zeros((4, 4, 21), bool)
    score = np.zeros(empty.shape)
    score[1, 2, 5] = 1
    assert pick_views(empty, (1, 1, 1), score=score) == [View(AXIAL, 5), View(CORONAL, 2), View(SAGITTAL, 1)]
    for nothing in (None, 0 * score):
        assert pick_views(empty, (1, 1, 1), score=nothing) == [View(AXIAL, 10), View(CORONAL, 2), View(SAGITTAL, 2)]
