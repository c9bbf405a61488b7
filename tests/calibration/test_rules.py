"""The papers' rules for weights and thresholds give what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidences import evidence

from braincli.calibration import fit as calibration
from braincli.calibration import rules
from braincli.calibration.run import refuse
from braincli.config import CalibrateConfig
from braincli.errors import UsageError
from braincli.imaging.cases import Contrast


def test_equal_weights_are_those_of_the_contrasts_that_are_there() -> None:
    assert rules.weights_by("equal", [evidence("a")], 0.5) == {
        Contrast.T1: 0.5, Contrast.T1CE: 0.0, Contrast.T2: 0.0, Contrast.FLAIR: 0.5,
    }  # fmt: skip


def test_case_means_are_the_mean_of_each_cases_best() -> None:
    """In one case FLAIR shows the lesion, in the other T1 does."""
    first = evidence("a")
    maps = first.maps.copy()
    maps[[0, 3]] = maps[[3, 0]]
    second = replace(first, maps=maps, curves={})
    one, other = (rules.weights_by("case-mean", [e], 1.0) for e in (first, second))
    assert one[Contrast.FLAIR] > one[Contrast.T1] and other[Contrast.T1] > other[Contrast.FLAIR]
    both = rules.weights_by("case-mean", [first, second], 1.0)
    assert both[Contrast.T1] == pytest.approx((one[Contrast.T1] + other[Contrast.T1]) / 2)
    assert sum(both.values()) == pytest.approx(1)


def test_otsu_parts_the_two_values_of_the_map_and_is_averaged() -> None:
    flair = {c: float(c is Contrast.FLAIR) for c in Contrast}
    one = evidence("a")
    brighter = replace(one, maps=one.maps * 2, curves={})
    first, second = (rules.otsu([e], flair) for e in (one, brighter))
    assert 0.1 <= first < 0.4 and second == pytest.approx(2 * first, abs=0.01)
    assert rules.otsu([one, brighter], flair) == pytest.approx((first + second) / 2)
    assert rules.otsu([replace(one, maps=0 * one.maps)], flair) == 0.0


@pytest.mark.parametrize("objective", ["dsc", "otsu"])
def test_a_calibration_by_rule_says_so(objective: str) -> None:
    cases = [evidence("a"), evidence("b", 1)]
    config = CalibrateConfig(objective=objective, fusion="equal")  # type: ignore[arg-type]
    fitted = calibration.Recipe().fit(cases)
    ruled = rules.by_rule(cases, fitted, config)
    assert ruled.weights[Contrast.T1] == ruled.weights[Contrast.FLAIR] == 0.5
    assert ruled.provenance.objective == ("Otsu" if objective == "otsu" else "mean DSC") + ", weights equal"
    assert ruled.provenance.cases == fitted.provenance.cases
    assert ruled.provenance.dsc_fitted == pytest.approx(
        np.mean([calibration.case_dsc(e, ruled) for e in cases]), abs=1e-4
    )
    assert (ruled.provenance.dsc_fitted or 0) < (fitted.provenance.dsc_fitted or 0), "noise with half of the weight"


def test_cross_fitting_is_of_fitted_weights() -> None:
    with pytest.raises(UsageError, match="Cross-fitting fits weights"):
        refuse([], [], CalibrateConfig(cross_fit=True, fusion="equal"))
