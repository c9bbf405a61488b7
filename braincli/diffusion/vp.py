"""What the network of a variance-preserving model predicts, its losses, and the denoiser that samplers ask for.

A network takes (x_t (B, C, H, W), t (B,) float) and gives (B, C, H, W): the noise (``eps``), the image (``x0``) or the
velocity (``v``, Salimans and Ho 2022). With a learned variance (Nichol and Dhariwal 2021) it gives 2 C channels, the
second half of which places log Sigma between its two ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from braincli.diffusion.noise import gaussian
from braincli.diffusion.samplers import Denoise, Generators, Tick, no_tick
from braincli.diffusion.schedule import Schedule

Network = Callable[[Tensor, Tensor], Tensor]
Target = Literal["eps", "x0", "v"]


class VP:
    """Ties a network's output to a schedule.

    Args:
        target: what the network predicts.
        clip: range that the estimate of x0 is kept in while sampling, if any.
    """

    def __init__(self, schedule: Schedule, target: Target = "eps", clip: tuple[float, float] | None = None) -> None:
        self.schedule, self.target, self.clip = schedule, target, clip

    def training_target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network is to predict (B, C, H, W), for integer ``t`` (B,)."""
        if self.target == "v":
            return self.schedule.signal(t) * noise - self.schedule.noise(t) * x0
        return noise if self.target == "eps" else x0

    def clean(self, output: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The estimate of x0 in a network's ``output`` (C or 2 C channels) for ``x`` = x_t."""
        return self._clean(output[:, : x.shape[1]], x, self.schedule.signal(t), self.schedule.noise(t))

    def denoiser(self, network: Network) -> Denoise:
        """``denoise(x, sigma) -> x0`` with x = x0 + sigma n, for every sampler; float32 inside, x's dtype outside."""

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            signal = (1 / (1 + sigma.double() ** 2)).sqrt()[:, None, None, None]
            noise = (sigma.double()[:, None, None, None] * signal).to(x)
            scaled = x * signal.to(x)
            output = network(scaled.float(), self.schedule.time(sigma))[:, : x.shape[1]].to(x)
            return self._bounded(self._clean(output, scaled, signal.to(x), noise))

        return denoise

    def simple_loss(self, output: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Squared error of the target (B, C, H, W): L_simple of Ho et al. 2020, Eq. 14, for ``eps``."""
        return (output[:, : x0.shape[1]] - self.training_target(x0, noise, t)) ** 2

    def hybrid_loss(self, output: Tensor, x: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """L_simple plus the variational bound in bits (B, C, H, W) (Nichol and Dhariwal 2021, Eq. 16).

        The bound's single term teaches the variance alone: the mean is detached. For T = 1,000 this equals lambda =
        0.001 on the sum over all terms.

        Args:
            output: (B, 2 C, H, W). x: x_t.
        """
        return self.simple_loss(output, x0, noise, t) + self.bound(output, x, x0, t)

    def bound(self, output: Tensor, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """(B, C, H, W) KL from q(x_{t-1} | x_t, x_0) in bits; at t = 1 the likelihood of 8-bit images in [-1, 1]."""
        schedule = self.schedule
        true_mean, _ = schedule.posterior(x0, x, t)
        mean, _ = schedule.posterior(self.clean(output, x, t).detach(), x, t)
        small, _ = schedule.log_variances(t)
        log_variance = self.log_variance(output, t)
        gap = (true_mean - mean) ** 2
        divergence = 0.5 * (log_variance - small - 1 + (small - log_variance).exp() + gap * (-log_variance).exp())
        first = (t == 1)[:, None, None, None]
        return torch.where(first, -_log_likelihood(x0, mean, 0.5 * log_variance), divergence) / math.log(2)

    def log_variance(self, output: Tensor, t: Tensor, before: Tensor | None = None) -> Tensor:
        """(B, C, H, W) log Sigma: the second half of ``output``, in about [-1, 1], between posterior and beta."""
        small, large = self.schedule.log_variances(t, before)
        share = (output.chunk(2, dim=1)[1] + 1) / 2
        return share * large + (1 - share) * small

    def ddpm(
        self,
        network: Network,
        x: Tensor,
        times: Sequence[int],
        *,
        generators: Generators,
        tick: Tick = no_tick,
        gradient: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Ancestral sampling with the learned variance, in the coordinates x_t; no noise at the last step.

        Args:
            x: x_t at ``times[0]``, for example standard normal noise.
            times: descending, without 0; the process may skip levels.
            gradient: of a log probability at (x_t, t (B,)), which moves the mean by Sigma times it (classifier
                guidance; Dhariwal and Nichol 2021, Alg. 1).
        """
        for now, then in pairwise([*times, 0]):
            t, before = (torch.full((len(x),), level, device=x.device) for level in (now, then))
            output = network(x.float(), t.float()).to(x)
            mean, _ = self.schedule.posterior(self._bounded(self.clean(output, x, t)), x, t, before)
            log_variance = self.log_variance(output, t, before)
            if gradient is not None:
                mean = mean + log_variance.exp() * gradient(x, t)
            x = mean + (log_variance / 2).exp() * gaussian(x, generators) if then else mean
            tick()
        return x

    def _clean(self, output: Tensor, x: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
        if self.target == "eps":
            return (x - noise * output) / signal
        return output if self.target == "x0" else signal * x - noise * output

    def _bounded(self, x0: Tensor) -> Tensor:
        return x0 if self.clip is None else x0.clamp(*self.clip)


def _log_likelihood(x0: Tensor, mean: Tensor, log_scale: Tensor, half: float = 1 / 255) -> Tensor:
    """Log probability of the 8-bit bin around ``x0`` under a Gaussian; the outer bins reach to infinity."""
    scale = (-log_scale).exp()
    below, above = (torch.special.ndtr((x0 - mean + side * half) * scale) for side in (-1, 1))
    below = torch.where(x0 < -0.999, torch.zeros_like(below), below)
    above = torch.where(x0 > 0.999, torch.ones_like(above), above)
    return (above - below).clamp_min(1e-12).log()
