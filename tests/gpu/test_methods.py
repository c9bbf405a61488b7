"""Every method on a GPU, at preset ``tiny``: its losses and predictions are the CPU's, and its steps are recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from train import generated

from braincli.methods import registry
from braincli.methods.base import Batch, Method
from braincli.networks import norms
from braincli.runtime.progress import Reporter
from braincli.training import data, parallel
from braincli.training.captured import waits
from braincli.training.log import iterate_metrics
from braincli.training.loop import LoopOptions, fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

SIZE, STEPS = (32, 32), 7  # more steps than those before a recording
TRAINED = sorted(name for name in registry.METHODS if registry.method_class(name).trained)
STAGES = [(name, stage) for name in TRAINED for stage in registry.options(name, "tiny").train_steps]
WAITING = ("pii",)  # whose patches have sizes of their own
IN_FLOAT32 = ("fanogan", "sadm", "svae", "tsgm")  # a sample
GPU = torch.device("cuda")
# gmvae follows signs step by step, so that a few pixels take another way
LOOSE = {"gmvae": 5e-3}  # mean difference of a prediction


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """No 19-bit floats where digits are compared."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def build(name: str) -> Method:
    torch.manual_seed(0)
    method = registry.build(name, preset="tiny", channels=4, size=SIZE)
    with torch.no_grad():  # untrained networks end in zeros, which hide what comes before
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape)
    return method


def slices(method: Method, stage: str) -> Batch:
    store = generated(SIZE, 64, tissue=method.tissue)
    pools = data.pools(store, method.sampling(stage) if stage else "all", stage)
    rows = max(8, method.sequence)
    (draw,) = data.Feed(data.Source(store, torch.device("cpu")), pools, rows, method.sequence, lambda step: [1]).step(0)
    return draw.batch


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_losses_and_gradients_are_those_of_the_cpu(name: str, stage: str) -> None:
    """The same draws, by a generator on the CPU."""
    found = []
    for device in (torch.device("cpu"), GPU):
        method = build(name).to(device).train()
        optimizers = method.optimizers(stage)
        made: list[tuple[float, float]] = []
        torch.manual_seed(0)
        drop = [module for module in method.modules() if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d)]
        for module in drop:  # draws from each device's own generator
            module.p = 0.0
        for which, loss, _ in method.learn(slices(method, stage).to(device), stage, torch.Generator().manual_seed(0)):
            parameters = [p for group in optimizers[which].param_groups for p in group["params"]]
            gradients = [g for g in torch.autograd.grad(loss, parameters, allow_unused=True) if g is not None]
            made.append((loss.item(), torch.stack([g.norm() for g in gradients]).norm().item()))
        found.append(np.array(made))
    np.testing.assert_allclose(found[1], found[0], rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(("name", "stage"), [pair for pair in STAGES if pair[0] in IN_FLOAT32])
def test_our_own_kernels_change_neither(name: str, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny networks are too small for them otherwise."""
    monkeypatch.setattr(norms, "LARGE", 0)
    test_losses_and_gradients_are_those_of_the_cpu(name, stage)


@pytest.mark.parametrize("name", sorted(registry.METHODS))
def test_predictions_are_those_of_the_cpu(name: str) -> None:
    method = build(name).eval()
    given, predicted = slices(method, next(iter(method.stages), "")), []
    for device in (torch.device("cpu"), GPU):
        method.to(device)
        generators = [torch.Generator().manual_seed(row) for row in range(len(given))]
        with torch.inference_mode():
            prediction = method.predict(given.image.to(device), given.brain.to(device), generators)
        predicted.append(torch.cat([part.cpu().float() for part in prediction.maps], dim=1))
    difference = (predicted[0] - predicted[1]).abs()
    if name in LOOSE:
        assert difference.mean() < LOOSE[name]
    else:
        assert difference.max() < 5e-3 and difference.mean() < 1e-4


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, torch.bfloat16) for name in TRAINED), *((name, None) for name in IN_FLOAT32)]
)
def test_recorded_steps_are_the_same_steps(name: str, dtype: torch.dtype | None, tmp_path: Path) -> None:
    figures = []
    for graphs in (True, False):
        method, said = build(name).to(GPU), Saying()
        fabric = parallel.launch(GPU, dtype)
        folder = tmp_path / str(graphs)
        folder.mkdir()
        options = LoopOptions(dict.fromkeys(method.stages, STEPS), log_every=1, graphs=graphs)
        store = generated(SIZE, 64, tissue=method.tissue)
        assert fit(method, store, folder, options, said, fabric=fabric)
        complaints = [line for line in said.lines if "not recorded" in line]
        assert bool(complaints) == (graphs and name in WAITING), said.lines
        figures.append([
            [value for key, value in entry.items() if key not in ("stage", "s", "compute_s", "steps_per_s", "wait")]
            for entry in iterate_metrics(folder / "metrics.jsonl")
        ])  # fmt: skip
        assert all(torch.isfinite(value).all() for value in method.state_dict().values())
    for one, other in zip(*figures, strict=True):
        np.testing.assert_allclose(one, other, rtol=0.05 if dtype else 0.01, atol=2e-3)


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_draws_on_the_gpu_and_waits_for_nothing(name: str) -> None:
    method = build(name).to(GPU).train()
    for stage in method.stages:
        given = slices(method, stage).to(GPU)
        list(method.learn(given, stage, torch.Generator(GPU).manual_seed(0)))  # makes what is made once
        with waits() as found:
            drawn = [list(method.learn(given, stage, torch.Generator(GPU).manual_seed(0))) for _ in range(2)]
        assert bool(found) == (name in WAITING), found
        for (_, one, _), (_, other, _) in zip(*drawn, strict=True):
            assert torch.isfinite(one) and torch.isfinite(other)


class Saying(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)
