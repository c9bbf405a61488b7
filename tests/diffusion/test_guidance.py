"""Guidance raises what it should, and is Bayes' rule where it must be."""

from __future__ import annotations

import pytest
import torch

from braincli.diffusion import guidance, levels, samplers, schedule
from braincli.diffusion.vp import VP

SHAPE = (4, 1, 16, 16)


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(SHAPE[0])]


def flat(sigma: torch.Tensor) -> torch.Tensor:
    return sigma[:, None, None, None]


def prior(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """E[x0 | x] for x0 ~ N(0, 1)."""
    return x / (1 + flat(sigma) ** 2)


def likelihood(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """log p(y = 1 | x), where y = x0 + N(0, 1), up to a constant."""
    s2 = sigma**2
    mean, variance = x / (1 + flat(s2)), 1 + s2 / (1 + s2)
    return -(((1 - mean) ** 2).flatten(1).sum(dim=1)) / (2 * variance)


def test_classifier_guidance_is_bayes_rule() -> None:
    """Prior N(0, 1) and y = x0 + N(0, 1) = 1 give the posterior N(0.5, 0.5)."""
    rngs = generators()
    sigmas = levels.karras(60, 0.01, 50)
    denoise = guidance.guided(prior, likelihood, 1.0)
    x = samplers.start(torch.zeros(SHAPE), 50.0, rngs)
    with torch.inference_mode():
        sampled = samplers.heun(denoise, x.clone(), sigmas, generators=rngs)
    assert float(sampled.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(sampled.std()) == pytest.approx(0.5**0.5, abs=0.05)


@pytest.mark.parametrize(("scale", "sign"), [(3.0, 1), (-3.0, -1)])
def test_the_sign(scale: float, sign: int) -> None:
    """The score of the target class rises with guidance and falls against it, DDIM from a common start."""
    given = schedule.linear()
    sigmas = given.sigmas(given.spaced(40, last=500))
    image = torch.zeros(SHAPE)
    noisy = samplers.encode(prior, image, sigmas)

    def brightness(weight: float) -> float:
        denoise = guidance.guided(prior, likelihood, weight)
        x = samplers.ddim(denoise, noisy, sigmas, generators=generators())
        return float(likelihood(x, torch.full((SHAPE[0],), 0.0)).mean())

    assert sign * (brightness(scale) - brightness(0.0)) > 1


def test_guided_noise_is_the_published_formula() -> None:
    """eps - k sqrt(1 - abar) grad_{x_t} f of Dhariwal and Nichol, in the coordinates of x_t."""
    given, t = schedule.linear(), torch.tensor([300])
    x_t = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    a, s = given.signal(t).double(), given.noise(t).double()

    def classifier(x: torch.Tensor) -> torch.Tensor:
        return (x**3).flatten(1).sum(dim=1)

    model = VP(given).denoiser(lambda x, _: 0.3 * x)
    denoise = guidance.guided(model, lambda x, _: classifier(x * a), 7.0)
    clean = denoise(x_t / a, given.sigma(t))
    guided = 0.3 * x_t - 7.0 * s * 3 * x_t**2
    torch.testing.assert_close(clean, (x_t - s * guided) / a, rtol=1e-4, atol=1e-5)


def test_classifier_free_extrapolates() -> None:
    def conditional(x: torch.Tensor, sigma: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        assert len(x) == len(sigma) == len(label) == 2 * SHAPE[0]
        return x * 0 + torch.where(label == 0, 0.7, torch.where(label == -1, 0.5, 9.0))[:, None, None, None]

    x, sigma = torch.zeros(SHAPE), torch.ones(SHAPE[0])
    for scale, value in ((0.0, 0.5), (1.0, 0.7), (3.0, 1.1)):
        estimate = guidance.classifier_free(conditional, 0, scale)(x, sigma)
        torch.testing.assert_close(estimate, torch.full(SHAPE, value))


def test_dynamic_threshold() -> None:
    values = (
        torch.linspace(-4, 4, 101).reshape(1, 1, 1, 101).expand(1, 2, 1, 101)
        * torch.tensor([1.0, 0.2])[None, :, None, None]
    )
    bounded = guidance.dynamic_threshold(lambda x, _: x, 0.9)(values, torch.ones(1))
    assert float(bounded[:, 0].max()) == 1 and float(bounded[:, 0].min()) == -1
    torch.testing.assert_close(bounded[:, 1], values[:, 1])
