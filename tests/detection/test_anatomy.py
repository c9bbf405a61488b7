"""Where a lesion lies and how long it is, against what geometry says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from braincli.detection.anatomy import Brain, longest, longest_axial, row_ends


def voxels(*size: int) -> np.ndarray:
    return np.argwhere(np.ones(size, bool))


def test_one_voxel_is_as_long_as_its_edge() -> None:
    one = voxels(1, 1, 1)
    assert longest(one, np.eye(4)) == longest_axial(one, np.eye(4)) == 1
    assert longest(one, np.diag([1.0, 1, 5, 1])) == 5 and longest_axial(one, np.diag([1.0, 1, 5, 1])) == 1


def test_a_row_and_a_column_are_as_long_as_they_are() -> None:
    assert longest_axial(voxels(7, 1, 1), np.eye(4)) == 7
    assert longest(voxels(1, 1, 9), np.diag([1.0, 1, 2, 1])) == 18
    assert longest_axial(voxels(1, 1, 9), np.diag([1.0, 1, 2, 1])) == 1


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_lengths_agree_with_all_pairs_of_face_centres(turn: float) -> None:
    rng = np.random.default_rng(1)
    some = np.unique(rng.integers(0, 12, (150, 3)), axis=0)
    cosine, sine = np.cos(turn), np.sin(turn)
    affine = np.array([[cosine, 0, -3 * sine, 4], [0, 2, 0, 5], [sine, 0, 3 * cosine, 6], [0, 0, 0, 1.0]])
    steps = np.concatenate([np.eye(3), -np.eye(3)]) / 2
    faces = (some[:, None] + steps).reshape(-1, 3) @ affine[:3, :3].T
    assert longest(some, affine) == pytest.approx(pdist(faces).max())
    within = [(some[some[:, 2] == z][:, None] + steps[[0, 1, 3, 4]]).reshape(-1, 3) for z in range(12)]
    assert longest_axial(some, affine) == pytest.approx(max(pdist(p @ affine[:3, :3].T).max() for p in within))


def test_ends_of_rows_are_their_extremes_in_order_and_none_comes_twice() -> None:
    some = np.unique(np.random.default_rng(2).integers(-3, 9, (200, 3)), axis=0)
    rows = {(z, y): [x for x, *place in some.tolist() if place == [y, z]] for _, y, z in some.tolist()}
    wanted = [[x, y, z] for (z, y), xs in sorted(rows.items()) for x in sorted({min(xs), max(xs)})]
    assert len(wanted) < len(some) and row_ends(some).tolist() == wanted


def head(shape: tuple[int, int, int] = (60, 50, 40), lean: float = 0.0) -> np.ndarray:
    """An ellipsoid of 40 x 40 x 30 voxels whose middle moves ``lean`` voxels to the right per voxel upwards."""
    x, y, z = np.indices(shape)
    return ((x - 28 - lean * (z - 20)) / 20) ** 2 + ((y - 25) / 20) ** 2 + ((z - 20) / 15) ** 2 <= 1


@pytest.mark.parametrize("lean", [0.0, 0.5])
def test_the_side_is_told_from_the_brain_itself(lean: float) -> None:
    brain = Brain(head(lean=lean), np.eye(4))
    top = 28 + lean * 10
    for offset, side in ((6, "right"), (-6, "left"), (0, "both")):
        there = np.array([[round(top + offset) + x, 25, 30] for x in (-2, -1, 0, 1, 2)])
        assert brain.side(there) == side


def test_height_runs_from_the_lowest_to_the_highest_slice() -> None:
    brain = Brain(head(), np.eye(4))
    assert [brain.height(np.array([[28, 25, z]])) for z in (5, 20, 35)] == [0, 0.5, 1]


def test_depth_is_measured_from_the_outside_and_not_from_holes_or_cut_planes() -> None:
    whole = head()
    centre = np.array([[28, 25, 20]])
    deep = Brain(whole, np.eye(4)).depth(centre)
    assert deep == pytest.approx(15, abs=1)
    hollow = whole.copy()
    hollow[26:31, 23:28, 22:26] = False
    assert Brain(hollow, np.eye(4)).depth(centre) == deep
    cut = whole[:, :, 18:]  # the field of view ends two slices below the lesion: the brain does not
    assert Brain(cut, np.eye(4)).depth(centre - [0, 0, 18]) == pytest.approx(15, abs=1)
    assert Brain(np.ones((4, 4, 4), bool), np.eye(4)).depth(np.array([[1, 1, 1]])) is None
