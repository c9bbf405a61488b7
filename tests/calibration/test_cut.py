"""Healthy people bound the threshold, what that costs is told, and lesions can be counted instead of voxels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidences import evidence, healthy

from braincli.calibration.aims import DSC, LESION_F1
from braincli.calibration.cut import aimed, bounded, mean_healthy_ml
from braincli.calibration.evidence import Evidence
from braincli.calibration.fit import Recipe, calibrate, case_dsc, cross_calibrate, crossed
from braincli.imaging.cases import Contrast
from braincli.model.info import Calibration


def test_who_marks_little_in_the_healthy_is_left_alone() -> None:
    cases, well = [evidence("a"), evidence("b", 1)], [healthy("h1", 0.12)]
    fit = calibrate(cases)
    kept = bounded(fit, cases, DSC, well, 2.0)
    assert (kept.threshold, kept.min_lesion_mm3, kept.weights) == (fit.threshold, fit.min_lesion_mm3, fit.weights)
    bound = kept.provenance.bound
    assert bound is not None and bound.mean_ml == 0 and bound.dsc_without is None and set(bound.images) == {"h1"}


def test_the_threshold_rises_until_the_healthy_mean_is_within_the_limit() -> None:
    cases, well = [evidence("a"), evidence("b", 1)], [healthy("h1", 0.45), healthy("h2", 0.1)]
    free = Recipe().fit(cases)
    assert mean_healthy_ml(well, free) > 0.3, "else there is nothing to bound"
    fit = Recipe(DSC, tuple(well), 0.05).fit(cases)
    bound = fit.provenance.bound
    assert bound is not None
    assert fit.threshold > free.threshold == bound.threshold_without
    assert bound.mean_ml == pytest.approx(mean_healthy_ml(well, fit), abs=1e-3) and bound.mean_ml <= 0.05
    assert fit.weights == free.weights
    reached = float(np.mean([case_dsc(e, fit) for e in cases]))
    assert fit.provenance.dsc_fitted == pytest.approx(reached, abs=1e-4)
    assert bound.dsc_without == free.provenance.dsc_fitted and fit.provenance.dsc_fitted > 0.5


def test_nothing_is_marked_where_no_threshold_serves_both() -> None:
    cases, well = [evidence("a")], [healthy("h", 0.9)]
    fit = Recipe(DSC, tuple(well), 0.0).fit(cases)
    assert mean_healthy_ml(well, fit) == 0 and fit.provenance.dsc_fitted == 0


def test_each_half_is_bounded_by_half_of_the_healthy() -> None:
    cases = [evidence(name, seed) for seed, name in enumerate("abcd")]
    well = tuple(healthy(f"h{number}", 0.45 if number % 2 else 0.1) for number in range(4))
    recipe = Recipe(DSC, well, 0.1)
    fits = cross_calibrate(cases, recipe)
    assert set(fits["c"].provenance.cases) == {"a", "b"} and fits["c"] == fits["d"]
    assert set(fits["c"].provenance.bound.images) == {"h0", "h2"}
    assert set(fits["a"].provenance.bound.images) == {"h1", "h3"}
    facts = crossed(cases, recipe, recipe.fit(cases), cross_calibrate(cases, recipe))
    quiet, loud = mean_healthy_ml(well[::2], fits["a"]), mean_healthy_ml(well[1::2], fits["c"])
    assert loud > 0.5 and quiet == 0, "the quiet half bounds nothing, and the loud one is reported with its values"
    assert facts["bound"].mean_ml_cross_fit == pytest.approx((quiet + loud) / 2, abs=1e-3)
    assert set(facts["cross_fit"]) == set("abcd") and facts["dsc_cross_fit"] > 0.5


def test_lesions_are_counted_where_that_is_the_aim() -> None:
    """A small bright lesion and a large faint one: voxels want the large one whole, specks and all."""
    e = evidence("a")
    rng = np.random.default_rng(0)
    maps = np.zeros_like(e.maps)
    inside = e.slices.brain[:, 0]
    specks = (rng.random(e.lesion.shape) < 0.01) & ~e.lesion
    maps[3] = np.where(e.lesion, 0.4, np.where(specks, 0.38, 0.1)) * inside
    noisy = replace(e, maps=maps, curves={})
    start = Calibration(weights={Contrast.FLAIR: 1.0}, threshold=0.2)
    fit = aimed(start, [noisy], LESION_F1)
    figures = [LESION_F1.figure(noisy, noisy.mask(c), (0.0,))[0] for c in (start, fit)]
    assert figures[0] < 0.3 and figures[1] == 1.0
    assert fit.provenance.objective == "mean lesion-wise F1"
    stored = Recipe(LESION_F1).fit([noisy]).provenance
    assert stored.lesion_f1_fitted == 1.0 and stored.dsc_fitted is not None


def faint(case_id: str, seed: int, strength: float) -> Evidence:
    """A lesion that shows ``strength``, and tissue whose residuals grow with it, as a scanner's contrast would."""
    e = evidence(case_id, seed)
    inside = e.slices.brain[:, 0]
    rng = np.random.default_rng(seed)
    soft = e.lesion * 0.75 + 0.25 * (rng.random(e.lesion.shape) < 0.3)  # much of the tissue shows a third of it
    return replace(e, maps=np.stack([np.zeros_like(inside, np.float32)] * 3 + [strength * soft * inside]), curves={})


