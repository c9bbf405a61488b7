"""Overlap, distances and lesion counts against brute force and independent libraries."""

from __future__ import annotations

import numpy as np
import pytest

from braincli.errors import InputError
from braincli.scoring import metrics

SPACINGS = [(1.0, 1.0, 1.0), (0.9, 1.1, 5.5)]


def blobs(seed: int, shape: tuple[int, int, int] = (14, 12, 9), level: float = 0.25) -> np.ndarray:
    """Smooth random components, some of which touch the border."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2)
    return noise > np.quantile(noise, 1 - level)


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return blobs(seed), blobs(seed + 1000, level=0.15) | blobs(seed, level=0.1)


def brute_boundary(mask: np.ndarray) -> list[tuple[int, ...]]:
    padded = np.pad(mask, 1)
    steps = [np.eye(3, dtype=int)[axis] * sign for axis in range(3) for sign in (-1, 1)]
    return [tuple(voxel - 1) for voxel in np.argwhere(padded) if not all(padded[tuple(voxel + step)] for step in steps)]


def brute_hd95(pred: np.ndarray, ref: np.ndarray, spacing: tuple[float, ...], pooled: bool = False) -> float:
    a, b = (np.array(brute_boundary(mask)) * spacing for mask in (pred, ref))
    distances = np.linalg.norm(a[:, None] - b[None], axis=2)
    there, back = distances.min(1), distances.min(0)
    if pooled:
        return float(np.percentile(np.r_[there, back], 95))
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


@pytest.mark.parametrize("seed", range(4))
def test_counts_and_overlap_match_a_voxel_loop(seed: int) -> None:
    pred, ref = pair(seed)
    domain = blobs(seed + 5, level=0.6)
    counts = {(p, r): 0 for p in (False, True) for r in (False, True)}
    for p, r, d in zip(pred.flat, ref.flat, domain.flat, strict=True):
        counts[bool(p), bool(r)] += bool(d)
    c = metrics.confusion(pred=pred, ref=ref, domain=domain)
    assert c == (counts[True, True], counts[True, False], counts[False, True], counts[False, False])
    assert metrics.dice(c) == pytest.approx(2 * c.tp / (2 * c.tp + c.fp + c.fn))
    assert metrics.iou(c) == pytest.approx(metrics.dice(c) / (2 - metrics.dice(c)))
    assert metrics.specificity(c) == pytest.approx(c.tn / (c.tn + c.fp))
    assert metrics.volume_error(c) == pytest.approx((c.fp - c.fn) / (c.tp + c.fn))


def test_overlap_matches_scikit_learn_and_simpleitk() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    sitk = pytest.importorskip("SimpleITK")
    pred, ref = pair(1)
    c = metrics.confusion(pred=pred, ref=ref)
    assert metrics.dice(c) == pytest.approx(sklearn.f1_score(ref.ravel(), pred.ravel()), abs=1e-12)
    assert metrics.iou(c) == pytest.approx(sklearn.jaccard_score(ref.ravel(), pred.ravel()), abs=1e-12)
    assert metrics.precision(c) == pytest.approx(sklearn.precision_score(ref.ravel(), pred.ravel()), abs=1e-12)
    assert metrics.recall(c) == pytest.approx(sklearn.recall_score(ref.ravel(), pred.ravel()), abs=1e-12)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (ref, pred)]
    overlap.Execute(*images)
    assert metrics.dice(c) == pytest.approx(overlap.GetDiceCoefficient(), abs=1e-12)
    assert metrics.iou(c) == pytest.approx(overlap.GetJaccardCoefficient(), abs=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_hd95_matches_brute_force(seed: int, spacing: tuple[float, float, float]) -> None:
    pred, ref = pair(seed)
    found = metrics.hd95(pred=pred, ref=ref, spacing=spacing)
    assert found == pytest.approx(brute_hd95(pred, ref, spacing), abs=1e-9)
    pooled = metrics.hd95(pred=pred, ref=ref, spacing=spacing, definition="pooled")
    assert pooled == pytest.approx(brute_hd95(pred, ref, spacing, pooled=True), abs=1e-9)


@pytest.mark.parametrize("per_query", [0, 1000])
def test_tree_and_distance_transform_agree(per_query: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "VOXELS_PER_QUERY", per_query)
    pred, ref = pair(1)
    found = metrics.hd95(pred=pred, ref=ref, spacing=SPACINGS[1])
    assert found == pytest.approx(brute_hd95(pred, ref, SPACINGS[1]), abs=1e-9)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_hd95_matches_monai(spacing: tuple[float, float, float]) -> None:
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    for seed in range(3):
        pred, ref = pair(seed)
        tensors = [torch.from_numpy(mask)[None, None].float() for mask in (pred, ref)]
        theirs = monai.compute_hausdorff_distance(
            *tensors, include_background=True, percentile=95, spacing=list(spacing)
        )
        # MONAI keeps distances in float32
        assert metrics.hd95(pred=pred, ref=ref, spacing=spacing) == pytest.approx(float(theirs), abs=1e-4)


def test_largest_distance_matches_simpleitk() -> None:
    sitk = pytest.importorskip("SimpleITK")
    pred, ref = (
        blobs(2),
        blobs(2) & blobs(7, level=0.5),
    )  # nested: the surface-to-mask distance of ITK is ours
    spacing = (1.0, 1.0, 1.0)
    there, _ = metrics.surface_distances(pred=pred, ref=ref, spacing=spacing)
    measure = sitk.HausdorffDistanceImageFilter()
    measure.Execute(*(sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (pred, ref)))
    outside = there.max()
    assert measure.GetHausdorffDistance() == pytest.approx(outside, abs=1e-6)


def test_hd95_matches_surface_distance_where_it_is_installed() -> None:
    oracle = pytest.importorskip("surface_distance")
    pred, ref = np.zeros((2, 30, 30, 30), bool)
    pred[5:20, 5:20, 5:20] = ref[8:23, 5:20, 5:20] = True
    theirs = oracle.compute_robust_hausdorff(oracle.compute_surface_distances(ref, pred, (1.0, 1.0, 1.0)), 95)
    assert metrics.hd95(pred=pred, ref=ref) == pytest.approx(theirs, abs=1.0)  # it weighs surface elements


def test_figures_do_not_change_with_axes_flips_and_margins() -> None:
    pred, ref = pair(3)
    spacing = SPACINGS[1]
    expected = metrics.hd95(pred=pred, ref=ref, spacing=spacing)
    lesions = metrics.lesions(pred=pred, ref=ref)
    for axes in ((1, 2, 0), (2, 0, 1), (0, 2, 1)):
        turned = [np.flip(mask.transpose(axes), axis=0) for mask in (pred, ref)]
        x, y, z = (spacing[axis] for axis in axes)
        assert metrics.hd95(pred=turned[0], ref=turned[1], spacing=(x, y, z)) == pytest.approx(expected)
        assert metrics.lesions(pred=turned[0], ref=turned[1]) == lesions
    padded = [np.pad(mask, 3) for mask in (pred, ref)]
    assert metrics.hd95(pred=padded[0], ref=padded[1], spacing=spacing) == pytest.approx(expected)
    assert metrics.hd95(pred=ref, ref=pred, spacing=spacing) == pytest.approx(expected)
    assert metrics.hd95(pred=pred, ref=ref, spacing=(1.8, 2.2, 11.0)) == pytest.approx(2 * (expected or 0))


def test_shifted_copies_lie_apart_by_the_shift() -> None:
    ref = np.zeros((20, 20, 20), bool)
    ref[4:9, 4:9, 4:9] = True
    assert metrics.hd95(pred=np.roll(ref, 3, axis=2), ref=ref, spacing=(1.0, 1.0, 2.0)) == pytest.approx(6.0)
    assert metrics.hd95(pred=ref, ref=ref) == 0.0


def test_single_voxels_and_full_masks() -> None:
    one, other, full = np.zeros((3, 5, 6, 7), bool)
    one[0, 0, 0], other[4, 5, 6], full[:] = True, True, True
    assert metrics.hd95(pred=one, ref=other) == pytest.approx(np.sqrt(16 + 25 + 36))
    assert metrics.hd95(pred=full, ref=full) == 0.0
    assert np.count_nonzero(metrics.boundary(full)) == 5 * 6 * 7 - 3 * 4 * 5
    c = metrics.confusion(pred=full, ref=full)
    assert metrics.dice(c) == 1.0
    assert metrics.specificity(c) is None  # no negative voxel


def test_both_empty_is_perfect() -> None:
    nothing = np.zeros((4, 4, 4), bool)
    c = metrics.confusion(pred=nothing, ref=nothing)
    figures = (metrics.dice, metrics.iou, metrics.precision, metrics.recall, metrics.specificity)
    assert [figure(c) for figure in figures] == [1.0] * 5
    assert metrics.volume_error(c) == 0.0
    assert metrics.hd95(pred=nothing, ref=nothing) == 0.0
    found = metrics.lesions(pred=nothing, ref=nothing)
    assert (found.recall, found.precision) == (1.0, 1.0)


def test_one_empty_mask_leaves_figures_undefined() -> None:
    nothing, some = np.zeros((2, 4, 4, 4), bool)
    some[1, 1, 1] = True
    missed = metrics.confusion(pred=nothing, ref=some)
    assert (metrics.dice(missed), metrics.recall(missed), metrics.precision(missed)) == (0.0, 0.0, None)
    assert metrics.volume_error(missed) == -1.0
    false_alarm = metrics.confusion(pred=some, ref=nothing)
    figures = (metrics.dice, metrics.precision, metrics.recall, metrics.volume_error)
    assert [figure(false_alarm) for figure in figures] == [0.0, 0.0, None, None]
    for pred, ref in ((nothing, some), (some, nothing)):
        assert metrics.hd95(pred=pred, ref=ref) is None
    assert metrics.lesions(pred=nothing, ref=some).precision is None
    assert metrics.lesions(pred=nothing, ref=some).recall == 0.0
    assert metrics.lesions(pred=some, ref=nothing).recall is None


@pytest.mark.parametrize(("connectivity", "count"), [(6, 3), (18, 2), (26, 1)])
def test_connectivity_decides_what_one_lesion_is(connectivity: int, count: int) -> None:
    ref = np.zeros((4, 4, 4), bool)
    ref[0, 0, 0] = ref[0, 1, 1] = ref[1, 2, 2] = True  # joined by an edge, then by a corner
    found = metrics.lesions(pred=np.zeros_like(ref), ref=ref, connectivity=connectivity)
    assert found.reference == count


def test_lesions_count_by_touch() -> None:
    ref, pred = np.zeros((2, 12, 5, 5), bool)
    ref[0:2], ref[4:6], ref[9] = True, True, True
    pred[1:5], pred[7] = True, True  # one component bridges two lesions, one is a false alarm
    found = metrics.lesions(pred=pred, ref=ref)
    assert found == (3, 2, 2, 1)
    assert (found.recall, found.precision) == (2 / 3, 1 / 2)


def test_arrays_of_other_shape_are_refused() -> None:
    with pytest.raises(InputError, match="different shapes"):
        metrics.confusion(pred=np.zeros((2, 2, 2), bool), ref=np.zeros((2, 2, 3), bool))
