"""Distance and range of slices: scans are resampled through the plane, and what was seen goes back where it lies."""

from __future__ import annotations

import numpy as np
import phantoms
import pytest
from pydantic import ValidationError

from braincli.errors import InputError
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.slices import Slices, from_volumes
from braincli.imaging.volume import Volume, reorient
from braincli.spec import SliceSpec

SHAPE, MM = (40, 48, 31), 2.0
FLAIR = CONTRASTS.index(Contrast.FLAIR)


def volume(axes: str = "RAS") -> Volume:
    ras = Volume(phantoms.brain(SHAPE), phantoms.affine("RAS", (1.0, 1.1, MM)))
    return reorient(ras, axes)


def cut(axes: str = "RAS", **options: object) -> Slices:
    spec = SliceSpec.model_validate({"size": (32, 24), "min_brain_mm2": 20.0} | options)
    return from_volumes({Contrast.FLAIR: volume(axes)}, spec)


def test_slices_of_the_scans_own_distance_are_left_as_they_are() -> None:
    own, same = cut(), cut(slice_mm=MM)
    assert same.planes is None and own.planes is None
    assert np.array_equal(own.image, same.image) and np.array_equal(own.index, same.index)


@pytest.mark.parametrize("axes", ["RAS", "LPI", "PIR"])
def test_coarser_slices_are_means_and_their_map_returns_to_the_scan(axes: str) -> None:
    own, coarse = cut(), cut(axes, slice_mm=4.0)
    assert coarse.spacing[0] == 4.0 and len(coarse.index) == pytest.approx(len(own.index) / 2, abs=1)
    assert set(np.diff(coarse.index)) == {1}
    # 31 planes of 2 mm become 16 of 4 mm about the same middle: slice k lies at plane 2 k
    fine = dict(zip(own.index, own.image[:, FLAIR], strict=True))
    for number, image in zip(coarse.index[2:-2], coarse.image[2:-2, FLAIR], strict=True):
        around = [fine[2 * number + step] for step in (-1, 0, 1)]
        mean = 0.25 * around[0] + 0.5 * around[1] + 0.25 * around[2]
        tissue = (np.minimum.reduce(around) > 0) & (image > 0)
        assert tissue.sum() > 100 and np.abs(image - mean)[tissue].max() < 0.03
    back = coarse.to_volume(coarse.image[:, FLAIR])
    given = volume(axes)
    assert back.shape == given.shape and not back.data[given.data == 0].any()
    seen = (back.data > 0) & (given.data > 0)
    assert seen.sum() > 0.85 * (given.data > 0).sum()
    assert np.corrcoef(back.data[seen], given.data[seen])[0, 1] > 0.8


def test_finer_slices_interpolate() -> None:
    own, fine = cut(), cut(slice_mm=1.0)
    assert len(fine.index) > 1.8 * len(own.index)
    back = fine.to_volume(np.ones((len(fine.index), *fine.image.shape[2:]), np.float32))
    inside = fine.brain_volume[:, :, own.index[1:-1]]
    assert (back.data[:, :, own.index[1:-1]][inside] > 0.9).mean() > 0.95


def test_a_range_is_looked_at_and_nothing_else() -> None:
    whole, part = cut(), cut(range=(10, 14))
    assert list(part.index) == [10, 11, 12, 13, 14] and part.beyond == len(whole.index) - 5 and whole.beyond == 0
    np.testing.assert_allclose(part.image, whole.image[np.isin(whole.index, part.index)], atol=1e-6)
    back = part.to_volume(np.ones((5, *part.image.shape[2:]), np.float32)).data
    assert back[:, :, 10:15].any(axis=(0, 1)).all() and not back[:, :, :10].any() and not back[:, :, 15:].any()


def test_the_range_counts_from_the_bottom_whatever_the_storage() -> None:
    upright, inverted = cut(range=(8, 9)), cut("LPI", range=(8, 9))
    np.testing.assert_allclose(upright.image, inverted.image, atol=1e-5)


def test_a_range_of_coarser_slices_goes_back_to_the_planes_that_they_show() -> None:
    part = cut(slice_mm=4.0, range=(5, 7))
    assert list(part.index) == [5, 6, 7]
    ones = np.ones((3, *part.image.shape[2:]), np.float32)
    planes = np.flatnonzero(part.to_volume(ones).data.any(axis=(0, 1)))
    assert set(planes) >= {10, 11, 12, 13, 14} and planes.min() >= 9 and planes.max() <= 15
    assert set(part.shown_planes(np.ones(3, bool))) >= set(planes)
    assert set(part.shown_planes(np.array([True, False, False]))) <= {9, 10, 11}
    assert list(part.numbers(np.array([10, 12, 14]))) == [5, 6, 7]
    assert set(np.flatnonzero(part.looked_at(SliceSpec(slice_mm=4.0, range=(5, 7))))) >= {10, 12, 14}


def test_lesions_come_onto_the_same_slices() -> None:
    lesion = reorient(Volume(phantoms.lesion(SHAPE), phantoms.affine("RAS", (1.0, 1.1, MM)))).data > 0
    coarse = cut(slice_mm=4.0)
    share = coarse.to_canvas(lesion, SliceSpec(size=(32, 24), slice_mm=4.0))
    sick = set(coarse.index[(share > 0.5).any(axis=(1, 2))])
    planes = np.flatnonzero(lesion.any(axis=(0, 1)))
    assert sick and min(sick) * 2 >= planes.min() - 1 and max(sick) * 2 <= planes.max() + 1


def test_a_range_without_brain_says_where_the_brain_is() -> None:
    with pytest.raises(InputError, match=r"lies in the slices \d+ to \d+; 80 to 128 are looked at") as error:
        cut(range=(80, 128))
    assert "SRI24" in error.value.hint


def test_every_canvas_is_a_multiple_of_the_stride() -> None:
    for stride in (1, 8, 32):
        slices = from_volumes({Contrast.T1: volume()}, SliceSpec(size=(30, 26), min_brain_mm2=20.0), stride=stride)
        assert slices.image.shape[2] % stride == 0 and slices.image.shape[3] % stride == 0
        assert slices.image.shape[2] >= 30 and slices.image.shape[3] >= 26


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"range": (9, 3)}, "ends before it begins"),
        ({"slice_mm": 0.0}, "is not 0.2 to 10 mm"),
        ({"size": (2, 2)}, "are not 4 to 1024 each"),
        ({"range": "most"}, "range"),
        ({"normalisation": "magic"}, "normalisation"),
    ],
)
def test_what_no_slices_can_be(options: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SliceSpec.model_validate(options)


@pytest.mark.parametrize("slice_mm", ["own", 4.0])
def test_some_slices_go_back_to_where_all_of_them_would(slice_mm: float | str) -> None:
    whole = cut(slice_mm=slice_mm)
    part = whole.rows_of(np.array([4, 5, 6]))
    assert list(part.index) == list(whole.index[4:7])
    ones = np.ones((3, *part.image.shape[2:]), np.float32)
    planes = np.flatnonzero(part.to_volume(ones).data.any(axis=(0, 1)))
    middle = whole.shown_planes(np.arange(len(whole.index)) == 5)
    assert set(middle) <= set(planes) and len(planes) < len(whole.index)
