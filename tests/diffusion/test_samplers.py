"""Samplers against an analytic Gaussian, whose denoiser is exact."""

from __future__ import annotations

import pytest
import torch

from braincli.diffusion import levels, samplers, schedule

MEAN, SPREAD, ROWS = 0.4, 0.15, 3


def exact(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """E[x0 | x] for x0 ~ N(MEAN, SPREAD^2)."""
    share = SPREAD**2 / (SPREAD**2 + sigma[:, None, None, None] ** 2)
    return MEAN + share * (x - MEAN)


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(ROWS)]


def sample(name: str, sigmas: torch.Tensor) -> torch.Tensor:
    rngs = generators()
    x = samplers.start(torch.zeros(ROWS, 1, 48, 48), float(sigmas[0]), rngs)
    name, _, first = name.partition(" ")
    extra = {"corrector_first": True} if first else {}
    return samplers.SAMPLERS[name](exact, x, sigmas, generators=rngs, **extra)


@pytest.mark.parametrize(
    ("name", "sigmas", "spread", "tolerance"),
    [
        ("predictor-corrector", levels.geometric(1000, 0.01, 348), 0.150, 0.005),
        ("predictor-corrector", levels.geometric(1000, 0.1, 348), 0.125, 0.005),  # the last step removes real variance
        ("predictor-corrector first", levels.geometric(1000, 0.01, 348), 0.150, 0.005),
        ("reverse-diffusion", levels.geometric(1000, 0.01, 348), 0.150, 0.005),
        ("euler-maruyama", levels.geometric(1000, 0.01, 348), 0.150, 0.006),
        ("ancestral", levels.geometric(1000, 0.01, 348), 0.150, 0.005),
        ("ancestral", levels.geometric(100, 0.01, 348), 0.143, 0.005),
        ("ddim", levels.karras(300, 0.01, 348), 0.150, 0.005),
        ("heun", levels.karras(40, 0.01, 348), 0.152, 0.005),
        ("heun", levels.karras(18, 0.01, 348), 0.168, 0.006),
        ("dpm-solver-2m", levels.karras(40, 0.01, 348), 0.150, 0.008),
    ],
)
def test_samplers_recover_a_gaussian(name: str, sigmas: torch.Tensor, spread: float, tolerance: float) -> None:
    sampled = sample(name, sigmas)
    assert float(sampled.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(sampled.std()) == pytest.approx(spread, abs=tolerance)
    assert abs(float((sampled[:, :, 1:] * sampled[:, :, :-1]).mean() - sampled.mean() ** 2)) < 2e-3, (
        "pixels stay independent"
    )


def test_the_prior_has_the_largest_sigma() -> None:
    x = samplers.start(torch.zeros(ROWS, 1, 64, 64), 348.0, generators())
    assert float(x.std()) == pytest.approx(348, rel=0.01)
    assert x.dtype == torch.float64


def test_levels_descend_to_zero() -> None:
    for sigmas in (levels.geometric(10, 0.01, 348), levels.karras(10, 0.01, 348)):
        assert len(sigmas) == 11
        assert sigmas[0] == pytest.approx(348)
        assert sigmas[-2] == pytest.approx(0.01)
        assert sigmas[-1] == 0
        assert (sigmas.diff() < 0).all()
    assert levels.karras(1, 0.01, 5.0).tolist() == [5.0, 0.0]
    ramp = levels.geometric(1000, 0.01, 348)[:-1].flip(0)
    assert float((ramp[1:] ** 2 - ramp[:-1] ** 2).sum()) == pytest.approx(348**2 - 0.01**2)


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
def test_rows_do_not_depend_on_their_batch_and_calls_are_counted(name: str) -> None:
    sigmas = levels.karras(5, 0.01, 348)
    ticks: list[None] = []
    rngs = generators()
    x = samplers.start(torch.zeros(ROWS, 1, 8, 8), 348.0, rngs)
    whole = samplers.SAMPLERS[name](exact, x, sigmas, generators=rngs, tick=lambda: ticks.append(None))
    alone_rngs = generators()[2:3]
    alone = samplers.start(torch.zeros(1, 1, 8, 8), 348.0, alone_rngs)
    alone = samplers.SAMPLERS[name](exact, alone, sigmas, generators=alone_rngs)
    torch.testing.assert_close(alone[0], whole[2], rtol=1e-10, atol=1e-10)
    calls = samplers.calls(name, 5)
    assert len(ticks) == calls


COVARIANCE = torch.tensor([[0.04, 0.03], [0.03, 0.09]], dtype=torch.float64)
CENTRE = torch.tensor([0.4, -0.1], dtype=torch.float64)


def correlated(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """E[x0 | x] of a Gaussian whose two channels are correlated."""
    share = COVARIANCE @ torch.linalg.inv(COVARIANCE + sigma[0] ** 2 * torch.eye(2))
    centre = CENTRE[None, :, None, None]
    return centre + torch.einsum("ij,bjhw->bihw", share, x - centre)


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
def test_samplers_recover_a_covariance(name: str) -> None:
    sigmas = (levels.geometric if name in samplers.STOCHASTIC else levels.karras)(150, 0.01, 20)
    rngs = generators()
    x = samplers.start(torch.zeros(ROWS, 2, 64, 64), 20.0, rngs)
    pixels = samplers.SAMPLERS[name](correlated, x, sigmas, generators=rngs).transpose(0, 1).flatten(1)
    torch.testing.assert_close(pixels.mean(dim=1), CENTRE, rtol=0, atol=0.02)
    torch.testing.assert_close(pixels.cov(), COVARIANCE, rtol=0.06, atol=0.002)


def test_a_warm_start_keeps_what_is_coarser_than_the_noise() -> None:
    """From the right distribution at an intermediate sigma, samplers end in the same distribution, near their start."""
    rngs = generators()
    image = MEAN + SPREAD * torch.randn(ROWS, 1, 64, 64, generator=torch.Generator().manual_seed(9))
    x = samplers.start(image, 0.05, rngs)
    sampled = samplers.heun(exact, x, levels.karras(10, 0.01, 0.05), generators=rngs)
    assert float(sampled.std()) == pytest.approx(SPREAD, abs=0.005)
    assert float((sampled - image).std()) < 0.06


def test_ddim_there_and_back() -> None:
    """T = 1,000 Euler steps round-trip within 0.005; refined steps are exact inverses, however few."""
    image = 0.4 + 0.25 * torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))

    def clean(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return 0.4 + 0.0625 / (0.0625 + sigma[:, None, None, None] ** 2) * (x - 0.4)

    for times, refine in ((range(1000, 0, -1), 0), (range(500, 0, -1), 0), (range(500, 0, -20), 30)):
        sigmas = schedule.linear().sigmas(list(times))
        noisy = samplers.encode(clean, image, sigmas, refine=refine)
        sampled = samplers.ddim(clean, noisy, sigmas, generators=generators()[:2])
        assert float((sampled - image).abs().mean()) < 0.005, times
        assert float(noisy.std()) == pytest.approx(float((sigmas[0] ** 2 + 0.0625).sqrt()), rel=0.15)
