"""Structural similarity (Wang et al. 2004) as a map that gradients pass through."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def ssim(x: Tensor, y: Tensor, *, window: int = 11, sigma: float = 1.5, span: float = 1.0) -> Tensor:
    """SSIM of every channel by itself, with a Gaussian window.

    Args:
        x, y: (B, C, H, W).
        window: width in pixels, odd; borders are replicated.
        sigma: of the window, in pixels.
        span: range of values that the two constants are made for.

    Returns:
        (B, C, H, W) in [-1, 1]: 1 where both are alike.
    """
    with torch.autocast(x.device.type, enabled=False):  # variances are small differences of large sums
        return _ssim(x.float(), y.float(), window, sigma, span)


def _ssim(x: Tensor, y: Tensor, window: int, sigma: float, span: float) -> Tensor:
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mean_x, mean_y, xx, yy, xy = (_blurred(part, window, sigma) for part in (x, y, x * x, y * y, x * y))
    # variances that rounding makes negative would leave the range
    var_x, var_y = (xx - mean_x**2).clamp_min(0), (yy - mean_y**2).clamp_min(0)
    numerator = (2 * mean_x * mean_y + c1) * (2 * (xy - mean_x * mean_y) + c2)
    return (numerator / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).clamp(-1, 1)


def _blurred(x: Tensor, window: int, sigma: float) -> Tensor:
    c, half = x.shape[1], window // 2
    offset = torch.arange(window, dtype=x.dtype, device=x.device) - half
    weights = torch.exp(-0.5 * (offset / sigma) ** 2)
    row = (weights / weights.sum()).expand(c, 1, 1, window)
    x = F.pad(x, (half, half, half, half), mode="replicate")
    return F.conv2d(F.conv2d(x, row, groups=c), row.mT, groups=c)
