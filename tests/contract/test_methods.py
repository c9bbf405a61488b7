"""What every registered method must keep, at preset ``tiny``. A new method is tested by being registered."""

from __future__ import annotations

import inspect
import time
from importlib import import_module
from pathlib import Path

import pytest
import torch
from tasks import losses

from braincli.errors import UsageError
from braincli.methods import registry
from braincli.methods.base import Batch, Method, Prediction
from braincli.model.folder import load_model, save_model
from braincli.model.info import ModelInfo

SIZE = (32, 24)  # not square
NAMES = sorted(registry.METHODS)


def build(name: str, channels: int = 4) -> Method:
    torch.manual_seed(0)
    return registry.build(name, preset="tiny", channels=channels, size=SIZE)


def batch(rows: int = 4, channels: int = 4) -> Batch:
    """Smooth lopsided discs, half of the rows diseased, one with a known lesion."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE[0]), torch.linspace(-1, 1, SIZE[1]), indexing="ij")
    brain = ((y**2 + x**2) < 0.8).expand(rows, 1, *SIZE).clone()
    steps = torch.linspace(0.2, 0.8, rows * channels).reshape(rows, channels, 1, 1)
    image = (steps + 0.1 * torch.sin(5 * y + 3 * x)).clamp(0.05, 1) * brain
    lesion = torch.zeros_like(brain)
    lesion[-1, 0, 10:14, 8:12] = True
    tissue = torch.cat([image[:, :1], 1 - image[:, :1], 0 * image[:, :1]], dim=1) * brain
    return Batch(image, brain, torch.arange(rows) % 2, lesion, torch.linspace(0, 1, rows), tissue)


def generators(rows: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed * 100 + row) for row in range(rows)]


def predict(method: Method, given: Batch, seed: int = 0) -> torch.Tensor:
    with torch.inference_mode():
        prediction = method.eval().predict(given.image, given.brain, generators(len(given), seed))
    assert prediction.maps, "a prediction holds a restoration or a score"
    return joined(prediction)


def joined(prediction: Prediction) -> torch.Tensor:
    """All maps as channels, and the slices' class as one more, (B, ?, H, W)."""
    first, *others = prediction.maps
    if prediction.diseased is not None:
        others.append(prediction.diseased[:, None, None, None].expand_as(first[:, :1]))
    return torch.cat([first, *others], dim=1)


def one_step(method: Method) -> dict[str, set[str]]:
    """One optimiser step per loss and stage; names of parameters with a gradient, per stage."""
    moved: dict[str, set[str]] = {}
    for stage in method.stages:
        optimizers = method.optimizers(stage)
        moved[stage] = set()
        for name, loss, logs in losses(method, batch(), stage, seed=1):
            assert torch.isfinite(loss), (stage, name)
            assert all(value.shape == () and not value.requires_grad and value.isfinite() for value in logs.values())
            optimizers[name].zero_grad()
            loss.backward()
            held = {id(p) for group in optimizers[name].param_groups for p in group["params"]}
            for key, p in method.named_parameters():
                if id(p) in held and p.grad is not None:
                    assert torch.isfinite(p.grad).all(), key
                    moved[stage].add(key)
            optimizers[name].step()
    return moved


@pytest.mark.parametrize("name", NAMES)
def test_describes_itself(name: str) -> None:
    spec = registry.spec(name)
    module = import_module(f"braincli.methods.{spec.target.split(':')[0]}")
    assert len(spec.summary) > 10
    assert len(spec.paper) > 10
    assert str(spec.supervision)
    assert module.__doc__ and len(module.__doc__) > 100, "the module says what the method is and where it deviates"
    assert set(spec.presets) <= set(registry.method_class(name).PRESETS)
    assert {"paper", "compact", "tiny"} <= set(spec.presets)


