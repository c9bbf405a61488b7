"""Noise levels of variance-exploding diffusion, from the largest to the smallest, with the final 0 appended."""

from __future__ import annotations

import torch
from torch import Tensor


def geometric(steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    """(steps + 1,) levels sigma_min (sigma_max / sigma_min)^((i - 1) / (N - 1)), i = N ... 1, then 0.

    The discretised VE-SDE of Song et al. 2021 (Eq. 9) and of TSGM (Wang et al. 2023, Sec. III).
    """
    if steps == 1:
        return torch.tensor([sigma_max, 0.0], dtype=torch.float64)
    ramp = torch.linspace(1, 0, steps, dtype=torch.float64)
    return _closed(sigma_min * (sigma_max / sigma_min) ** ramp)


def karras(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """(steps + 1,) levels of Karras et al. 2022 (EDM), Eq. 5, then 0."""
    if steps == 1:
        return torch.tensor([sigma_max, 0.0], dtype=torch.float64)
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _closed((high + ramp * (low - high)) ** rho)


def sigma_at(t: Tensor, sigma_min: float, sigma_max: float) -> Tensor:
    """sigma(t) = sigma_min (sigma_max / sigma_min)^t for t in [0, 1] (TSGM Eq. 5, corrected: std, exponent t)."""
    return sigma_min * (sigma_max / sigma_min) ** t


def _closed(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])
