"""Samplers: free functions with the same leading arguments.

``denoise(x, sigma) -> x0`` takes x = x0 + sigma n (B, C, H, W) and sigma (B,). ``x`` is the start, already noised to
``sigmas[0]`` (use :func:`start`); ``sigmas`` descends and ends in 0. The state is kept in float64, because
sigma_max = 348 against intensities in [0, 1] leaves float32 too few digits. A condition lives inside ``denoise``:
it is neither noised nor part of any norm. ``tick`` is called after every network call.

Variance-preserving models are sampled by the same functions, in the coordinates x_t / sqrt(abar_t) = x0 + sigma_t n
(:class:`braincli.diffusion.vp.VP` makes such a denoiser). There :func:`ddim` is exactly DDIM and :func:`ancestral`
exactly DDPM.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from braincli.diffusion.noise import gaussian

Denoise = Callable[[Tensor, Tensor], Tensor]
Tick = Callable[[], None]  # called once after each network call
Generators = Sequence[torch.Generator]


def no_tick() -> None:
    """Nobody counts the network calls."""


def start(centre: Tensor, sigma: float, generators: Generators) -> Tensor:
    """``centre`` noised to ``sigma``. Centre 0 and sigma_max give the VE prior N(0, sigma_max^2).

    An image as centre and a smaller sigma, from which the levels then descend, are a warm start: what is coarser than
    the noise is kept. Noise hides a blob of d pixels and contrast c only where sigma is well above c d.
    """
    return centre.double() + sigma * gaussian(centre, generators).double()


def predictor_corrector(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    generators: Generators,
    tick: Tick = no_tick,
    snr: float = 0.075,
    corrector_steps: int = 1,
    corrector_first: bool = False,
) -> Tensor:
    """Reverse diffusion with Langevin corrections (Song et al. 2021, Alg. 2; TSGM Alg. 2 with its misprints mended).

    Per level one predictor step and ``corrector_steps`` Langevin steps at the level below, whose size follows
    ``snr`` and the norms of each image of the stack. Returns the mean of the last predictor step, without its noise.

    Args:
        corrector_first: correct before the predictor, at its own level, as TSGM's published code does; that is one
            correction more.
    """
    levels = list(pairwise(sigmas.tolist()))

    def correct(x: Tensor, sigma: float) -> Tensor:
        for _ in range(corrector_steps):
            score, noise = _score(denoise, x, sigma), gaussian(x, generators)
            step = 2 * (snr * _norm(noise) / _norm(score).clamp_min(1e-12)) ** 2
            x = x + step * score + (2 * step).sqrt() * noise
            tick()
        return x

    for high, low in levels:
        if corrector_first:
            x = correct(x, high)
        x_mean = x + (high**2 - low**2) * _score(denoise, x, high)
        tick()
        if low == 0:
            break
        x = x_mean + (high**2 - low**2) ** 0.5 * gaussian(x, generators)
        if not corrector_first:
            x = correct(x, low)
    return x_mean


def reverse_diffusion(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    generators: Generators,
    tick: Tick = no_tick,
) -> Tensor:
    """The predictor alone (Song et al. 2021, Eq. 46): x + dv score + sqrt(dv) z, dv the step of variance. N calls."""
    return predictor_corrector(denoise, x, sigmas, generators=generators, tick=tick, corrector_steps=0)


def euler_maruyama(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    generators: Generators,
    tick: Tick = no_tick,
) -> Tensor:
    """The reverse SDE in steps of t, g^2 dt = 2 sigma^2 d(log sigma) (Song et al. 2021, Eq. 6). N calls.

    The last step, to sigma 0, where t does not reach, is the denoiser's estimate itself.
    """
    levels = list(pairwise(sigmas.tolist()))
    for high, low in levels:
        clean = _clean(denoise, x, high)
        tick()
        if low == 0:
            return clean
        step = 2 * math.log(high / low)
        x = x + step * (clean - x) + step**0.5 * high * gaussian(x, generators)
    return x


def ddim(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    generators: Generators,
    tick: Tick = no_tick,
    eta: float = 0.0,
    noise: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """DDIM (Song, Meng and Ermon 2021, Eq. 12 and 16). N calls.

    ``eta`` 0 is deterministic: Euler steps of the probability-flow ODE. ``eta`` 1 draws from the exact posterior of
    each step: DDPM (Ho et al. 2020) for variance-preserving models, ancestral sampling for variance-exploding ones.

    Args:
        noise: gives other than Gaussian noise of its argument's shape, for models that are trained with it.
    """
    levels = list(pairwise(sigmas.tolist()))
    for high, low in levels:
        clean = _clean(denoise, x, high)
        tick()
        fresh = eta * low * (1 - (low / high) ** 2) ** 0.5
        x = clean + (low**2 - fresh**2) ** 0.5 / high * (x - clean)
        if fresh > 0:
            x = x + fresh * (gaussian(x, generators) if noise is None else noise(x).to(x))
    return x


def ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    generators: Generators,
    tick: Tick = no_tick,
    noise: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """:func:`ddim` with eta 1: noise of variance low^2 (high^2 - low^2) / high^2 at every step."""
    return ddim(denoise, x, sigmas, generators=generators, tick=tick, eta=1.0, noise=noise)


def encode(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    tick: Tick = no_tick,
    refine: int = 0,
) -> Tensor:
    """Deterministic encoder: DDIM backwards, from the image to ``sigmas[0]`` (Wolleb et al. 2022, Eq. 6).

    The same descending ``sigmas`` lead :func:`ddim` back, step by step. The slope at sigma 0, which no network is
    trained for, is taken at the smallest level. (1 + ``refine``) N calls.

    Args:
        x: (B, C, H, W) images, not noised.
        refine: fixed-point iterations that turn each step into the exact inverse of :func:`ddim`'s; few-step
            encodings need them, 1,000 steps do not.

    Returns:
        x noised to ``sigmas[0]`` deterministically, float64.
    """
    rising = sigmas.flip(0).tolist()
    smallest, x = rising[1], x.double()
    for low, high in pairwise(rising):
        sigma = max(low, smallest)
        ahead = x + (high - low) * (x - _clean(denoise, x, sigma)) / sigma
        tick()
        for _ in range(refine):
            ahead = x + (high - low) * (ahead - _clean(denoise, ahead, high)) / high
            tick()
        x = ahead
    return x


def heun(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    generators: Generators,
    tick: Tick = no_tick,
) -> Tensor:
    """Second-order deterministic sampler (Karras et al. 2022, Alg. 1). 2 N - 1 network calls."""
    levels = list(pairwise(sigmas.tolist()))
    for high, low in levels:
        slope = (x - _clean(denoise, x, high)) / high
        ahead = x + (low - high) * slope
        tick()
        if low > 0:
            slope = 0.5 * (slope + (ahead - _clean(denoise, ahead, low)) / low)
            ahead = x + (low - high) * slope
            tick()
        x = ahead
    return x


def dpm_solver_2m(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    generators: Generators,
    tick: Tick = no_tick,
) -> Tensor:
    """DPM-Solver++(2M) in its VE form (Lu et al. 2022, Alg. 2). N network calls, deterministic."""
    levels = list(pairwise(sigmas.tolist()))
    before: Tensor | None = None
    step_before = 0.0
    for high, low in levels:
        clean = _clean(denoise, x, high)
        tick()
        if low == 0:
            return clean
        step = math.log(high / low)  # in lambda = -log sigma
        blend = clean
        if before is not None:
            half = step / (2 * step_before)
            blend = (1 + half) * clean - half * before
        x = (low / high) * x + (1 - low / high) * blend
        before, step_before = clean, step
    return x


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "predictor-corrector": predictor_corrector,
    "reverse-diffusion": reverse_diffusion,
    "euler-maruyama": euler_maruyama,
    "ancestral": ancestral,
    "ddim": ddim,
    "heun": heun,
    "dpm-solver-2m": dpm_solver_2m,
}
SamplerName = Literal[
    "predictor-corrector", "reverse-diffusion", "euler-maruyama", "ancestral", "ddim", "heun", "dpm-solver-2m"
]
STOCHASTIC = ("predictor-corrector", "reverse-diffusion", "euler-maruyama", "ancestral")  # want many, geometric levels


def calls(sampler: str, steps: int, corrector_steps: int = 1, *, corrector_first: bool = False) -> int:
    """Network calls that ``sampler`` makes for ``steps`` levels."""
    if sampler == "predictor-corrector":
        return steps + (steps - (not corrector_first)) * corrector_steps
    return 2 * steps - 1 if sampler == "heun" else steps


def _clean(denoise: Denoise, x: Tensor, sigma: float) -> Tensor:
    return denoise(x, x.new_full((len(x),), sigma)).to(x)


def _score(denoise: Denoise, x: Tensor, sigma: float) -> Tensor:
    return (_clean(denoise, x, sigma) - x) / sigma**2


def _norm(x: Tensor) -> Tensor:
    return x.flatten(2).norm(dim=2)[:, :, None, None]
