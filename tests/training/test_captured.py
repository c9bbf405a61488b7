"""What leads to a recording and what follows from it; the graphs themselves need a GPU (tests/gpu)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import toymethod

from braincli.training import captured, data, optimizers, parallel
from braincli.training.captured import WARM_UP, CapturedStepper
from braincli.training.step import Stepper

CPU = torch.device("cpu")


class Graph:
    """Does at once what a CUDA graph would do when it is replayed."""

    replayed = 0

    def register_generator_state(self, generator: torch.Generator) -> None:
        """Nothing to register."""

    def replay(self) -> None:
        type(self).replayed += 1


@contextmanager
def recording(graph: Graph, **options: Any) -> Iterator[None]:
    yield


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs that compute while they are recorded, so that the recorded step itself is right, and no later one."""
    for name, value in {
        "CUDAGraph": Graph, "graph": recording, "graph_pool_handle": lambda: None,
        "get_sync_debug_mode": lambda: 0, "set_sync_debug_mode": lambda mode: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(captured.torch.cuda, name, value)
    Graph.replayed = 0


def run(kind: Callable[..., Stepper], steps: int, **more: Any) -> tuple[toymethod.Toy, Stepper, list[str]]:
    """A stage of the toy method (with dropout and a loss on drawn noise), step by step."""
    method, store = toymethod.fresh(), toymethod.store()
    method.train()
    named = method.optimizers("clean")
    optimizers.prepare(named, CPU)
    feed = data.Feed(
        data.Source(store, CPU), data.pools(store, "any", "clean"), 4, 1, lambda step: [parallel.seed(0, step)]
    )
    stepper = kind(
        method, "clean", named, parallel.launch(CPU), 1, range(1), [{}], lambda *path: parallel.seed(*path), **more
    )
    told = []
    for step in range(steps):
        (draw,) = feed.step(step)
        fresh = torch.Generator().manual_seed(parallel.seed(1, step))  # as a GPU's generators are
        turns, logs = stepper.take(step, [data.Draw(draw.batch, fresh)])
        told.append(f"{float(logs['clean'])} {turns[0].figures.tolist()}")
    return method, stepper, told


def test_the_recorded_step_is_the_step(pretended: None) -> None:
    plain, _, expected = run(Stepper, WARM_UP + 1)
    method, stepper, told = run(CapturedStepper, WARM_UP + 1)
    assert isinstance(stepper, CapturedStepper) and stepper.recorded is not None and Graph.replayed == 1
    assert told == expected
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in method.state_dict().items())


def test_a_replay_gets_the_steps_own_batch_and_seed(pretended: None) -> None:
    _, stepper, _ = run(CapturedStepper, WARM_UP + 3)
    assert isinstance(stepper, CapturedStepper) and stepper.recorded is not None and Graph.replayed == 3
    assert stepper.recorded.generator.initial_seed() == parallel.seed(1, WARM_UP + 2)
    feed = data.Feed(
        data.Source(toymethod.store(), CPU), data.pools(toymethod.store(), "any", "clean"), 4, 1,
        lambda step: [parallel.seed(0, step)],
    )  # fmt: skip
    assert torch.equal(stepper.recorded.batch.image, feed.step(WARM_UP + 2)[0].batch.image)


def test_a_step_that_waits_is_not_recorded_and_says_so_once(pretended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    original = toymethod.Toy.losses

    def waiting(self: toymethod.Toy, *given: Any) -> Any:
        warnings.warn("called a synchronizing CUDA operation (Triggered ...)", stacklevel=1)
        return original(self, *given)

    plain, _, _ = run(Stepper, WARM_UP + 3)
    monkeypatch.setattr(toymethod.Toy, "losses", waiting)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method, stepper, _ = run(CapturedStepper, WARM_UP + 3, say=said.append)
    assert isinstance(stepper, CapturedStepper) and stepper.recorded is None and Graph.replayed == 0
    assert len(said) == 1 and "clean" in said[0] and "test_captured.py" in said[0]
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in method.state_dict().items())


def test_a_recording_that_fails_is_given_up(pretended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(captured.torch.cuda, "CUDAGraph", broken)
    said: list[str] = []
    plain, _, expected = run(Stepper, WARM_UP + 2)
    method, _, told = run(CapturedStepper, WARM_UP + 2, say=said.append)
    assert said == ["steps of clean are not recorded as CUDA graphs: operation not permitted when stream is capturing"]
    assert told == expected
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in method.state_dict().items())
