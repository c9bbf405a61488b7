"""TSGM's presets and samplers: published sizes, what the published code does otherwise, warm starts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from braincli.diffusion import samplers
from braincli.methods import registry
from braincli.methods.base import Method

SIZE = (32, 24)


def build(**settings: Any) -> Method:
    torch.manual_seed(0)
    return registry.build("tsgm", preset="tiny", settings=settings, size=SIZE).eval()


def restored(method: Method, ticks: list[tuple[int, int]] | None = None) -> torch.Tensor:
    image = torch.full((2, 4, *SIZE), 0.5)
    rngs = [torch.Generator().manual_seed(row) for row in range(2)]
    with torch.inference_mode():
        restoration = method.predict(image, torch.ones(2, 1, *SIZE, dtype=torch.bool), rngs, lambda: ticks.append(None)
                               if ticks is not None else None).restored  # fmt: skip
    assert restoration is not None
    return restoration


@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_published_sizes(preset: str) -> None:
    """Score network 65,558,305 with its fixed frequencies; two ResNet-9 generators and two 70 x 70 PatchGANs."""
    registry.method_class("tsgm")  # its modules hold tensors, which must not be made below
    with torch.device("meta"):
        method = registry.build("tsgm", preset=preset, channels=4, size=(256, 256))
    sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in method.named_children()}
    frequencies = method.get_submodule("score").frequencies
    assert sizes["score"] + frequencies.numel() == 65_558_305
    assert sizes["to_diseased"] == sizes["to_healthy"] == 11_365_633
    assert sizes["discriminator_diseased"] == sizes["discriminator_healthy"] == 2_762_689


def test_the_reference_differs_from_the_paper_where_the_code_does() -> None:
    kind = registry.method_class("tsgm")
    paper, code = (kind.Config(**kind.PRESETS[name]).model_dump() for name in ("paper", "reference"))
    assert {key: (paper[key], code[key]) for key in paper if paper[key] != code[key]} == {
        "sigma_min": (0.1, 0.01), "restore_rate": (1e-4, 2e-4), "ema": (0.999, 0.0), "clip_norm": (0.0, 1.0),
        "prior": (0.0, 1.0), "corrector_first": (False, True),
    }  # fmt: skip
    assert paper["sigma_max"] == 348 and paper["steps"] == 1000 and paper["snr"] == 0.075 and paper["train_batch"] == 1


@pytest.mark.parametrize(
    "settings",
    [{"sampler": name} for name in samplers.SAMPLERS]
    + [{"sampler": "predictor-corrector", "corrector_first": True, "prior": 1.0}],
)
def test_every_sampler_serves(settings: dict[str, Any]) -> None:
    ticks: list[None] = []
    method = build(steps=3, **settings)
    restoration = restored(method, ticks)
    assert torch.isfinite(restoration).all()
    assert len(ticks) == method.calls()


def test_a_warm_start_begins_with_the_scan() -> None:
    """An untrained centred network copies its condition at high noise and keeps the noisy scan at low noise."""
    sigmas: list[torch.Tensor] = []

    def spy(joint: torch.Tensor, log_sigma: torch.Tensor) -> torch.Tensor:
        sigmas.append(log_sigma.exp())
        return torch.zeros_like(joint[:, :4])

    method = build(steps=3, sigma_start=20.0)
    method._network = spy  # type: ignore[method-assign,assignment]
    restoration = restored(method)
    assert float(sigmas[0][0]) == pytest.approx(20.0)
    assert float((restoration - 0.5).abs().mean()) < 0.05
