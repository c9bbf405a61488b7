"""Slices and back: what is cut from a scan returns to its place on the scan's own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import phantoms
import pytest

from braincli.errors import InputError
from braincli.imaging.cases import CONTRASTS, Case, Contrast, find_cases
from braincli.imaging.slices import SliceSpec, from_volumes, load_case, normalise
from braincli.imaging.volume import Volume, load, view_along
from braincli.training.store import build_store, open_store

SPEC = SliceSpec(size=(32, 24), min_brain_mm2=20.0)
SHAPE = (40, 48, 20)


def volume(axes: str = "RAS", seed: int = 0) -> Volume:
    """A brain in RAS order, stored along ``axes``."""
    from braincli.imaging.volume import reorient

    ras = Volume(phantoms.brain(SHAPE, seed), phantoms.affine("RAS", (1.0, 1.1, 3.0)))
    return reorient(ras, axes)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL"])
def test_a_smooth_map_returns_to_its_voxels(axes: str) -> None:
    given = volume(axes)
    slices = from_volumes({Contrast.FLAIR: given}, SPEC)
    back = slices.to_volume(slices.image[:, CONTRASTS.index(Contrast.FLAIR)])
    assert back.shape == given.shape
    assert np.array_equal(back.affine, given.affine)
    brain = given.data > 0
    assert not back.data[~brain].any()
    expected = normalise(given.data, brain, SPEC)
    covered = back.data > 0
    assert covered[brain].mean() > 0.9
    assert np.corrcoef(back.data[covered], expected[covered])[0, 1] > 0.8
    assert abs(back.data[covered].mean() - expected[covered].mean()) < 0.03


@pytest.mark.parametrize("slice_mm", ["own", 4.0])
@pytest.mark.parametrize(
    "part", [np.s_[3:7, 10:14, 5:9], np.s_[:1, 12:16, :], np.s_[-2:, 20:21, 12:13], np.s_[:, :, :]]
)
def test_a_part_of_the_canvas_is_enlarged_as_in_the_whole(part: tuple[slice, ...], slice_mm: str | float) -> None:
    """All that these pixels reach lies in the box, and has the values that it has where everything is enlarged."""
    slices = from_volumes({Contrast.FLAIR: volume("LPS")}, SPEC.model_copy(update={"slice_mm": slice_mm}))
    values, around = slices.image[:, CONTRASTS.index(Contrast.FLAIR)], np.zeros(slices.brain[:, 0].shape, bool)
    around[part] = True
    box, shown = slices.to_box(values, around)
    whole, reached = (
        view_along(slices.to_volume(stack)).data for stack in (values, np.where(around, np.float32(1), 0))
    )
    np.testing.assert_allclose(shown, whole[box], atol=1e-6)
    reached[box] = 0
    assert shown.any() and not reached.any()
    assert part == np.s_[:, :, :] or shown.size < whole.size / 2


def test_slices_do_not_depend_on_the_storage_order() -> None:
    first = from_volumes({Contrast.T1: volume("RAS")}, SPEC)
    for axes in ("LPS", "PIR", "SAL"):
        other = from_volumes({Contrast.T1: volume(axes)}, SPEC)
        np.testing.assert_allclose(other.image, first.image, atol=1e-5)


def test_several_threads_cut_the_same_slices() -> None:
    given = {contrast: volume(seed=seed) for seed, contrast in enumerate(CONTRASTS)}
    low = given[Contrast.T2]  # shows a part of the brain alone
    given[Contrast.T2] = low.with_data(np.where(np.arange(SHAPE[2]) < SHAPE[2] // 2, low.data, 0))
    one, several = (from_volumes(given, SPEC, threads=threads) for threads in (1, 4))
    assert one.shown is not None and several.shown is not None
    np.testing.assert_array_equal(several.image, one.image)
    np.testing.assert_array_equal(several.shown, one.shown)


def test_layout_absent_contrasts_and_background() -> None:
    slices = from_volumes({Contrast.T2: volume()}, SPEC)
    count, channels, height, width = slices.image.shape
    assert (channels, height % 8, width % 8) == (4, 0, 0)
    assert slices.contrasts == (Contrast.T2,)
    assert not slices.image[:, [0, 1, 3]].any()
    assert not slices.image[~np.broadcast_to(slices.brain, slices.image.shape)].any()
    assert slices.image.max() <= 1
    assert count == len(slices.index) and (np.diff(slices.index) == 1).all()
    tissue = slices.image[count // 2, 2]
    right, left = tissue[:, width // 2 + 2 :], tissue[:, : width // 2 - 2]
    assert right[right > 0].mean() > left[left > 0].mean() + 0.1, "columns run from left to right (the phantom rises)"


def test_a_larger_brain_gets_a_larger_canvas() -> None:
    wide = Volume(phantoms.brain((80, 90, 12)), phantoms.affine("RAS", (1.0, 1.0, 4.0)))
    slices = from_volumes({Contrast.T1: wide}, SPEC, stride=8)
    assert slices.image.shape[2:] == (40, 32)
    assert (slices.to_volume(slices.image[:, 0]).data > 0)[wide.data > 0].mean() > 0.85


def test_equalised_values_are_ranks_and_a_constant_is_zero() -> None:
    data = np.array([[[0.0, 5.0, 1.0, 3.0, 2.0, 4.0]]], np.float32)
    brain = data > 0
    ranks = normalise(data, brain, SliceSpec(normalisation="equalise"))
    np.testing.assert_allclose(ranks[brain], [0.8, 0.0, 0.4, 0.2, 0.6])
    assert not normalise(brain.astype(np.float32), brain, SPEC).any()


def test_other_grids_and_empty_brains_are_refused() -> None:
    with pytest.raises(InputError, match="corners lie"):
        moved = Volume(volume().data, volume().affine @ np.diag([1, 1, 1.2, 1]))
        from_volumes({Contrast.T1: volume(), Contrast.T2: moved}, SPEC)
    with pytest.raises(InputError, match="brain mask is empty"):
        from_volumes({Contrast.T1: volume()}, SPEC, brain=volume().with_data(np.zeros(SHAPE, bool)))


def test_store_labels_slices_by_their_lesion(tmp_path: Path) -> None:
    matrix = phantoms.affine("LPS", (1.0, 1.0, 3.0))
    for name, seed in (("a", 0), ("b", 1)):
        folder = tmp_path / "cohort" / name
        folder.mkdir(parents=True)
        phantoms.write(folder / f"{name}_t1.nii.gz", phantoms.brain(SHAPE, seed), matrix)
        phantoms.write(folder / f"{name}_flair.nii.gz", phantoms.brain(SHAPE, seed + 5), matrix)
    phantoms.write(tmp_path / "cohort" / "a" / "a_seg.nii.gz", phantoms.lesion(SHAPE), matrix)
    cases = find_cases(tmp_path / "cohort")
    store = build_store(cases, SPEC, tmp_path / "store", stride=8)
    again = open_store(tmp_path / "store")
    assert np.array_equal(store.image, again.image)
    assert set(store.label[store.case == 0]) == {0, 1}
    assert set(store.label[store.case == 1]) == {-1}
    assert (store.lesion.any(axis=(1, 2, 3)) == (store.label == 1)).all()
    assert store.image.shape[1:] == (4, *SPEC.size) and store.image.dtype == np.uint8
    assert list(store.cases) == ["a", "b"] and all(len(digest) == 64 for digest in store.cases["a"])


def test_lesion_share_lies_on_the_lesion(tmp_path: Path) -> None:
    matrix = phantoms.affine("PIR", (1.0, 1.0, 1.0))
    image = phantoms.write(tmp_path / "x_flair.nii.gz", phantoms.brain(SHAPE), matrix)
    mask = phantoms.write(tmp_path / "x_seg.nii.gz", phantoms.lesion(SHAPE), matrix)
    case = Case("x", {Contrast.FLAIR: image}, lesion=mask)
    slices, share = load_case(case, SPEC)
    assert share is not None
    back = slices.to_volume(share).data > 0.5
    truth = load(mask, labels=True).data > 0
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.85
