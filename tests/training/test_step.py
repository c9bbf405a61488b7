"""A step asks the host for nothing, whatever the method; what is not finite is found where it began."""

from __future__ import annotations

import math

import pytest
import torch
from counting import Calls
from train import generated

from braincli.errors import ResourceError
from braincli.methods import registry
from braincli.training import data, optimizers, parallel
from braincli.training.step import Stepper, Turn, Watch

SIZE, CPU = (32, 32), torch.device("cpu")
TRAINED = sorted(name for name in registry.METHODS if registry.method_class(name).trained)
# operator calls of a step, with a little room; a GPU waits for each of them
MOST_CALLS = {("tsgm", "translate"): 850, ("tsgm", "restore"): 1050, ("tsgm", "redraw"): 1200}
BY_ROW = ("draem",)  # on a CPU only: augmentations of the rows that get them


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in BY_ROW])
def test_a_step_reads_nothing(name: str) -> None:
    torch.manual_seed(0)
    method = registry.build(name, preset="tiny", channels=4, size=SIZE).train()
    store, fabric = generated(SIZE, 48, tissue=method.tissue), parallel.launch(CPU)
    for stage in method.stages:
        named = method.optimizers(stage)
        optimizers.prepare(named, CPU)
        pools = data.pools(store, method.sampling(stage), stage)
        rows = max(4, method.sequence)
        feed = data.Feed(data.Source(store, CPU), pools, rows, method.sequence, lambda step: [step])
        stepper = Stepper(method, stage, named, fabric, 1, range(1), [{}], lambda *path: 0)
        stepper.take(0, feed.step(0))  # makes what is made once
        draws = feed.step(1)
        with Calls() as calls:
            stepper.take(1, draws)
        read = {key: number for key, number in calls.where.items() if "scalar" in key or "nonzero" in key}
        assert calls.reads == 0, (stage, read)
        assert calls.number <= MOST_CALLS.get((name, stage), math.inf), stage


def test_the_first_step_that_is_not_finite_is_named_and_looked_for_once() -> None:
    watch = Watch("clean")
    watch.note(6, [Turn("net", torch.tensor([0.5, 2.0]))])
    watch.look()
    watch.note(7, [Turn("net", torch.tensor([0.5, 2.0])), Turn("critic", torch.tensor([0.5, float("inf")]))])
    watch.note(8, [Turn("net", torch.tensor([float("nan"), float("nan")]))])
    with pytest.raises(ResourceError, match="gradient of critic is inf in stage clean, step 7"):
        watch.look()
    watch.look()


def test_gradients_are_cut_to_length_and_their_norm_is_told() -> None:
    gradients = [torch.full((3, 3), 2.0), torch.full((4,), -1.0)]
    expected = torch.cat([part.flatten() for part in gradients]).norm()
    assert optimizers.clip(gradients, 1.0) == pytest.approx(expected.item())
    assert torch.cat([part.flatten() for part in gradients]).norm() == pytest.approx(1.0, abs=1e-5)
    short = [torch.full((2,), 0.1)]
    optimizers.clip(short, 1.0)
    assert torch.equal(short[0], torch.full((2,), 0.1))
