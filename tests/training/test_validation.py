"""Validation: fixed draws, the best weights, exact resume, cases that may not judge."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tinytraining
import torch
import toymethod
from toymethod import Toy, fresh

from braincli import api
from braincli.config import DetectConfig, TrainConfig
from braincli.errors import InputError, UsageError
from braincli.methods import registry
from braincli.runtime.progress import Reporter
from braincli.training.log import iterate_metrics
from braincli.training.loop import LoopOptions, fit
from braincli.training.validation import Validation


def validation(**options: Any) -> Validation:
    return Validation(toymethod.store(), **{"batch": 4, "every": 1, **options})


def train(method: Toy, folder: Path, judge: Validation | None, **extra: Any) -> bool:
    options = LoopOptions(steps={"play": 2, "clean": 6}, log_every=1)
    return fit(method, toymethod.store(), folder, options, Reporter(), validation=judge, **extra)


class Prefers(Toy):
    """The criterion is the distance of the step from ``favourite``, whatever the weights are."""

    favourite, judged = 3, 0

    def is_judged(self, stage: str) -> bool:
        return stage == "clean"

    def criterion(self, batch: object, stage: str, generator: torch.Generator) -> torch.Tensor:
        assert not self.training and not torch.is_grad_enabled()
        self.judged += 1
        step = -(-self.judged // 64)  # 256 slices in batches of 4
        return torch.tensor(float(abs(step - self.favourite)))


def prefers() -> Prefers:
    torch.manual_seed(0)
    return Prefers()


def weights_at(step: int, folder: Path) -> dict[str, torch.Tensor]:
    """The averaged weights after ``step`` steps of the second stage."""
    kept: dict[int, dict[str, torch.Tensor]] = {}
    method = fresh()

    def snapshot(stage: str, at: int) -> None:
        if stage == "clean":
            kept[at] = {name: value.clone() for name, value in method.state_dict().items()}

    options = LoopOptions(steps={"play": 2, "clean": 6}, snapshot_every=1)
    fit(method, toymethod.store(), folder, options, Reporter(), watch=toymethod.Looker(look=snapshot))
    return kept[step]


def test_the_best_averaged_weights_become_the_result(tmp_path: Path) -> None:
    method, judge = prefers(), validation()
    assert train(method, tmp_path / "a", judge)
    expected = weights_at(3, tmp_path / "b")
    assert all(torch.equal(value, expected[name]) for name, value in method.state_dict().items())
    assert {stage: (one.step, one.value) for stage, one in judge.best.items()} == {"clean": (3, 0.0)}
    told = [e["validation"] for e in iterate_metrics(tmp_path / "a" / "metrics.jsonl") if "validation" in e]
    assert told == [2, 1, 0, 1, 2, 3]


def test_judging_changes_nothing_of_the_training(tmp_path: Path) -> None:
    train(fresh(), tmp_path / "plain", None)
    train(fresh(), tmp_path / "judged", validation())

    def figures(folder: str) -> Iterator[tuple[object, ...]]:
        for e in iterate_metrics(tmp_path / folder / "metrics.jsonl"):
            if "validation" not in e:
                yield tuple(e.get(key) for key in ("stage", "step", "judged", "clean"))

    assert list(figures("plain")) == list(figures("judged"))


def test_draws_are_fixed_so_that_equal_weights_are_judged_alike() -> None:
    from braincli.training import parallel

    method, fabric = fresh().eval(), parallel.launch(torch.device("cpu"))
    one, other = (validation().judge(method, "clean", 1, fabric) for _ in range(2))
    assert one == other
    assert validation(seed=1).judge(method, "clean", 1, fabric) != one
    with torch.no_grad():
        method.second.weight += 1.0
    assert validation().judge(method, "clean", 1, fabric) > one


@pytest.mark.parametrize("stop", range(8))
def test_resumed_equals_never_stopped(stop: int, tmp_path: Path) -> None:
    whole, judge = fresh(), validation(every=2)
    assert train(whole, tmp_path / "whole", judge)
    asked = iter([None] * stop)
    assert not train(fresh(), tmp_path / "parts", validation(every=2), stop=lambda: next(asked, "SIGUSR1"))
    resumed, again = fresh(1), validation(every=2)
    assert train(resumed, tmp_path / "parts", again)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    assert again.best == judge.best and set(judge.best) == {"play", "clean"}


def test_how_often_is_stated() -> None:
    method = fresh()
    assert not validation(every=3).is_due(method, "clean", 4, 100, ended=False)
    assert validation(every=3).is_due(method, "clean", 6, 100, ended=False)
    assert [s for s in range(1, 101) if validation(every=None).is_due(method, "clean", s, 100, ended=False)] == (
        list(range(2, 101, 2))
    )
    assert validation(every=3).is_due(method, "clean", 100, 100, ended=True)


def test_adversarial_stages_keep_their_last_weights() -> None:
    built = {name: registry.build(name, preset="tiny") for name in ("tsgm", "cyclegan", "fanogan", "isct", "sadm")}
    judged = {name: [stage for stage in method.stages if method.is_judged(stage)] for name, method in built.items()}
    assert judged == {
        "tsgm": ["restore", "redraw", "suspect"], "cyclegan": [], "fanogan": ["encode"], "isct": ["segment"],
        "sadm": ["pretrain", "main", "segment"],
    }  # fmt: skip


def test_validation_without_the_slices_that_are_needed_is_refused(tmp_path: Path) -> None:
    judge = Validation(toymethod.store(labels=(0,)), batch=4, every=1)
    with pytest.raises(InputError, match="To validate: The cohort has no healthy and diseased slices"):
        train(fresh(), tmp_path, judge)


def test_a_stage_of_no_steps_needs_no_slices(tmp_path: Path) -> None:
    """SADM's U-Net learns from another cohort than its diffusion model: earlier stages get 0 steps."""
    method, before = fresh(), fresh()
    options = LoopOptions(steps={"play": 0, "clean": 1})
    assert fit(method, toymethod.store(labels=(0,)), tmp_path, options, Reporter())
    assert torch.equal(method.first.weight, before.first.weight)


