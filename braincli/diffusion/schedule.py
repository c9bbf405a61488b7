"""Noise levels of variance-preserving diffusion (DDPM): x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) n, t = 0 ... T.

t = 0 is the clean image, abar_0 = 1; networks are trained for t = 1 ... T. The same level in the coordinates of
:mod:`braincli.diffusion.samplers`, x_t / sqrt(abar_t) = x_0 + sigma_t n, has sigma_t = sqrt(1 / abar_t - 1).
Cosine t = 500 is as noisy as linear t = 261 (T = 1,000): a level means nothing without its schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

ScheduleName = Literal["linear", "cosine"]


@dataclass(frozen=True)
class Schedule:
    """Cumulative signal of a diffusion process.

    Attributes:
        abar: (T + 1,) float64, product of 1 - beta up to t; abar[0] = 1.
    """

    abar: Tensor
    _copies: dict[torch.device, Tensor] = field(default_factory=dict, repr=False, compare=False)  # by device

    @property
    def steps(self) -> int:
        """T."""
        return len(self.abar) - 1

    def signal(self, t: Tensor) -> Tensor:
        """(B, 1, 1, 1) float32 sqrt(abar_t) for integer ``t`` (B,)."""
        return _column(self._at(t).sqrt().float())

    def noise(self, t: Tensor) -> Tensor:
        """(B, 1, 1, 1) float32 sqrt(1 - abar_t)."""
        return _column((1 - self._at(t)).sqrt().float())

    def noised(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t, from ``x0`` and ``noise`` (B, C, H, W) and integer ``t`` (B,)."""
        return self.signal(t) * x0 + self.noise(t) * noise

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 / abar_t - 1), float64, of ``t``'s shape; 0 at t = 0."""
        return (1 / self._at(t) - 1).sqrt()

    def sigmas(self, times: Sequence[int]) -> Tensor:
        """Levels for a sampler that visits the descending ``times`` (without 0): (n + 1,) float64, the last one 0."""
        return self.sigma(torch.tensor([*times, 0]))

    def time(self, sigma: Tensor) -> Tensor:
        """Fractional t in [1, T], float32, whose level is ``sigma`` (log sigma is interpolated); of its shape.

        Levels beyond the trained ones take the nearest of them.
        """
        table = self.sigma(torch.arange(1, self.steps + 1, device=sigma.device)).log()
        wanted = sigma.double().clamp_min(1e-12).log().clamp(table[0], table[-1])
        above = torch.searchsorted(table, wanted.contiguous()).clamp(1, self.steps - 1)
        low, high = table[above - 1], table[above]
        return (above + (wanted - low) / (high - low)).float()

    def spaced(self, steps: int, last: int | None = None) -> list[int]:
        """``steps`` times spread evenly from ``last`` (default T) down to 1."""
        last = last or self.steps
        times = torch.linspace(last, 1, min(steps, last), dtype=torch.float64).round().long()
        return times.tolist() if steps > 1 else [last]

    def posterior(self, x0: Tensor, x: Tensor, t: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean (B, C, H, W) and variance (B, 1, 1, 1) of q(x_s | x_t, x_0), s = ``before`` < t (default t - 1).

        Ho et al. 2020, Eq. 6-7, for any two levels of the process; the variance is 0 at s = 0.
        """
        now, then = self._at(t), self._at(t - 1 if before is None else before)
        step = now / then  # alpha
        left, right = then.sqrt() * (1 - step) / (1 - now), step.sqrt() * (1 - then) / (1 - now)
        variance = (1 - then) / (1 - now) * (1 - step)
        return _column(left.to(x)) * x0 + _column(right.to(x)) * x, _column(variance.to(x))

    def log_variances(self, t: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log of the posterior's variance and of beta (B, 1, 1, 1), the ends between which learned variances lie.

        Nichol and Dhariwal 2021, Eq. 15. Where the posterior's is 0 (s = 0), that of the next level stands in for it.
        """
        s = t - 1 if before is None else before
        now, then = self._at(t), self._at(s)
        beta = 1 - now / then
        small = (1 - then) / (1 - now) * beta
        first, second = self.abar[1].item(), self.abar[2].item()
        least = (1 - first) / (1 - second) * (1 - second / first)
        small = torch.where(s > 0, small, torch.full_like(small, least))
        return _column(small.log().float()), _column(beta.log().float())

    def _at(self, t: Tensor) -> Tensor:
        if t.device not in self._copies:
            with torch.inference_mode(False):
                self._copies[t.device] = self.abar.to(t.device)
        return self._copies[t.device][t]


def linear(steps: int = 1000, first: float = 1e-4, last: float = 2e-2) -> Schedule:
    """beta rises linearly (Ho et al. 2020)."""
    return _from_betas(torch.linspace(first, last, steps, dtype=torch.float64))


def cosine(steps: int = 1000, offset: float = 0.008) -> Schedule:
    """abar falls like a squared cosine, with beta at most 0.999 (Nichol and Dhariwal 2021, Eq. 17)."""
    ramp = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    curve = torch.cos((ramp + offset) / (1 + offset) * math.pi / 2) ** 2
    return _from_betas((1 - curve[1:] / curve[:-1]).clamp_max(0.999))


def named(name: ScheduleName, steps: int = 1000) -> Schedule:
    """``linear`` or ``cosine`` with ``steps`` levels."""
    return linear(steps) if name == "linear" else cosine(steps)


def _from_betas(betas: Tensor) -> Schedule:
    return Schedule(torch.cat([betas.new_ones(1), torch.cumprod(1 - betas, dim=0)]))


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]
