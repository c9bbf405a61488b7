"""The training loop: learns, averages, resumes exactly, stops on nonsense."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from braincli.errors import InputError, ResourceError, UsageError
from braincli.methods import registry
from braincli.progress import Reporter
from braincli.slices import SliceStore
from braincli.training import loop
from braincli.training.average import Average
from braincli.training.log import Log, iterate_metrics
from braincli.training.loop import LoopOptions, fit, rate

SIZE = (32, 24)


def store(labels: tuple[int, ...] = (0, 1)) -> SliceStore:
    """Forty noisy discs; diseased ones carry a bright square."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : SIZE[0] * 1j, -1 : 1 : SIZE[1] * 1j]
    brain = np.broadcast_to((y**2 + x**2) < 0.8, (40, 1, *SIZE)).copy()
    image = (120 + 40 * rng.random((40, 4, *SIZE))).astype(np.uint8) * brain
    label = np.resize(np.array(labels, np.int8), 40)
    lesion = np.zeros_like(brain)
    lesion[label == 1, :, 10:16, 8:14] = True
    image[np.broadcast_to(lesion, image.shape)] = 250
    return SliceStore(
        image, brain, lesion, label, np.zeros(40, np.int32), np.linspace(0, 1, 40, dtype=np.float32), {"a": ["0" * 64]}
    )


def fresh(seed: int = 0, **settings: object) -> torch.nn.Module:
    torch.manual_seed(seed)
    return registry.build("tsgm", preset="tiny", size=SIZE, settings=settings)


def state(method: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in method.state_dict().items()}


def test_all_stages_run_and_leave_figures(tmp_path: Path) -> None:
    method = fresh()
    before = state(method)
    assert fit(method, store(), tmp_path, LoopOptions(steps={"translate": 3, "restore": 3}), Reporter())
    entries = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [entry["stage"] for entry in entries] == ["translate", "restore"]
    assert all(np.isfinite(entry["restore"]) for entry in entries[1:])
    changed = {key.split(".")[0] for key, value in state(method).items() if not torch.equal(value, before[key])}
    assert changed == {"to_diseased", "to_healthy", "judge_diseased", "judge_healthy", "score"}


def test_restoration_loss_falls(tmp_path: Path) -> None:
    method = fresh(restore_rate=3e-3, synthetic=1.0, variation=0, contrast_dropout=0)
    fit(method, store(), tmp_path, LoopOptions(steps={"translate": 0, "restore": 60}, batch=8, log_every=1), Reporter())
    losses = [entry["restore"] for entry in iterate_metrics(tmp_path / "metrics.jsonl")]
    assert np.mean(losses[-15:]) < 0.7 * np.mean(losses[:15]), losses


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("*.pt"))


class Killed(Exception):
    pass


