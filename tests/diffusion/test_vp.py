"""Variance-preserving diffusion against what can be computed by hand or by brute force."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from braincli.diffusion import levels, samplers, schedule
from braincli.diffusion.schedule import Schedule
from braincli.diffusion.vp import VP

LINEAR, COSINE = schedule.linear(), schedule.cosine()
MEAN, SPREAD, ROWS = 0.4, 0.25, 4
TIMES = list(range(1, 1001))


def generators(rows: int = ROWS) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(rows)]


@pytest.mark.parametrize(
    ("given", "t", "signal", "noise"),
    [
        (LINEAR, 250, 0.724, 0.690),
        (LINEAR, 500, 0.280, 0.960),
        (LINEAR, 750, 0.058, 0.998),
        (COSINE, 250, 0.920, 0.391),
        (COSINE, 500, 0.703, 0.711),
        (COSINE, 750, 0.380, 0.925),
    ],
)
def test_published_levels(given: Schedule, t: int, signal: float, noise: float) -> None:
    level = torch.tensor([t])
    assert float(given.signal(level)) == pytest.approx(signal, abs=1e-3)
    assert float(given.noise(level)) == pytest.approx(noise, abs=1e-3)


def test_ends_of_the_schedules() -> None:
    for given in (LINEAR, COSINE):
        assert given.steps == 1000
        assert given.abar[0] == 1 and (given.abar.diff() < 0).all() and given.abar[-1] < 1e-4
    assert float(1 - LINEAR.abar[1]) == pytest.approx(1e-4)
    assert float(1 - LINEAR.abar[-1] / LINEAR.abar[-2]) == pytest.approx(2e-2)
    assert round(float(LINEAR.time(COSINE.sigma(torch.tensor([500])))), 0) == 261


def test_forward_moments_are_those_of_a_thousand_small_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    given = schedule.linear(20, 1e-2, 0.2)
    x0 = torch.full((1, 1, 200, 200), 0.7)
    x = x0
    for t in range(1, 21):
        beta = float(1 - given.abar[t] / given.abar[t - 1])
        x = math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.randn(x.shape, generator=generator)
    once = given.noised(x0, torch.tensor([20]), torch.randn(x.shape, generator=generator))
    assert float(x.mean()) == pytest.approx(float(once.mean()), abs=0.02)
    assert float(x.std()) == pytest.approx(float(once.std()), abs=0.02)


def test_time_inverts_sigma() -> None:
    t = torch.tensor([1, 2, 77, 500, 999, 1000])
    for given in (LINEAR, COSINE):
        torch.testing.assert_close(given.time(given.sigma(t)), t.float(), rtol=0, atol=1e-3)
        assert given.time(torch.tensor([0.0, 1e9])).tolist() == [1, 1000]
    between = LINEAR.time((LINEAR.sigma(torch.tensor([10])) * LINEAR.sigma(torch.tensor([11]))).sqrt())
    assert float(between) == pytest.approx(10.5, abs=1e-3)


@pytest.mark.parametrize(("t", "s"), [(5, 4), (8, 3)])
def test_posterior_against_brute_force(t: int, s: int) -> None:
    """q(x_s | x_t, x_0) on a fine grid of x_s, from Bayes' rule."""
    given = schedule.linear(10, 0.05, 0.3)
    x0, xt = 0.8, -0.3
    grid = torch.linspace(-6, 6, 20001, dtype=torch.float64)
    then, step = given.abar[s], given.abar[t] / given.abar[s]
    log = -((grid - then.sqrt() * x0) ** 2) / (2 * (1 - then)) - (xt - step.sqrt() * grid) ** 2 / (2 * (1 - step))
    weight = torch.softmax(log, dim=0)
    mean = float((weight * grid).sum())
    variance = float((weight * (grid - mean) ** 2).sum())
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    centre, spread = given.posterior(x0 * one, xt * one, torch.tensor([t]), torch.tensor([s]))
    assert float(centre) == pytest.approx(mean, abs=1e-6)
    assert float(spread) == pytest.approx(variance, abs=1e-6)