# --- through train's own door ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cohorts")
    for seed, name in enumerate(("train/a", "train/b", "val/c", "val/d")):
        tinytraining.write_case(root / name, seed)
    return root


def fitted(cohorts: Path, out: Path, **options: Any) -> Any:
    config = TrainConfig(**{**tinytraining.OPTIONS, "steps": {"main": 4}, "validate_every": 2, **options})
    return api.train(cohorts / "train", out, config, validation=cohorts / "val")


def test_the_model_says_who_chose_it_and_notices_them(cohorts: Path, tmp_path: Path) -> None:
    info = fitted(cohorts, tmp_path / "m")
    assert "that c, d found best: main at step" in (tmp_path / "m" / "README.md").read_text()
    plan = (tmp_path / "m" / "train.toml").read_text()
    assert "of 2 cases: " in plan and "weights are judged every 2 steps" in plan and "validate_every = 2" in plan
    assert set(info.training.validation) == {"c", "d"} and all(info.training.validation.values())
    assert info.training.best["main"].step in (2, 4)
    entries = [e for e in iterate_metrics(tmp_path / "m" / "metrics.jsonl") if "validation" in e]
    assert [e["step"] for e in entries] == [2, 4]
    assert min(e["validation"] for e in entries) == pytest.approx(info.training.best["main"].value)
    config = DetectConfig(model=str(tmp_path / "m"), threshold=0.5, device="cpu", figure=False, already_stripped=True)
    report = api.detect([cohorts / "val" / "c"], tmp_path / "out", config)
    assert any("chosen by its results on this case" in text for case in report.cases for text in case.warnings)


def test_whoever_judges_may_not_have_taught(cohorts: Path, tmp_path: Path) -> None:
    config = TrainConfig(**tinytraining.OPTIONS)
    with pytest.raises(UsageError, match="a is among the cases to learn from and among those of --validation"):
        api.train(cohorts / "train", tmp_path / "m", config, validation=[cohorts / "train" / "a"])
    renamed = tmp_path / "again"
    shutil.copytree(cohorts / "train" / "a", renamed / "z")
    for file in (renamed / "z").iterdir():
        file.rename(file.with_name(file.name.replace("a_", "z_", 1)))
    with pytest.raises(UsageError, match="z is among the cases to learn from"):
        api.train(cohorts / "train", tmp_path / "m", config, validation=renamed)
    assert not (tmp_path / "m" / "model.json").exists()


def test_other_judges_than_before_are_noticed(cohorts: Path, tmp_path: Path) -> None:
    assert fitted(cohorts, tmp_path / "m", dry_run=True) is None
    config = TrainConfig(**{**tinytraining.OPTIONS, "steps": {"main": 4}, "validate_every": 2, "resume": True})
    with pytest.raises(UsageError, match="have changed since its training began"):
        api.train(cohorts / "train", tmp_path / "m", config)
    assert fitted(cohorts, tmp_path / "m", resume=True).training.best
