"""The training loop: learns, averages, resumes exactly, stops on nonsense."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import toymethod
from toymethod import Looker, Toy, fresh

from braincli.errors import InputError, ResourceError, UsageError
from braincli.runtime.progress import Reporter
from braincli.training import loop
from braincli.training.average import Average
from braincli.training.log import Log, iterate_metrics
from braincli.training.loop import LoopOptions, fit

EVERY_STEP = 1e-9  # minutes between checkpoints


def train(method: Toy, folder: Path, **options: object) -> bool:
    """Fit on the toy store; ``stop`` and ``watch`` go to the loop, the rest are its options."""
    folder.mkdir(exist_ok=True)
    extra = {name: options.pop(name) for name in ("stop", "watch") if name in options}
    chosen = LoopOptions(**{"steps": {}, "log_every": 1, **options})  # type: ignore[arg-type]
    return fit(method, toymethod.store(), folder, chosen, Reporter(), **extra)  # type: ignore[arg-type]


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("*.pt"))


def losses(folder: Path) -> list[tuple[object, ...]]:
    """What the log says, but for the times."""
    keys = ("stage", "step", "judged", "clean")
    return [tuple(entry.get(key) for key in keys) for entry in iterate_metrics(folder / "metrics.jsonl")]


def same(one: Toy, other: Toy) -> bool:
    return all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_all_stages_run_and_leave_figures(tmp_path: Path) -> None:
    method, before = fresh(), fresh()
    assert train(method, tmp_path, log_every=3)
    entries = list(iterate_metrics(tmp_path / "metrics.jsonl"))
    assert [(e["stage"], e["step"]) for e in entries] == [("play", 3), ("play", 4), ("clean", 3), ("clean", 5)]
    assert all(np.isfinite(e["clean"]) and e["steps_per_s"] > 0 and 0 < e["wait"] < 1 for e in entries[2:])
    assert not any(torch.equal(value, before.state_dict()[key]) for key, value in method.state_dict().items())
    assert not method.training


def test_the_loss_falls(tmp_path: Path) -> None:
    train(fresh(), tmp_path, steps={"play": 0, "clean": 60}, batch=8)
    found = [entry["clean"] for entry in iterate_metrics(tmp_path / "metrics.jsonl")]
    assert np.mean(found[-10:]) < 0.5 * np.mean(found[:10])


def stopping_after(count: int) -> object:
    asked = iter([None] * count)
    return lambda: next(asked, "SIGUSR1")


def test_resumed_equals_never_stopped(tmp_path: Path) -> None:
    """Stopped at each of the nine steps and resumed with other initial weights: the same, bit for bit."""
    whole = fresh()
    assert train(whole, tmp_path / "whole")
    for count in range(9):
        folder = tmp_path / str(count)
        assert not train(fresh(), folder, stop=stopping_after(count))
        resumed = fresh(1)
        assert train(resumed, folder)
        assert same(whole, resumed), count
        assert losses(folder) == losses(tmp_path / "whole"), count


class Killed(Exception):
    pass


@pytest.mark.parametrize("survive", [2, 4, 7])
def test_killed_between_checkpoints_goes_back_to_the_last(survive: int, tmp_path: Path) -> None:
    whole, killed, resumed = fresh(), fresh(), fresh(1)
    train(whole, tmp_path / "whole")
    original, calls = killed.losses, 0

    def die(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls > survive:
            raise Killed
        return original(*arguments)  # type: ignore[arg-type]

    killed.losses = die  # type: ignore[assignment, method-assign]
    with pytest.raises(Killed):
        train(killed, tmp_path / "parts", checkpoint_minutes=EVERY_STEP if survive == 4 else 60)
    assert train(resumed, tmp_path / "parts")
    assert same(whole, resumed)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_shards_are_computed_one_by_one_with_a_memory_each(tmp_path: Path) -> None:
    whole, stopped, resumed = fresh(), fresh(), fresh(1)
    assert train(whole, tmp_path / "whole", shards=2)
    assert not train(stopped, tmp_path / "parts", shards=2, stop=stopping_after(2))
    memory = torch.load(checkpoints(tmp_path / "parts")[-1], weights_only=True)["memory"]
    assert [len(part["seen"]) for part in memory] == [4, 4]  # two steps, half a batch of four each
    assert not torch.equal(memory[0]["seen"][0], memory[1]["seen"][0])
    assert train(resumed, tmp_path / "parts", shards=2)
    assert same(whole, resumed)


def test_a_step_follows_the_mean_over_its_shards(tmp_path: Path) -> None:
    method, found = fresh(), []
    original = method.losses

    def noting(*arguments: object) -> Iterator[tuple[str, torch.Tensor, dict[str, float]]]:
        for name, loss, logs in original(*arguments):  # type: ignore[arg-type]
            gradient = torch.autograd.grad(loss, method.second.weight, retain_graph=True)[0]
            found.append((loss.item(), gradient))
            yield name, loss, logs

    method.losses = noting  # type: ignore[method-assign]
    train(method, tmp_path, steps={"play": 0, "clean": 1}, shards=3, batch=6)
    assert len(found) == 3 and len({loss for loss, _ in found}) == 3
    entry = next(iterate_metrics(tmp_path / "metrics.jsonl"))
    assert entry["clean"] == pytest.approx(np.mean([loss for loss, _ in found]), abs=1e-6)
    mean, taken = sum(gradient for _, gradient in found) / 3, method.second.weight.grad
    assert taken is not None  # clipped as a whole, so only the direction is given
    torch.testing.assert_close(taken / taken.norm(), mean / mean.norm(), rtol=0, atol=1e-5)


def test_batches_that_do_not_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch of 4 does not split into 3 shards"):
        train(fresh(), tmp_path, shards=3)


def test_time_limit_leaves_a_checkpoint(tmp_path: Path) -> None:
    assert not train(fresh(), tmp_path, minutes=1e-6)
    assert len(checkpoints(tmp_path)) == 1


def test_a_compute_budget_ends_each_stage_when_its_share_is_spent(tmp_path: Path) -> None:
    before = time.process_time()
    assert train(fresh(), tmp_path, steps={"play": 100_000, "clean": 100_000}, compute_minutes=0.4 / 60)
    assert time.process_time() - before < 3
    spent = torch.load(checkpoints(tmp_path)[-1], weights_only=True)["spent"]
    assert spent == {"play": pytest.approx(0.2, abs=0.06), "clean": pytest.approx(0.2, abs=0.06)}
    final = list(iterate_metrics(tmp_path / "metrics.jsonl"))[-1]  # the last step is logged, whenever the budget ends
    assert (final["stage"], final["compute_s"]) == ("clean", pytest.approx(sum(spent.values()), abs=0.06))


def test_a_compute_budget_counts_what_a_gpu_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are handed to a GPU at once; the time passes where figures are read."""
    monkeypatch.setattr(time, "process_time", time.monotonic)  # a GPU's clock
    monkeypatch.setattr(loop._Run, "_note", lambda *given: time.sleep(0.1) or "")
    assert train(fresh(), tmp_path, steps={"play": 100_000, "clean": 100_000}, compute_minutes=0.4 / 60)
    steps = [entry["step"] for entry in iterate_metrics(tmp_path / "metrics.jsonl")]
    assert max(steps) <= 3
    spent = torch.load(checkpoints(tmp_path)[-1], weights_only=True)["spent"]
    assert spent == {"play": pytest.approx(0.2, abs=0.15), "clean": pytest.approx(0.2, abs=0.15)}