@pytest.mark.parametrize("name", NAMES)
def test_tiny_is_small_and_fast(name: str) -> None:
    begin = time.process_time()
    method = build(name)
    assert sum(p.numel() for p in method.parameters()) < 1_000_000
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    method = build(name)
    before = {key: p.detach().clone() for key, p in method.named_parameters() if p.requires_grad}
    moved = set().union(*one_step(method).values())
    assert moved == set(before), f"without gradient: {sorted(set(before) - moved)[:3]}"
    if before:
        now = dict(method.named_parameters())
        assert any(not torch.equal(p, now[key]) for key, p in before.items())


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", NAMES)
def test_prediction_has_shape_range_and_leaves_its_input(name: str, channels: int) -> None:
    method, given = build(name, channels), batch(3, channels)
    image, brain = given.image.clone(), given.brain.clone()
    with torch.inference_mode():
        prediction = method.eval().predict(given.image, given.brain, generators(3))
    assert torch.equal(given.image, image)
    assert torch.equal(given.brain, brain)
    if prediction.restored is not None:
        assert prediction.restored.shape == image.shape
        assert prediction.restored.dtype == torch.float32
        assert 0 <= float(prediction.restored.min()) <= float(prediction.restored.max()) <= 1
        assert not prediction.restored[(~brain).expand_as(image)].any(), "background stays 0"
    if prediction.score is not None:
        assert prediction.score.shape == brain.shape
        assert float(prediction.score.min()) >= 0
    if prediction.diseased is not None:
        assert prediction.diseased.shape == (3,)
        assert 0 <= float(prediction.diseased.min()) <= float(prediction.diseased.max()) <= 1
    assert not any(part.requires_grad for part in prediction if part is not None)


@pytest.mark.parametrize("name", NAMES)
def test_prediction_repeats_and_rows_are_independent(name: str) -> None:
    method = build(name)
    rows = 3 * method.sequence
    given, noise = batch(rows), generators(rows)
    whole = predict(method, given)
    assert torch.equal(whole, predict(method, given)), "same generators, same result"
    for first in range(0, rows, method.sequence):  # sequence models: runs are independent of each other
        own = slice(first, first + method.sequence)
        alone = given.rows(torch.arange(rows)[own])
        with torch.inference_mode():
            prediction = method.predict(alone.image, alone.brain, noise[own])
        torch.testing.assert_close(joined(prediction), whole[own], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_network_call_ticks_once(name: str) -> None:
    method, given, ticks = build(name), batch(2), []
    with torch.inference_mode():
        method.eval().predict(given.image, given.brain, generators(2), lambda: ticks.append(None))
    assert len(ticks) == method.calls()


@pytest.mark.parametrize("name", NAMES)
def test_options_are_typed(name: str) -> None:
    """``config`` is annotated with the class that ``Config`` names, so that the checker knows the options."""
    kind = registry.method_class(name)
    annotated = next(own["config"] for c in kind.__mro__ if "config" in (own := inspect.get_annotations(c)))
    assert annotated == kind.Config.__name__


@pytest.mark.parametrize("name", NAMES)
def test_degenerate_slices_give_finite_results(name: str) -> None:
    method, given = build(name), batch(3)
    image = given.image.clone()
    image[0] = 0
    image[1] = 0.5
    image[2, 1:] = 0
    with torch.inference_mode():
        prediction = method.eval().predict(image, given.brain, generators(3))
    assert torch.isfinite(joined(prediction)).all()
    for part in (prediction.restored, prediction.score, prediction.diseased):
        assert part is None or not part[0].any(), "an empty slice stays empty, and shows no lesion"
    if prediction.restored is not None:
        assert not prediction.restored[2, 1:].any(), "an absent contrast stays absent"


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_predicts_the_same_and_nothing_is_said(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from braincli.imaging.slices import SliceSpec

    method = build(name)
    one_step(method)
    info = ModelInfo(
        name="m", method=name, preset="tiny", settings=method.config.model_dump(mode="json"),
        slices=SliceSpec(size=SIZE),
    )  # fmt: skip
    save_model(tmp_path / "m", method, info)
    loaded = load_model(str(tmp_path / "m"), torch.device("cpu"))
    assert torch.equal(predict(loaded.method, batch(2)), predict(method, batch(2)))
    assert capfd.readouterr() == ("", "")


def test_unknown_names_list_the_valid_ones() -> None:
    with pytest.raises(UsageError, match="no method 'tsgn'") as error:
        registry.spec("tsgn")
    assert "tsgm" in error.value.hint
    with pytest.raises(UsageError, match="no preset 'huge'") as error:
        registry.build("tsgm", preset="huge")
    assert "compact" in error.value.hint
    with pytest.raises(UsageError, match="Unknown option 'widht'") as error:
        registry.build("tsgm", preset="tiny", settings={"widht": 3})
    assert "Did you mean width?" in error.value.hint
