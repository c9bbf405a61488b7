"""Halving and doubling of the resolution with the filter [1, 3, 3, 1] (Zhang 2019; StyleGAN2; NCSN++).

The filter is separable and linear. A CPU is fastest with a convolution of every channel by itself. A GPU's kernels for
those use a tenth of it; there either axis is multiplied with a banded matrix, which its tensor cores do as fast as they
can read.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

TAPS = (1.0, 3.0, 3.0, 1.0)


def halved(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H/2, W/2); 0 beyond the border."""
    if x.device.type == "cuda":
        return by_matrix(x, halving=True)
    return F.conv2d(x, _kernel(x.dtype, x.device).expand(x.shape[1], 1, -1, -1), stride=2, padding=1, groups=x.shape[1])


def doubled(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W); 0 beyond the border."""
    if x.device.type == "cuda":
        return by_matrix(x, halving=False)
    kernel = 4 * _kernel(x.dtype, x.device).expand(x.shape[1], 1, -1, -1)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


def by_matrix(x: Tensor, *, halving: bool) -> Tensor:
    """:func:`halved` or :func:`doubled` as two products; the result is laid out channels last."""
    b, c, h, w = x.shape
    rows, columns = (_matrix(length, halving, x.dtype, x.device) for length in (h, w))
    x = x.permute(0, 2, 3, 1).reshape(b * h, w, c)
    x = torch.bmm(columns.expand(b * h, -1, -1), x).reshape(b, h, -1)
    x = torch.bmm(rows.expand(b, -1, -1), x)
    return x.view(b, len(rows), len(columns), c).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _matrix(length: int, halving: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(length / 2, length) or (2 length, length): the filter along one axis."""
    taps = torch.tensor(TAPS) / sum(TAPS)
    if halving:
        matrix = torch.zeros(length // 2, length + 2)
        for row in range(length // 2):
            matrix[row, 2 * row : 2 * row + 4] = taps
        return matrix[:, 1:-1].to(device, dtype).contiguous()
    return 2 * _matrix(2 * length, True, dtype, device).mT.contiguous()


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _kernel(dtype: torch.dtype, device: torch.device) -> Tensor:
    """(4, 4) of sum 1."""
    taps = torch.tensor(TAPS)
    kernel = taps[:, None] * taps[None]
    return (kernel / kernel.sum()).to(device, dtype)