def test_the_average_is_what_remains() -> None:
    average = Average({"w": torch.zeros(1)}, 0.5)
    weights = {"w": torch.ones(1)}
    for _ in range(3):
        average.update(weights)
    average.copy_to(weights)
    expected = 1 - (1 / 11) * (2 / 12) * (3 / 13)
    assert weights["w"].item() == pytest.approx(expected, abs=1e-6)


def test_snapshots_hold_the_average_and_change_nothing(tmp_path: Path) -> None:
    plain, observed = fresh(), fresh()
    taken: dict[tuple[str, int], torch.Tensor] = {}

    def snapshot(stage: str, step: int) -> None:
        assert not observed.training
        taken[stage, step] = observed.second.weight.detach().clone()
        with torch.no_grad():
            observed.second.weight.zero_()

    train(plain, tmp_path / "plain", snapshot_every=2)
    train(observed, tmp_path / "observed", snapshot_every=2, watch=Looker(look=snapshot))
    assert list(taken) == [("play", 2), ("play", 4), ("clean", 2), ("clean", 4)]
    assert not torch.equal(taken["clean", 2], taken["clean", 4])
    assert same(plain, observed)


def test_weights_are_shown_when_due_and_where_training_stops(tmp_path: Path) -> None:
    """A stop is shown the averaged weights that the end would keep, and going on is exact all the same."""
    whole, parts, again = fresh(), fresh(), fresh(1)
    shown: dict[str, torch.Tensor] = {}

    def look(stage: str, step: int) -> None:
        assert not parts.training
        shown[stage] = parts.second.weight.detach().clone()
        with torch.no_grad():
            parts.second.weight.zero_()

    looker = Looker(every=3, look=look)
    reasons = iter([None] * 7 + ["enough"])
    assert not train(parts, tmp_path / "parts", watch=looker, stop=lambda: next(reasons))
    assert looker.seen == [("preview", "play", 3), ("preview", "clean", 3), ("stopped", "clean", 3)]
    train(whole, tmp_path / "whole")
    assert train(again, tmp_path / "parts")
    assert same(whole, again) and shown["clean"].any()


