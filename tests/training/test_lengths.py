"""Lengths of stages in epochs, and how the learning rate goes."""

from __future__ import annotations

import numpy as np
import pytest
import toymethod

from braincli.methods import registry
from braincli.methods.lengths import Epochs
from braincli.training.lengths import rate, steps_of
from braincli.training.store import SliceStore


def test_epochs_come_to_the_papers_steps() -> None:
    assert Epochs(number=1600, of="cases").steps(18_000, 358, 32) == 17_600  # Behrendt et al. 2023
    assert Epochs(number=600, of="cases").steps(500, 9, 32) == 600, "fewer cases than a batch: a step an epoch"
    assert Epochs(number=50).steps(5_795, 332, 1) == 289_750  # Wang et al. 2023
    assert Epochs(number=2).steps(5, 1, 2) == 5
    assert str(Epochs(number=50)) == "50 epochs of all slices"
    assert str(Epochs(number=600, of="cases")) == "600 epochs of one slice per case"


def cohort() -> SliceStore:
    """40 slices, 30 of them healthy, of five cases; the fifth has diseased slices alone."""
    store = toymethod.store()
    label = np.array([0] * 30 + [1] * 10, np.int8)
    return SliceStore(**{**vars(store), "label": label, "case": np.arange(40, dtype=np.int32) // 8})


def test_an_epoch_goes_through_the_slices_of_its_stage() -> None:
    method = toymethod.fresh(train_steps={"play": {"number": 3}, "clean": {"number": 3, "of": "cases"}})
    assert steps_of(method, "play", cohort(), 4, {}) == 3 * 30 / 2  # balanced: two healthy ones a step
    assert steps_of(method, "clean", cohort(), 2, {}) == 3 * (5 // 2)
    assert steps_of(method, "clean", cohort(), 2, {"clean": 7}) == 7


def test_the_loop_takes_as_many_steps(tmp_path: object) -> None:
    from pathlib import Path

    from braincli.runtime.progress import Reporter
    from braincli.training.log import iterate_metrics
    from braincli.training.loop import LoopOptions, fit

    method = toymethod.fresh(train_steps={"play": 1, "clean": {"number": 1}})
    fit(method, cohort(), Path(str(tmp_path)), LoopOptions(steps={}, batch=8), Reporter())
    steps = {e["stage"]: e["step"] for e in iterate_metrics(Path(str(tmp_path)) / "metrics.jsonl")}
    assert steps == {"play": 1, "clean": 5}


def test_learning_rate_rises_and_falls() -> None:
    assert rate(0, 0.0, 10, "cosine") < 0.11
    assert rate(10, 0.1, 10, "cosine") > 0.9
    assert rate(99, 0.99, 10, "cosine") < 0.03
    assert rate(99, 0.99, 0, "constant") == 1.0
    assert [rate(0, p, 0, "linear") for p in (0, 0.25, 1)] == [1, 0.75, 0]
    assert [rate(0, p, 0, "half-linear") for p in (0, 0.5, 0.75, 1)] == [1, 1, 0.5, 0]
    assert [rate(0, p, 0, "step") for p in (0, 0.79, 0.8, 0.9)] == pytest.approx([1, 1, 0.2, 0.04])


STAGES = {
    "tsgm": ("translate", "restore"), "cyclegan": ("translate",), "dpm-classifier": ("diffusion", "classifier"),
}  # fmt: skip


def test_decays_are_those_of_the_papers() -> None:
    def decays(name: str, preset: str) -> list[str]:
        options = registry.options(name, preset)
        return [options.decay_in(stage) for stage in STAGES.get(name, ("main",))]

    assert decays("tsgm", "paper") == ["half-linear", "constant"]
    assert [registry.options("tsgm", "paper").warmup_in(stage) for stage in ("translate", "restore")] == [0, 5000]
    assert decays("cyclegan", "paper") == ["half-linear"]
    assert decays("draem", "paper") == ["step"]
    assert decays("dae", "paper") == ["cosine"]
    for name in ("ae", "pddpm", "dpm-classifier", "rd", "fae", "pii"):
        assert set(decays(name, "paper")) == {"constant"}, name
