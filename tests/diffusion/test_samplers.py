"""Samplers against an analytic Gaussian, whose denoiser is exact."""

from __future__ import annotations

import pytest
import torch

from braincli.diffusion import levels, samplers

MEAN, SPREAD, ROWS = 0.4, 0.15, 8


def exact(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """E[x0 | x] for x0 ~ N(MEAN, SPREAD^2)."""
    share = SPREAD**2 / (SPREAD**2 + sigma[:, None, None, None] ** 2)
    return MEAN + share * (x - MEAN)


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(ROWS)]


def sample(name: str, sigmas: torch.Tensor) -> torch.Tensor:
    drawn = generators()
    x = samplers.start(torch.zeros(ROWS, 1, 32, 32), float(sigmas[0]), drawn)
    return samplers.SAMPLERS[name](exact, x, sigmas, generators=drawn)


@pytest.mark.parametrize(
    ("name", "sigmas", "spread", "tolerance"),
    [
        ("predictor-corrector", levels.geometric(1000, 0.01, 348), 0.150, 0.005),
        ("predictor-corrector", levels.geometric(1000, 0.1, 348), 0.125, 0.005),  # the last step removes real variance
        ("heun", levels.karras(40, 0.01, 348), 0.152, 0.005),
        ("heun", levels.karras(18, 0.01, 348), 0.168, 0.006),
        ("dpm-solver-2m", levels.karras(40, 0.01, 348), 0.150, 0.008),
    ],
)
def test_samplers_recover_a_gaussian(name: str, sigmas: torch.Tensor, spread: float, tolerance: float) -> None:
    found = sample(name, sigmas)
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(found.std()) == pytest.approx(spread, abs=tolerance)
    assert abs(float((found[:, :, 1:] * found[:, :, :-1]).mean() - found.mean() ** 2)) < 2e-3, "pixels stay independent"


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
    told: list[tuple[int, int]] = []
    drawn = generators()
    x = samplers.start(torch.zeros(ROWS, 1, 8, 8), 348.0, drawn)
    whole = samplers.SAMPLERS[name](exact, x, sigmas, generators=drawn, callback=lambda *a: told.append(a))
    alone_drawn = generators()[3:4]
    alone = samplers.start(torch.zeros(1, 1, 8, 8), 348.0, alone_drawn)
    alone = samplers.SAMPLERS[name](exact, alone, sigmas, generators=alone_drawn)
    torch.testing.assert_close(alone[0], whole[3], rtol=1e-10, atol=1e-10)
    calls = samplers.calls(name, 5)
    assert told == [(index + 1, calls) for index in range(calls)]
