"""Residuals -> map -> mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from braincli.detection.maps import LEVEL, anomaly_map, channels, core, fuse, level, renormalise, rise, segment, smooth
from braincli.detection.restore import Restoration
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.slices import from_volumes
from braincli.imaging.volume import Volume
from braincli.spec import MapOptions, SliceSpec

SPACING = (3.0, 2.0, 2.0)


def test_smoothing_keeps_a_constant_and_erodes_the_rim() -> None:
    brain = np.zeros((6, 1, 30, 30), bool)
    brain[:, :, 5:25, 5:25] = True
    residual = np.repeat(0.3 * brain.astype(np.float32), 2, axis=1)
    residual[:, 1] = 0
    maps = smooth(residual, brain, SPACING, MapOptions(smooth_mm=3.0, erode_mm=3.0))
    assert maps.shape == (2, 6, 30, 30)
    kept = maps[0] > 0
    np.testing.assert_allclose(maps[0][kept], 0.3, rtol=1e-4)
    assert not maps[1].any()
    assert kept[0, 10, 10] and kept[-1, 10, 10], "the first and last slices are cut planes, not edges"
    assert not kept[3, 5, 15] and kept[3, 7, 15]


def test_residuals_are_weighed_by_suspicion() -> None:
    grid = Volume(np.ones((8, 8, 4), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    slices = from_volumes(
        {Contrast.FLAIR: grid.with_data(np.random.default_rng(0).random((8, 8, 4)).astype(np.float32) + 1)},
        SliceSpec(size=(16, 16), min_brain_mm2=1.0),
        brain=grid,
    )
    change = np.where(slices.brain, np.float32(0.2), np.float32(0))
    made = Restoration(slices, slices.image - change, None, "cpu")
    plain = channels(made, MapOptions())
    suspicion = np.where(np.arange(16) < 8, np.float32(1), np.float32(0.25)) * slices.brain
    weighed = channels(replace(made, suspicion=suspicion), MapOptions())
    np.testing.assert_allclose(weighed, plain * suspicion[:, 0], rtol=1e-6)
    assert plain.any()


def test_weights_are_renormalised_over_what_is_there() -> None:
    weights = {Contrast.T1: 0.07, Contrast.T1CE: 0.19, Contrast.T2: 0.30, Contrast.FLAIR: 0.44}
    some = renormalise(weights, [Contrast.T2, Contrast.FLAIR])
    assert some == pytest.approx({Contrast.T2: 0.30 / 0.74, Contrast.FLAIR: 0.44 / 0.74})
    assert renormalise({Contrast.FLAIR: 1.0}, [Contrast.T1, Contrast.T2]) == {Contrast.T1: 0.5, Contrast.T2: 0.5}


def test_fusion_is_the_weighted_sum() -> None:
    maps = np.arange(4 * 2 * 3 * 3, dtype=np.float32).reshape(4, 2, 3, 3)
    weights = dict(zip(CONTRASTS, (0.1, 0.2, 0.3, 0.4), strict=True))
    expected = 0.1 * maps[0] + 0.2 * maps[1] + 0.3 * maps[2] + 0.4 * maps[3]
    np.testing.assert_allclose(fuse(maps, weights), expected, rtol=1e-5)


def test_small_components_are_dropped_by_volume() -> None:
    anomaly = np.zeros((20, 20, 20), np.float32)
    anomaly[2:4, 2:4, 2:4] = 1  # 8 voxels
    anomaly[10:15, 10:15, 10:15] = 1  # 125 voxels
    anomaly[15, 15, 15] = 1  # touches the large one by a corner
    assert segment(anomaly, 0.5, 2.0, 0.0).sum() == 134
    assert segment(anomaly, 0.5, 2.0, 17.0).sum() == 126
    assert segment(anomaly, 0.5, 2.0, 16.0).sum() == 134
    assert not segment(anomaly, 1.0, 2.0, 0.0).any(), "above the threshold, not at it"
    assert not segment(np.zeros((4, 4, 4), np.float32), 0.1, 1.0, 10.0).any()


def test_where_a_contrast_shows_nothing_the_others_have_its_weight() -> None:
    maps = np.stack([np.full((2, 3, 3), value, np.float32) for value in (0.1, 0.2, 0.3, 0.4)])
    weights = dict(zip(CONTRASTS, (0.1, 0.2, 0.2, 0.5), strict=True))
    counts = np.ones(maps.shape, bool)
    counts[3, 0] = False
    maps[3, 0] = 0
    counts[:, 1, 0] = [[True], [False], [False], [False]]  # T1 alone: next to no weight
    fused = fuse(maps, weights, counts)
    np.testing.assert_allclose(fused[0], (0.01 + 0.04 + 0.06) / 0.5, rtol=1e-5)
    assert not fused[1, 0].any()
    assert np.array_equal(fused[1, 1:], fuse(maps, weights)[1, 1:]), "to the bit where everything counts"


@pytest.mark.parametrize("spacing", [(1.0, 2.0, 2.0), (5.0, 0.9, 0.9), (1.2, 1.2, 1.2)])
@pytest.mark.parametrize("rim", [0.5, 2.0, 3.6, 12.0])
def test_the_rim_is_that_of_the_distance_transform(spacing: tuple[float, float, float], rim: float) -> None:
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    inside = gaussian_filter(np.random.default_rng(0).normal(size=(9, 30, 24)), 3) > -0.1
    expected = distance_transform_edt(inside, sampling=spacing) > rim
    assert np.array_equal(core(inside, spacing, MapOptions(erode_mm=rim)), expected)


def test_the_threshold_rises_with_the_root_of_the_case_s_own_level_and_never_falls() -> None:
    brain = np.zeros((4, 20, 20), bool)
    brain[:, 2:18, 2:18] = True
    fused = np.where(brain, 0.1, 9.0).astype(np.float32)  # what lies outside does not count
    fused[0, 2:5, 2:18] = 0.8  # 5 % of the brain
    assert rise(fused, brain, None) == 1.0
    assert rise(fused, brain, 0.2) == pytest.approx(2.0)
    assert rise(fused, brain, 0.8) == pytest.approx(1.0)
    assert rise(fused, brain, 3.2) == 1.0
    assert rise(np.zeros_like(fused), brain, 0.2) == 1.0


def test_the_level_is_a_value_of_the_map() -> None:
    values = np.random.default_rng(0).random((3, 1001)).astype(np.float32)
    np.testing.assert_array_equal(level(values), np.percentile(values, LEVEL, axis=1, method="lower"))


def test_without_weights_suspicion_alone_is_the_map() -> None:
    grid = Volume(np.ones((20, 20, 9), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    slices = from_volumes(
        {c: grid.with_data(np.random.default_rng(0).random((20, 20, 9)).astype(np.float32) + 1) for c in CONTRASTS},
        SliceSpec(size=(24, 24), min_brain_mm2=1.0),
        brain=grid,
    )
    suspicion = np.full(slices.brain.shape, 0.1, np.float32)
    suspicion[4, 0, 12, 12] = 0.99
    made = Restoration(slices, slices.image * 0.5, None, "cpu", suspicion=suspicion * slices.brain)
    options = MapOptions(smooth_mm=2.0, erode_mm=2.0)
    found = anomaly_map(made, options, {})
    assert (
        found.shape == slices.brain[:, 0].shape and not found[~core(slices.brain[:, 0], slices.spacing, options)].any()
    )
    assert found[4, 12, 12] > found[6, 12, 12] > found[4, 12, 14] > 0.1, "further through the plane than in it"
    assert found[4, 6, 6] == pytest.approx(0.1, abs=1e-3)
    weights = {Contrast.FLAIR: 1.0}
    np.testing.assert_array_equal(anomaly_map(made, options, weights), fuse(channels(made, options), weights))
    plain = replace(made, suspicion=None)
    equal = dict.fromkeys(CONTRASTS, 0.25)
    np.testing.assert_array_equal(anomaly_map(plain, options, {}), fuse(channels(plain, options), equal))
