"""Which contrasts decide: those that the model was calibrated for."""

from __future__ import annotations

from typing import Any

import pytest

from braincli.config import DetectConfig
from braincli.detection.contrasts import choose
from braincli.errors import InputError, ModelError
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.model.info import Calibration, ModelInfo, Provenance
from braincli.spec import MapOptions

T1, T1CE, T2, FLAIR = CONTRASTS
FULL = Calibration(weights={T1: 0.0, T1CE: 0.1, T2: 0.2, FLAIR: 0.7}, threshold=0.3, min_lesion_mm3=2000)
ALONE = Calibration(weights={FLAIR: 1.0}, threshold=0.35)


def calibrated(weights: dict[Contrast, float] | None = None, **facts: Any) -> Calibration:
    return Calibration(weights=weights or {}, threshold=0.1, provenance=Provenance(**facts))


def info(**subsets: Calibration) -> ModelInfo:
    named = {name.replace("_", "+"): calibration for name, calibration in subsets.items()}
    return ModelInfo(name="m", method="svae", preset="tiny", calibration=FULL, subsets=named)


def test_a_contrast_without_weight_changes_nothing() -> None:
    model = info(flair=ALONE)
    both, alone = (choose(model, contrasts, DetectConfig()) for contrasts in ((T1, FLAIR), (FLAIR,)))
    assert both.contrasts == alone.contrasts == (FLAIR,) and both.weights == alone.weights == {FLAIR: 1.0}
    assert both.threshold == alone.threshold == 0.35
    assert "not looked at: T1" in both.warnings[1] and len(alone.warnings) == 1


def test_all_contrasts_have_the_models_own_values_without_a_word() -> None:
    choice = choose(info(flair=ALONE), CONTRASTS, DetectConfig())
    assert choice.contrasts == CONTRASTS and choice.weights == FULL.weights and choice.warnings == []
    assert (choice.threshold, choice.min_lesion_mm3) == (0.3, 2000)


def test_a_set_without_weights_is_judged_by_suspicion_alone() -> None:
    choice = choose(info(flair=ALONE, t2=calibrated(dsc_fitted=0.6)), (T2,), DetectConfig())
    assert choice.contrasts == (T2,) and choice.weights == {} and choice.threshold == 0.1


def test_the_set_that_keeps_most_weight_is_used() -> None:
    model = info(flair=ALONE, t1_t2=calibrated(), t2_flair=calibrated(), t1_flair=calibrated())
    assert choose(model, (T1, T2, FLAIR), DetectConfig()).contrasts == (T2, FLAIR)
    assert choose(model, (T1, FLAIR), DetectConfig()).contrasts == (T1, FLAIR), "of equals the one with more contrasts"
    assert choose(model, (T1, T2), DetectConfig()).contrasts == (T1, T2)


@pytest.mark.parametrize("subsets", [{}, {"t1": calibrated({T1: 1.0}, dsc_fitted=0.5, dsc_cross_fit=0.16)}])
def test_what_was_not_calibrated_or_in_vain_is_refused(subsets: dict[str, Calibration]) -> None:
    model = info(flair=ALONE, **subsets)
    with pytest.raises(InputError, match="not calibrated for scans with T1 alone") as error:
        choose(model, (T1,), DetectConfig())
    assert ("DSC of 0.16" in error.value.message) == bool(subsets)
    assert "t1+t1ce+t2+flair, flair" in error.value.hint and "--uncalibrated" in error.value.hint
    for options in ({"uncalibrated": True}, {"threshold": 0.2}):
        choice = choose(model, (T1,), DetectConfig(**options))
        assert choice.contrasts == (T1,) and choice.weights == {T1: 1.0} and "calibrated for t1" in choice.warnings[0]
        assert choice.threshold == options.get("threshold", 0.1 if subsets else 0.3)


def test_a_good_calibration_of_a_part_counts() -> None:
    for facts in ({"dsc_cross_fit": 0.35, "dsc_fitted": 0.2}, {"dsc_fitted": 0.3}, {}):
        assert choose(info(t2=calibrated(**facts)), (T2,), DetectConfig()).contrasts == (T2,)


def test_a_model_calibrated_on_fewer_contrasts_reads_those() -> None:
    own = calibrated(contrasts=[T1, FLAIR], dsc_fitted=0.2)
    model = ModelInfo(name="m", method="tsgm", preset="tiny", calibration=own)
    assert choose(model, (T1, T2, FLAIR), DetectConfig()).contrasts == (T1, FLAIR)
    with pytest.raises(InputError, match="FLAIR alone"):
        choose(model, (FLAIR,), DetectConfig())


def test_without_any_calibration_the_user_gives_the_threshold() -> None:
    bare = ModelInfo(name="m", method="tsgm", preset="tiny", map=MapOptions(weights=(0.07, 0.19, 0.30, 0.44)))
    for options in ({}, {"uncalibrated": True}):
        with pytest.raises(ModelError, match="not calibrated: it has no threshold"):
            choose(bare, (FLAIR,), DetectConfig(**options))
    choice = choose(bare, (T2, FLAIR), DetectConfig(threshold=0.2))
    assert choice.threshold == 0.2 and choice.weights[FLAIR] == pytest.approx(0.44 / 0.74)
    even = choose(
        ModelInfo(name="m", method="tsgm", preset="tiny", map=MapOptions()), (T2, FLAIR), DetectConfig(threshold=0.2)
    )
    assert even.weights == {T2: 0.5, FLAIR: 0.5}, "TSGM's weights are TSGM's alone"


def test_contrast_sets_are_known_by_name() -> None:
    assert list(info(t1_flair=calibrated()).calibrated()) == [CONTRASTS, (T1, Contrast.FLAIR)]