def test_a_stage_tells_what_it_came_to(tmp_path: Path) -> None:
    words: list[str] = []
    reporter = Reporter()
    reporter.say = words.append  # type: ignore[method-assign]
    fit(fresh(), toymethod.store(), tmp_path, LoopOptions(steps={}, log_every=1), reporter)
    last = {entry["stage"]: entry for entry in iterate_metrics(tmp_path / "metrics.jsonl")}
    assert words == [
        f"play: 4 steps, judged {last['play']['judged']:.4g}",
        f"clean: 5 steps, clean {last['clean']['clean']:.4g}",
    ]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_and_leaves_a_usable_checkpoint(what: str, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=rf"{what} of second is (nan|inf) in stage clean, step 3") as error:
        train(fresh(spoil=what), tmp_path / "parts", checkpoint_minutes=EVERY_STEP)
    assert "checkpoint is kept" in error.value.hint
    assert checkpoints(tmp_path / "parts")[-1].name.startswith("01-000000003-")
    resumed, whole = fresh(1), fresh()
    assert train(resumed, tmp_path / "parts")
    train(whole, tmp_path / "whole")
    assert same(whole, resumed)


def test_missing_kinds_of_slices_and_unknown_stages_are_named(tmp_path: Path) -> None:
    healthy = toymethod.store(labels=(0,))
    with pytest.raises(InputError, match="no healthy and diseased slices, which stage play needs"):
        fit(fresh(), healthy, tmp_path, LoopOptions(steps={}), Reporter())
    with pytest.raises(UsageError, match="No stage 'claen'") as error:
        train(fresh(), tmp_path, steps={"claen": 3})
    assert "play, clean" in error.value.hint


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    train(fresh(), tmp_path, stop=stopping_after(1))
    other = fresh()
    other.first = torch.nn.Conv2d(4, 4, 5)
    with pytest.raises(UsageError, match="does not fit these options"):
        train(other, tmp_path)


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    log = Log(tmp_path / "metrics.jsonl")
    for stage, step in (("translate", 20), ("translate", 40), ("restore", 20), ("restore", 40)):
        log.scalars(stage, step, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "restore", "st')  # killed while writing
    log.forget_after(("translate", "restore"), 1, 25)
    kept = [(entry["stage"], entry["step"]) for entry in iterate_metrics(tmp_path / "metrics.jsonl")]
    assert kept == [("translate", 20), ("translate", 40), ("restore", 20)]