def test_a_threshold_that_rises_serves_faint_and_strong_lesions_alike() -> None:
    cases = [faint("a", 0, 0.2), faint("b", 1, 0.9), faint("c", 2, 0.25), faint("d", 3, 0.8)]
    still, rising = (Recipe(rising=rising).fit(cases) for rising in (False, True))
    assert still.rises_from is None and rising.rises_from is not None
    assert min(e.rise(rising) for e in cases) == pytest.approx(1.0, abs=1e-5), "from the faintest on"
    assert max(e.rise(rising) for e in cases) == pytest.approx((0.9 / 0.2) ** 0.5, rel=0.05)
    assert rising.provenance.dsc_fitted > still.provenance.dsc_fitted + 0.02


def test_where_all_cases_are_strong_the_threshold_falls_for_fainter_ones() -> None:
    known, strongest = Recipe(rising=True), 0.9
    strong = known.fit([faint("b", 1, strongest), faint("d", 3, 0.8)])
    mixed = known.fit([faint("a", 0, 0.1), faint("b", 1, strongest)])
    assert mixed.rises_from == pytest.approx(mixed.weights[Contrast.FLAIR] * 0.1, rel=0.05), "from the faintest on"
    level = strong.weights[Contrast.FLAIR] * strongest
    assert strong.rises_from == pytest.approx(level / 4, rel=0.05), "from a quarter of the strongest"
    unseen = faint("u", 5, 0.3)
    from_the_faintest = level * 0.8 / strongest  # as it would be if the threshold fell no further
    steady = strong.threshold * (from_the_faintest / strong.rises_from) ** 0.5
    held = strong.model_copy(update={"threshold": steady, "rises_from": from_the_faintest})
    assert case_dsc(unseen, strong) > case_dsc(unseen, held) + 0.1


def test_the_search_with_rising_thresholds_counts_what_segmentation_counts() -> None:
    cases = [faint("a", 0, 0.2), faint("b", 1, 0.9)]
    fit = calibrate(cases, rising=True)
    for e in cases:
        fused = e.fused(fit.weights)
        mask = (fused > fit.threshold * e.rise(fit)) & e.slices.brain[:, 0]
        canvas = 2 * (mask & e.lesion).sum() / (mask.sum() + e.lesion.sum())
        best = e.dsc(np.array([[0, 0, 0, 1]], np.float32), float(fused.max())).max()
        assert canvas > best - 0.1


def test_where_a_map_is_empty_nothing_rises() -> None:
    blank = replace(evidence("b", 1), maps=np.zeros_like(evidence("b", 1).maps), curves={})
    fit = calibrate([evidence("a"), blank], rising=True)
    assert fit.rises_from is None and fit.threshold > 0
