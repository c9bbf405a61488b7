"""A model knows the cases that had a part in it."""

from __future__ import annotations

import pytest

from braincli.model.info import Calibration, ModelInfo, Normal, Provenance, Training
from braincli.model.seen import met

INFO = ModelInfo(
    name="m", method="unet", preset="tiny",
    training=Training(cases={"a": ["1"]}, validation={"b": ["2"]}),
    normal=Normal(sha256="0" * 64, cases={"n": ["5"]}),
    calibration=Calibration(weights={}, threshold=0.5, provenance=Provenance(cases=["c"], images={"c": ["3"]})),
    subsets={"flair": Calibration(weights={}, threshold=0.5, provenance=Provenance(cases=["d"]))},
)  # fmt: skip


@pytest.mark.parametrize(
    ("case", "images", "words"),
    [
        ("a", [], "trained on"), ("other", ["9", "1"], "trained on"), ("b", [], "chosen by its results on"),
        ("other", ["2"], "chosen by its results on"), ("other", ["3"], "calibrated on"), ("d", [], "calibrated on"),
        ("n", [], "knows what is normal from"), ("other", ["5"], "knows what is normal from"),
    ],
)  # fmt: skip
def test_cases_are_known_by_their_name_or_an_image(case: str, images: list[str], words: str) -> None:
    assert words in met(INFO, case, images)


def test_other_cases_are_not() -> None:
    assert met(INFO, "e", ["9"]) == ""
    assert met(ModelInfo(name="m", method="unet", preset="tiny"), "a", ["1"]) == ""
