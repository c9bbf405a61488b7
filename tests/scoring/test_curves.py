"""AUPRC, AUROC and best-possible DSC against brute force and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from braincli.errors import InputError
from braincli.scoring import curves


def scores(seed: int, *, ties: bool, size: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    ref = generator.random(size) < 0.2
    score = (generator.normal(size=size) + ref).astype(np.float32)
    return (np.round(score * 2) / 2 if ties else score), ref


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_areas_match_scikit_learn(seed: int, ties: bool) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    score, ref = scores(seed, ties=ties)
    found = curves.curve(score=score, ref=ref)
    assert found.auprc() == pytest.approx(sklearn.average_precision_score(ref, score), abs=1e-12)
    assert found.auroc() == pytest.approx(sklearn.roc_auc_score(ref, score), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_best_dice_is_the_best_over_all_thresholds(ties: bool) -> None:
    score, ref = scores(4, ties=ties)
    tried = {
        float(cut): 2 * np.sum(ref & (score >= cut)) / (np.sum(score >= cut) + np.sum(ref)) for cut in np.unique(score)
    }
    best = curves.curve(score=score, ref=ref).best_dice()
    assert best is not None
    assert best[0] == pytest.approx(max(tried.values()))
    assert tried[best[1]] == best[0]  # the threshold reaches it


def test_areas_depend_on_ranks_only() -> None:
    score, ref = scores(5, ties=True)
    plain, warped = (curves.curve(score=each, ref=ref) for each in (score, np.exp(3 * score)))
    assert (plain.auprc(), plain.auroc()) == (warped.auprc(), warped.auroc())
    assert plain.auroc() == pytest.approx(1 - (curves.curve(score=-score, ref=ref).auroc() or 0))


def test_domain_leaves_voxels_out() -> None:
    score, ref = scores(6, ties=False)
    domain = np.random.default_rng(0).random(ref.size) < 0.5
    inside = curves.curve(score=score, ref=ref, domain=domain)
    alone = curves.curve(score=score[domain], ref=ref[domain])
    assert (inside.auprc(), inside.auroc()) == (alone.auprc(), alone.auroc())
    assert inside.positives + inside.negatives == np.count_nonzero(domain)


def test_degenerate_maps_and_references() -> None:
    score, ref = scores(7, ties=False)
    nothing = curves.curve(score=score, ref=np.zeros_like(ref))
    assert (nothing.auprc(), nothing.auroc(), nothing.best_dice()) == (None, None, None)
    everything = curves.curve(score=score, ref=np.ones_like(ref))
    assert (everything.auprc(), everything.auroc()) == (1.0, None)
    flat = curves.curve(score=np.zeros_like(score), ref=ref)
    assert flat.auprc() == pytest.approx(ref.mean())
    assert flat.auroc() == 0.5
    perfect = curves.curve(score=ref.astype(np.float32), ref=ref)
    assert (perfect.auprc(), perfect.auroc(), perfect.best_dice()) == (1.0, 1.0, (1.0, 1.0))


def test_maps_that_cannot_be_ranked_are_refused() -> None:
    score, ref = scores(8, ties=False)
    score[3] = np.nan
    with pytest.raises(InputError, match="NaN"):
        curves.curve(score=score, ref=ref)
    with pytest.raises(InputError, match="shape"):
        curves.curve(score=score[:-1], ref=ref)


def test_pooled_histogram_matches_the_exact_curve() -> None:
    cases = [scores(seed, ties=False, size=3000) for seed in range(3)]
    pool = curves.PooledCurve()
    for score, ref in cases:
        pool.add(score=score, ref=ref)
    score, ref = (np.concatenate(each) for each in zip(*cases, strict=True))
    exact, binned = curves.curve(score=score, ref=ref), pool.curve()
    assert (binned.positives, binned.negatives) == (exact.positives, exact.negatives)
    assert binned.auprc() == pytest.approx(exact.auprc(), abs=2e-3)  # 9000 voxels: a bin is a few of them
    assert binned.auroc() == pytest.approx(exact.auroc(), abs=2e-4)
    ours, theirs = binned.best_dice(), exact.best_dice()
    assert ours and theirs
    assert ours[0] == pytest.approx(theirs[0], abs=1e-3)
    assert ours[1] == pytest.approx(theirs[1], rel=0.05, abs=0.01)


def test_one_threshold_for_all_cases() -> None:
    cases = [scores(seed, ties=True) for seed in range(3)]
    pool = curves.PooledCurve()
    for score, ref in cases:
        pool.add(score=score, ref=ref)
    pool.add(score=cases[0][0], ref=np.zeros_like(cases[0][1]))  # no positives: no DSC to average
    cuts = np.unique(np.concatenate([score for score, _ in cases]))
    means = [np.mean([2 * np.sum(r & (s >= cut)) / (np.sum(s >= cut) + np.sum(r)) for s, r in cases]) for cut in cuts]
    common = pool.best_common_dice()
    assert common is not None
    assert common[0] == pytest.approx(max(means))
    assert curves.PooledCurve().best_common_dice() is None


def test_histogram_keeps_the_order_of_signed_floats() -> None:
    values = np.array([-np.float32(3e38), -1, -1e-30, -0.0, 0.0, 1e-30, 0.5, 2, 3e38], np.float32)
    bins = [int(np.flatnonzero(curves._histogram(value[None]))[0]) for value in values]
    assert bins == sorted(bins)
    assert bins[3] == bins[4]
    edges = curves._edge(np.array(bins))
    assert np.all(edges <= values)
    assert np.allclose(edges, values, rtol=2**-10)


def test_the_common_threshold_of_maps_that_are_0_everywhere_is_0() -> None:
    """Every threshold up to 0 marks all alike: not one that is no number."""
    pool = curves.PooledCurve()
    pool.add(score=np.zeros(50, np.float32), ref=np.arange(50) < 10)
    common = pool.best_common_dice()
    assert common == (pytest.approx(20 / 60), 0.0)
