"""GMVAE: size, divergences against torch, and a restoration that follows its energy downhill."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from braincli.methods import registry
from braincli.methods.gmvae import GMVAE, gaussian_divergence, responsibilities, variation

SIZE = (32, 24)


def build(**settings: object) -> GMVAE:
    torch.manual_seed(0)
    method = registry.build("gmvae", preset="tiny", settings=settings, size=SIZE)
    assert isinstance(method, GMVAE)
    return method.eval()


def test_paper_size() -> None:
    with torch.device("meta"):
        method = registry.build("gmvae", preset="paper", size=(128, 128))
    assert round(sum(p.numel() for p in method.parameters()), -4) == 1_770_000


def test_divergences_and_responsibilities_are_those_of_torch() -> None:
    torch.manual_seed(0)
    mean, log_sigma, means, log_sigmas = (torch.randn(*s) * 0.5 for s in ((2, 5), (2, 5), (2, 3, 5), (2, 3, 5)))
    own = Independent(Normal(mean[:, None].expand(2, 3, 5), log_sigma.exp()[:, None].expand(2, 3, 5)), 1)
    components = Independent(Normal(means, log_sigmas.exp()), 1)
    torch.testing.assert_close(gaussian_divergence(mean, log_sigma, means, log_sigmas), kl_divergence(own, components))
    expected = torch.softmax(components.log_prob(mean[:, None]), dim=1)
    torch.testing.assert_close(responsibilities(mean, means, log_sigmas), expected)


def test_uneven_components_cost_nothing_below_the_free_amount() -> None:
    rows = torch.rand(3, 4, *SIZE)
    with torch.no_grad():
        free, more = (build(free=amount).likelihood(rows)[1] for amount in (3.0, 5.0))
    torch.testing.assert_close(more - free, torch.full((3,), 2.0))  # three components differ by log 3 at most


def test_variation_counts_edges() -> None:
    image = torch.zeros(1, 1, 6, 6)
    image[..., 2:4, 2:4] = 0.5
    assert variation(image).item() == 8 * 0.5
    assert variation(image, soft=1e-3).item() == pytest.approx(8 * 0.5, rel=0.01)
    assert variation(torch.ones(1, 1, 6, 6)).item() == 0


def test_restoration_lowers_the_energy_and_variation_weight_calms_it() -> None:
    torch.manual_seed(1)
    brain = torch.ones(2, 1, *SIZE, dtype=torch.bool)
    image = 0.3 + 0.4 * torch.rand(2, 4, *SIZE)
    ticks: list[None] = []
    free, held = (build(steps=8, step=0.01, soft=0.1, variation_weight=weight) for weight in (0.0, 1.8))
    noise = [torch.Generator()] * 2
    with torch.inference_mode():
        restored = free.predict(image, brain, noise, lambda: ticks.append(None)).restored
        calm = held.predict(image, brain, noise).restored
    assert restored is not None and calm is not None
    assert len(ticks) == free.calls() == 8
    with torch.no_grad():
        inside = brain.expand_as(image)
        assert free.energy(restored, image, inside) < free.energy(image, image, inside)
    assert variation(calm - image) < 0.8 * variation(restored - image)
    assert all(p.grad is None for p in free.parameters()), "the network is not trained by predicting"


def test_a_restoration_does_not_depend_on_autocast() -> None:
    """Its steps follow signs: in 16 bits another path is taken, and pixels end up to 1 apart."""
    torch.manual_seed(0)
    method = registry.build("gmvae", preset="tiny", channels=4, size=(32, 32)).eval()
    image, brain = torch.rand(2, 4, 32, 32), torch.ones(2, 1, 32, 32, dtype=torch.bool)
    with torch.inference_mode():
        plain = method.predict(image, brain, [torch.Generator()] * 2).restored
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = method.predict(image, brain, [torch.Generator()] * 2).restored
    assert plain is not None and mixed is not None
    assert torch.equal(plain, mixed)
