"""Brain and skull: what is foreground, and which scans still show the head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import phantoms
import pytest
from scipy import ndimage

from braincli.imaging.brain import (
    HEAD_ML,
    NOISE_SHARE,
    SHELL_SHARE,
    _fill_slices,
    background_value,
    fill_holes,
    foreground,
    foregrounds,
    has_skull,
    shows_skull,
    skull_evidence,
)
from braincli.imaging.cases import Contrast
from braincli.imaging.volume import Volume, load

SHAPE = (60, 70, 50)


def ball(radius: float) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    return (grid**2).sum(0) < radius**2


def scan(data: np.ndarray) -> Volume:
    """On a grid of 4 mm: 240 x 280 x 200 mm."""
    return Volume(data.astype(np.float32), phantoms.affine(spacing=(4, 4, 4)))


def head() -> np.ndarray:
    """Brain, dark bone, bright scalp; no air."""
    rng = np.random.default_rng(0)
    return np.where(ball(0.6), rng.normal(100, 5, SHAPE), np.where(ball(0.66), 8, np.where(ball(0.8), 160, 0)))


def test_foreground_is_what_differs_from_the_background_with_holes_filled() -> None:
    data = np.where(ball(0.6), 50.0, 0.0)
    data[30, 35, 25] = 0  # a hole
    data[2, 2, 2] = 9  # an island
    assert np.array_equal(foreground(scan(data)), ball(0.6))


def test_foregrounds_are_each_scans_own_and_one_array_where_the_mask_was_one() -> None:
    first = scan(np.where(ball(0.6), 50.0, 0.0))
    same, other = scan(np.where(ball(0.6), 7.0, 1.0)), scan(np.where(ball(0.5), 7.0, 1.0))
    for threads in (1, 3):
        found = foregrounds([first, other, same], threads)
        assert found[0] is found[2] and np.array_equal(found[0], ball(0.6)) and np.array_equal(found[1], ball(0.5))


def test_holes_of_slices_are_filled_as_scipy_fills_them_axis_by_axis() -> None:
    rng = np.random.default_rng(0)
    for size in ((1, 4, 5), (9, 1, 7), (12, 11, 10), (20, 20, 20)):
        mask = wanted = rng.random(size) < 0.55
        for axis in range(3):
            in_plane = np.zeros((3, 3, 3), dtype=bool)
            in_plane[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
            wanted = wanted | ndimage.binary_fill_holes(wanted, np.moveaxis(in_plane, 0, axis))
        assert np.array_equal(_fill_slices(mask), wanted)
    assert wanted.sum() > mask.sum()


def test_foreground_of_a_z_scored_scan_keeps_negative_brain_values() -> None:
    data = np.where(ball(0.6), np.random.default_rng(0).normal(0, 1, SHAPE), -3.6)
    assert np.isclose(background_value(scan(data).data), -3.6)
    assert np.array_equal(foreground(scan(data)), ball(0.6))


def zscored(stripped: np.ndarray) -> np.ndarray:
    """What nnU-Net, MONAI (``nonzero``) and many scripts make: mean 0 inside the brain, and the background stays 0."""
    inside = stripped != 0
    return np.where(inside, (stripped - stripped[inside].mean()) / stripped[inside].std(), 0)


def tissues() -> np.ndarray:
    """A brain of white matter, grey matter, fluid and a rim of half voxels, in a background of 0."""
    rng = np.random.default_rng(0)
    data = np.where(ball(0.45), rng.normal(110, 8, SHAPE), np.where(ball(0.57), rng.normal(80, 8, SHAPE), 0))
    data = np.where(ball(0.2), rng.normal(25, 5, SHAPE), data)
    return np.where(ball(0.6) & ~ball(0.57), rng.normal(45, 8, SHAPE), data)


def test_a_brain_that_was_z_scored_in_a_background_of_0_is_a_whole_brain_and_no_head() -> None:
    plain, scored = scan(tissues()), scan(zscored(tissues()))
    assert not has_skull(plain) and not has_skull(scored)
    assert np.isclose(skull_evidence(scored).object_ml, skull_evidence(plain).object_ml, rtol=0.02)
    assert np.array_equal(foreground(scored), foreground(plain)) and np.array_equal(foreground(plain), ball(0.6))
    ringing = np.random.default_rng(1).normal(0, 0.01, SHAPE)
    resampled = foreground(scan(zscored(tissues()) + ringing * (np.random.default_rng(2).random(SHAPE) < 0.9)))
    assert resampled.sum() < 1.1 * ball(0.6).sum()  # tiny values all over the background are no brain here either


def test_a_head_that_was_z_scored_is_a_head() -> None:
    whole = head() + np.random.default_rng(3).normal(0, 1, SHAPE).round()
    assert has_skull(scan((whole - whole.mean()) / whole.std())) and has_skull(scan(zscored(whole)))


def test_foreground_of_a_cropped_brain_reaches_the_border() -> None:
    data = np.where(ball(0.6), head(), 0)[15:-15, 15:-15, 12:-12]
    assert np.array_equal(foreground(scan(data)), ball(0.6)[15:-15, 15:-15, 12:-12])


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_constant_scan_has_no_foreground_and_no_skull(value: float) -> None:
    assert not foreground(scan(np.full(SHAPE, value))).any()
    assert not has_skull(scan(np.full(SHAPE, value)))


def test_stripped_brain_with_islands_and_holes_has_no_skull() -> None:
    data = np.where(ball(0.6), head(), 0)
    data[2, 2, :3] = 50
    assert not has_skull(scan(data)) and not has_skull(scan(data / 100 - 3))


def test_head_is_told_by_its_size_where_the_air_is_zero() -> None:
    evidence = skull_evidence(scan(head()))
    assert evidence.air_noise == 0 and evidence.object_ml > HEAD_ML and has_skull(scan(head()))


def test_small_object_is_told_by_its_noisy_air() -> None:
    noise = np.abs(np.random.default_rng(1).normal(0, 3, SHAPE))
    slab = scan(np.where(ball(0.5), head(), noise))
    evidence = skull_evidence(slab)
    assert evidence.object_ml < HEAD_ML and evidence.air_noise > NOISE_SHARE and has_skull(slab)


def test_evidence_does_not_depend_on_axes_or_intensity_scale() -> None:
    turned = Volume(head().transpose(2, 0, 1)[::-1].astype(np.float32) * 1e-3, phantoms.affine(spacing=(4, 4, 4)))
    assert np.allclose(skull_evidence(turned), skull_evidence(scan(head())), rtol=0.05)


def test_a_small_head_without_air_is_told_by_its_scalp_over_bone() -> None:
    small = Volume(scan(head()).data, phantoms.affine(spacing=(2.8, 2.8, 2.8)))
    evidence = skull_evidence(small)
    assert evidence.object_ml < HEAD_ML and evidence.air_noise == 0
    assert evidence.shell > 0.9 and has_skull(small)
    brain = Volume(np.where(ball(0.6), head(), 0).astype(np.float32), small.affine)
    assert skull_evidence(brain).shell < 0.05 and not has_skull(brain)


def test_the_case_decides_and_not_its_worst_contrast() -> None:
    clean = scan(np.where(ball(0.6), head(), 0))
    rng = np.random.default_rng(2)
    noisy = clean.with_data(clean.data + np.where(~ball(0.6) & (rng.random(SHAPE) < 0.01), 20, 0).astype(np.float32))
    assert has_skull(noisy)
    verdict = shows_skull({Contrast.T1: noisy, Contrast.FLAIR: clean})
    assert not verdict.skull and "noise in the air" in str(verdict)
    assert shows_skull({Contrast.T1: noisy}).skull and shows_skull({Contrast.T1: noisy, Contrast.T2: noisy}).skull
    assert shows_skull({Contrast.T1: scan(head()), Contrast.FLAIR: clean}).skull, "a head is a head"
    assert not shows_skull({Contrast.T1: noisy, Contrast.T2: clean, Contrast.FLAIR: clean}).skull


WITH_SKULL = ("TCGA-FG-6692", "ms-patient04", "isbi-training01", "isbi-training02")


@pytest.mark.parametrize("folder", [*(f"raw/{id}" for id in WITH_SKULL), "raw/nfbs-A00028185", "ms/patient19",
                                    "partial/brats_2013_pat0001_1", "tumour/val/Brats18_2013_2_1",
                                    "tumour/unlabelled/BraTS-GLI-00001-000"])  # fmt: skip
def test_real_scans_on_the_right_side_with_a_margin(folder: str, shared_data: Path) -> None:
    """The NFBS scan lies under raw/, but its skull has been removed."""
    paths = sorted(path for path in (shared_data / folder).glob("*.nii.gz") if "_seg" not in path.name)
    assert paths
    for path in paths:
        evidence = skull_evidence(load(path))
        if any(id in folder for id in WITH_SKULL):
            assert evidence.object_ml > 1.2 * HEAD_ML and evidence.air_noise > 3 * NOISE_SHARE
            assert evidence.shell > 1.3 * SHELL_SHARE
        else:
            assert evidence.object_ml < HEAD_ML / 1.2 and evidence.air_noise < NOISE_SHARE / 20
            assert evidence.shell < SHELL_SHARE


@pytest.mark.parametrize("order", ["C", "F"])
def test_holes_are_filled_as_scipy_fills_them(order: str) -> None:
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(20, 25, 15)), 1.5)
    mask = np.asarray(np.abs(noise) > 0.03, order=order)  # type: ignore[call-overload]
    filled = fill_holes(mask)
    assert np.array_equal(filled, ndimage.binary_fill_holes(mask))
    assert filled.sum() > mask.sum()


def test_scans_stripped_with_one_mask_have_one_foreground_and_others_their_own() -> None:
    first, second, other = (np.zeros((20, 20, 20), np.float32) for _ in range(3))
    first[4:16, 4:16, 4:16], second[4:16, 4:16, 4:16], other[4:16, 4:16, 4:12] = 5, 7, 9
    volumes = [Volume(data, np.eye(4)) for data in (first, second, other)]
    assert [int(mask.sum()) for mask in foregrounds(volumes)] == [12**3, 12**3, 12 * 12 * 8]
    assert all(np.array_equal(mask, foreground(v)) for mask, v in zip(foregrounds(volumes), volumes, strict=True))
