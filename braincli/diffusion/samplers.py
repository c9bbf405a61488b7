"""Samplers of variance-exploding diffusion: free functions with the same leading arguments.

``denoise(x, sigma) -> x0`` takes x (B, C, H, W) and sigma (B,). ``x`` is the start, already noised to
``sigmas[0]`` (use :func:`start`); ``sigmas`` descends and ends in 0. The state is kept in float64, because
sigma_max = 348 against intensities in [0, 1] leaves float32 too few digits. A condition lives inside ``denoise``:
it is neither noised nor part of any norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from braincli.diffusion.noise import gaussian

Denoise = Callable[[Tensor, Tensor], Tensor]
Callback = Callable[[int, int], None]
Generators = Sequence[torch.Generator]


def start(centre: Tensor, sigma: float, generators: Generators) -> Tensor:
    """``centre`` noised to ``sigma``. Centre 0 and sigma_max give the VE prior N(0, sigma_max^2)."""
    return centre.double() + sigma * gaussian(centre, generators).double()


def predictor_corrector(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    generators: Generators,
    callback: Callback | None = None,
    snr: float = 0.075,
    corrector_steps: int = 1,
) -> Tensor:
    """Reverse diffusion with Langevin corrections (Song et al. 2021, Alg. 2; TSGM Alg. 2 with its misprints mended).

    Per level one predictor step and ``corrector_steps`` Langevin steps at the level below, whose size follows
    ``snr`` and the norms of each image of the stack. Returns the mean of the last predictor step, without its noise.
    """
    levels = list(pairwise(sigmas.tolist()))
    total, done = len(levels) + (len(levels) - 1) * corrector_steps, 0
    x_mean = x
    for high, low in levels:
        x_mean = x + (high**2 - low**2) * _score(denoise, x, high)
        x = x_mean + (high**2 - low**2) ** 0.5 * gaussian(x, generators)
        done = _tell(callback, done, total)
        if low == 0:
            break
        for _ in range(corrector_steps):
            score, noise = _score(denoise, x, low), gaussian(x, generators)
            step = 2 * (snr * _norm(noise) / _norm(score).clamp_min(1e-12)) ** 2
            x = x + step * score + (2 * step).sqrt() * noise
            done = _tell(callback, done, total)
    return x_mean


def heun(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    generators: Generators,
    callback: Callback | None = None,
) -> Tensor:
    """Second-order deterministic sampler (Karras et al. 2022, Alg. 1). 2 N - 1 network calls."""
    levels = list(pairwise(sigmas.tolist()))
    total, done = 2 * len(levels) - 1, 0
    for high, low in levels:
        slope = (x - _clean(denoise, x, high)) / high
        ahead = x + (low - high) * slope
        done = _tell(callback, done, total)
        if low > 0:
            slope = 0.5 * (slope + (ahead - _clean(denoise, ahead, low)) / low)
            ahead = x + (low - high) * slope
            done = _tell(callback, done, total)
        x = ahead
    return x


def dpm_solver_2m(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    generators: Generators,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M) in its VE form (Lu et al. 2022, Alg. 2). N network calls, deterministic."""
    levels = list(pairwise(sigmas.tolist()))
    before: Tensor | None = None
    step_before = 0.0
    for index, (high, low) in enumerate(levels):
        clean = _clean(denoise, x, high)
        _tell(callback, index, len(levels))
        if low == 0:
            return clean
        step = torch.log(torch.tensor(high / low, dtype=torch.float64)).item()  # in lambda = -log sigma
        blend = clean
        if before is not None:
            half = step / (2 * step_before)
            blend = (1 + half) * clean - half * before
        x = (low / high) * x + (1 - low / high) * blend
        before, step_before = clean, step
    return x


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "predictor-corrector": predictor_corrector,
    "heun": heun,
    "dpm-solver-2m": dpm_solver_2m,
}


def calls(sampler: str, steps: int, corrector_steps: int = 1) -> int:
    """Network calls that ``sampler`` makes for ``steps`` levels."""
    return {
        "predictor-corrector": steps + (steps - 1) * corrector_steps,
        "heun": 2 * steps - 1,
        "dpm-solver-2m": steps,
    }[sampler]


def _clean(denoise: Denoise, x: Tensor, sigma: float) -> Tensor:
    return denoise(x, x.new_full((len(x),), sigma)).to(x)


def _score(denoise: Denoise, x: Tensor, sigma: float) -> Tensor:
    return (_clean(denoise, x, sigma) - x) / sigma**2


def _norm(x: Tensor) -> Tensor:
    return x.flatten(2).norm(dim=2)[:, :, None, None]


def _tell(callback: Callback | None, done: int, total: int) -> int:
    if callback is not None:
        callback(done + 1, total)
    return done + 1