def test_posterior_of_the_first_step_is_the_image() -> None:
    x0, x = torch.rand(1, 1, 2, 2), torch.rand(1, 1, 2, 2)
    mean, variance = LINEAR.posterior(x0, x, torch.tensor([1]))
    torch.testing.assert_close(mean, x0)
    assert variance == 0


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_a_perfect_network_gives_the_image_back(target: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.rand(3, 1, 4, 4, generator=generator), torch.randn(3, 1, 4, 4, generator=generator)
    t = torch.tensor([1, 400, 900])
    model = VP(LINEAR, target)
    target = model.training_target(x0, noise, t)
    x = LINEAR.noised(x0, t, noise)
    torch.testing.assert_close(model.clean(target, x, t), x0, rtol=1e-3, atol=1e-3)
    assert model.simple_loss(target, x0, noise, t).abs().max() == 0
    scaled = x / LINEAR.signal(t)
    clean = model.denoiser(lambda *_: target)(scaled.double(), LINEAR.sigma(t))
    torch.testing.assert_close(clean, x0.double(), rtol=1e-3, atol=1e-3)


def network(target: str, given: Schedule) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The best network for images from N(MEAN, SPREAD^2); two channels out, the second halfway to beta."""

    def run(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        sigma = torch.exp(torch.from_numpy(np.interp(t.numpy(), TIMES, given.sigma(torch.tensor(TIMES)).log().numpy())))
        a = (1 / (1 + sigma**2)).sqrt().to(x)[:, None, None, None]
        s = (1 - a**2).sqrt()
        x0 = MEAN + a * SPREAD**2 / (a**2 * SPREAD**2 + s**2) * (x - a * MEAN)
        noise = (x - a * x0) / s
        mean = {"eps": noise, "x0": x0, "v": a * noise - s * x0}[target]
        return torch.cat([mean, torch.full_like(x, -1.0)], dim=1)

    return run


@pytest.mark.parametrize(
    ("target", "given", "name", "steps"),
    [
        ("eps", LINEAR, "ddim", 250),
        ("v", COSINE, "ddim", 250),
        ("x0", COSINE, "ancestral", 250),
        ("eps", LINEAR, "ancestral", 250),
        ("v", LINEAR, "dpm-solver-2m", 40),
        ("eps", LINEAR, "heun", 30),
    ],
)
def test_every_sampler_serves_vp_models(target: str, given: Schedule, name: str, steps: int) -> None:
    rngs = generators()
    low, high = given.sigma(torch.tensor([1, 1000])).tolist()
    few = name in ("heun", "dpm-solver-2m")  # these want the levels of EDM, between the trained ones
    sigmas = levels.karras(steps, low, high) if few else given.sigmas(given.spaced(steps))
    x = samplers.start(torch.zeros(ROWS, 1, 32, 32), float(sigmas[0]), rngs)
    denoise = VP(given, target).denoiser(network(target, given))
    sampled = samplers.SAMPLERS[name](denoise, x, sigmas, generators=rngs)
    assert float(sampled.mean()) == pytest.approx(MEAN, abs=0.015)
    assert float(sampled.std()) == pytest.approx(SPREAD, abs=0.015)


def test_ddpm_with_learned_variance() -> None:
    """Sigma at its lower end, the posterior's variance, is right for an image that is known; here nearly so."""
    rngs = generators()
    x = torch.cat([torch.randn(1, 1, 32, 32, generator=g) for g in rngs]).double()
    times = list(range(1000, 0, -5))
    ticks: list[None] = []
    sampled = VP(LINEAR).ddpm(network("eps", LINEAR), x, times, generators=rngs, tick=lambda: ticks.append(None))
    assert float(sampled.mean()) == pytest.approx(MEAN, abs=0.015)
    assert float(sampled.std()) == pytest.approx(SPREAD, abs=0.02)
    assert len(ticks) == 200


def test_bound_is_smallest_at_the_true_posterior() -> None:
    generator = torch.Generator().manual_seed(0)
    x0, noise = 2 * torch.rand(1, 1, 8, 8, generator=generator) - 1, torch.randn(1, 1, 8, 8, generator=generator)
    model, t = VP(LINEAR), torch.tensor([300])
    x = LINEAR.noised(x0, t, noise)
    costs = [
        float(model.bound(torch.cat([noise, torch.full_like(noise, share)], 1), x, x0, t).mean())
        for share in (-1.0, 0.0, 1.0)
    ]
    assert costs[0] == pytest.approx(0, abs=1e-5)
    assert costs[0] < costs[1] < costs[2]


def test_the_bound_teaches_the_variance_alone() -> None:
    x0, noise = torch.rand(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    t = torch.tensor([1, 600])
    x = LINEAR.noised(x0, t, noise)
    output = torch.zeros(2, 2, 4, 4, requires_grad=True)
    VP(LINEAR).bound(output, x, x0, t).sum().backward()
    assert output.grad is not None and torch.isfinite(output.grad).all()
    assert not output.grad[:, 0].any() and output.grad[:, 1].any()
    hybrid = VP(LINEAR).hybrid_loss(output, x, x0, noise, t)
    assert hybrid.shape == x0.shape and (hybrid > VP(LINEAR).simple_loss(output, x0, noise, t)).any()


def test_likelihood_of_the_first_step_is_a_probability() -> None:
    """Summed over all 256 grey values it is 1: log2 of a mean over them is bounded by it."""
    values = torch.linspace(-1, 1, 256)[:, None, None, None]
    t = torch.ones(256, dtype=torch.long)
    x = torch.zeros_like(values)
    bits = VP(LINEAR, "x0").bound(torch.cat([x + 0.2, x], 1), x, values, t)
    assert float((2**-bits).sum()) == pytest.approx(1, abs=1e-3)