def test_resumed_equals_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in each stage and resumed in a new process' stead: the same weights, bit for bit."""
    options = LoopOptions(steps={"translate": 4, "restore": 5}, checkpoint_minutes=1e-9)
    (tmp_path / "whole").mkdir()
    whole = fresh()
    fit(whole, store(), tmp_path / "whole", options, Reporter())

    (tmp_path / "parts").mkdir()
    original = loop._Run._step
    for seed, survive in enumerate((2, 4, 100)):
        left = survive

        def step(self: loop._Run, *args: object) -> dict[str, float]:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return original(self, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(loop._Run, "_step", step)
        resumed = fresh(seed)  # from the second on, other initial weights: everything comes from the checkpoint
        if survive < 100:
            with pytest.raises(Killed):
                fit(resumed, store(), tmp_path / "parts", options, Reporter())
        else:
            assert fit(resumed, store(), tmp_path / "parts", options, Reporter())
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_time_limit_leaves_a_checkpoint(tmp_path: Path) -> None:
    options = LoopOptions(steps={"translate": 2, "restore": 50}, minutes=1e-6)
    assert not fit(fresh(), store(), tmp_path, options, Reporter())
    assert len(checkpoints(tmp_path)) == 1


def test_the_average_is_what_remains(tmp_path: Path) -> None:
    average = Average({"w": torch.zeros(1)}, 0.5)
    weights = {"w": torch.ones(1)}
    for _ in range(3):
        average.update(weights)
    average.copy_to(weights)
    expected = 1 - (1 / 11) * (2 / 12) * (3 / 13)
    assert weights["w"].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_and_leaves_a_usable_checkpoint(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, calls = fresh(), 0
    original = method.losses

    def losses(*arguments: object) -> Iterator[tuple[str, torch.Tensor, dict[str, float]]]:
        nonlocal calls
        calls += 1
        for name, loss, logs in original(*arguments):
            if calls == 4:  # the root of 0 has an infinite gradient
                loss = loss * float("nan") if what == "loss" else loss + (0 * parameter.sum()).sqrt()
            yield name, loss, logs

    parameter = next(method.score.parameters())
    monkeypatch.setattr(method, "losses", losses)
    options = LoopOptions(steps={"translate": 0, "restore": 6}, checkpoint_minutes=1e-9)
    with pytest.raises(ResourceError, match=rf"{what} of score is (nan|inf) in stage restore, step 3") as error:
        fit(method, store(), tmp_path, options, Reporter())
    assert "checkpoint is kept" in error.value.hint
    assert checkpoints(tmp_path)[-1].name.startswith("01-000000003-")
    resumed = fresh(1)
    assert fit(resumed, store(), tmp_path, options, Reporter())
    assert all(torch.isfinite(value).all() for value in resumed.state_dict().values())


def test_missing_kinds_of_slices_and_unknown_stages_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no healthy and diseased slices, which stage translate needs"):
        fit(fresh(), store(labels=(0,)), tmp_path, LoopOptions(steps={}), Reporter())
    with pytest.raises(UsageError, match="No stage 'resotre'") as error:
        fit(fresh(), store(), tmp_path, LoopOptions(steps={"resotre": 3}), Reporter())
    assert "translate, restore" in error.value.hint


def test_learning_rate_rises_and_falls() -> None:
    assert rate(0, 0.0, 10, True) < 0.11
    assert rate(10, 0.1, 10, True) > 0.9
    assert rate(99, 0.99, 10, True) < 0.03
    assert rate(99, 0.99, 0, False) == 1.0


def test_a_compute_budget_ends_each_stage_when_its_share_is_spent(tmp_path: Path) -> None:
    options = LoopOptions(steps={"translate": 10_000, "restore": 10_000}, compute_minutes=0.6 / 60)
    before = time.process_time()
    assert fit(fresh(), store(), tmp_path, options, Reporter())
    assert time.process_time() - before < 3
    last = torch.load(checkpoints(tmp_path)[-1], weights_only=True)
    assert sum(last["spent"].values()) == pytest.approx(0.6, abs=0.3)
    assert last["spent"]["translate"] == pytest.approx(0.3, abs=0.15)
    final = list(iterate_metrics(tmp_path / "metrics.jsonl"))[-1]  # the last step is logged, whenever the budget ends
    assert (final["stage"], final["compute_s"]) == ("restore", pytest.approx(sum(last["spent"].values()), abs=0.06))


def test_snapshots_hold_the_average_and_change_nothing(tmp_path: Path) -> None:
    taken: dict[tuple[str, int], torch.Tensor] = {}

    def snapshot(stage: str, step: int) -> None:
        assert not observed.training
        taken[stage, step] = torch.cat([value.flatten() for value in observed.state_dict().values()])
        with torch.no_grad():
            next(observed.parameters()).zero_()

    options = LoopOptions(steps={"translate": 2, "restore": 5}, snapshot_every=2)
    plain, observed = fresh(), fresh()
    for name, method in (("plain", plain), ("observed", observed)):
        (tmp_path / name).mkdir()
        fit(method, store(), tmp_path / name, options, Reporter(), snapshot=snapshot if method is observed else None)
    assert list(taken) == [("translate", 2), ("restore", 2), ("restore", 4)]
    assert not torch.equal(taken["restore", 2], taken["restore", 4])
    for key, value in plain.state_dict().items():
        assert torch.equal(value, observed.state_dict()[key]), key


def test_shards_are_computed_one_by_one_with_a_memory_each(tmp_path: Path) -> None:
    """Stopped, killed or not: two shards per step, whose replay pools hold what each has seen."""
    options = LoopOptions(steps={"translate": 3, "restore": 2}, shards=2, batch=8, checkpoint_minutes=1e-9)
    asked = iter([None, None, "SIGUSR1"])
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    whole, stopped, resumed = fresh(), fresh(), fresh(1)
    assert fit(whole, store(), tmp_path / "whole", options, Reporter())
    assert not fit(stopped, store(), tmp_path / "parts", options, Reporter(), stop=lambda: next(asked))
    memory = torch.load(checkpoints(tmp_path / "parts")[-1], weights_only=True)["memory"]
    assert [len(part["diseased"]) for part in memory] == [4, 4]  # two steps, two of a shard's four are diseased
    assert not torch.equal(memory[0]["diseased"][0], memory[1]["diseased"][0])
    assert fit(resumed, store(), tmp_path / "parts", options, Reporter())
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_batches_that_do_not_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch of 4 does not split into 3 shards"):
        fit(fresh(), store(), tmp_path, LoopOptions(steps={}, shards=3), Reporter())


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    log = Log(tmp_path / "metrics.jsonl")
    for stage, step in (("translate", 20), ("translate", 40), ("restore", 20), ("restore", 40)):
        log.scalars(stage, step, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "restore", "st')  # killed while writing
    log.forget_after(("translate", "restore"), 1, 25)
    kept = [(entry["stage"], entry["step"]) for entry in iterate_metrics(tmp_path / "metrics.jsonl")]
    assert kept == [("translate", 20), ("translate", 40), ("restore", 20)]
