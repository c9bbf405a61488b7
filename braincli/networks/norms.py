"""Group and instance normalisation that keep a GPU's layout and its 16 bits.

PyTorch normalises on a GPU in channels-first order and, under autocast, groups in float32: both ways the activation is
copied. Of a large one that costs more than the convolutions around it, so that here two reductions and one multiply-add
read and write it as it lies, with sums in float32. Small ones cost a GPU the number of its kernels, of which PyTorch
needs fewer; they keep their 16 bits alone. On a CPU PyTorch's own kernels are used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW = 1024  # pixels
LARGE = 2**25  # elements, from which on copies cost a GPU more than kernels


class GroupNorm(nn.GroupNorm):
    """Group normalisation; on a CPU by way of float32 where 16 bits are slow there, with the same result to the bit.

    Below :data:`FEW` pixels torch's channels-last kernel takes five times as long in bfloat16 as in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, of the same type."""
        return _grouped(x, self.num_groups, self.weight, self.bias, self.eps)


class InstanceNorm2d(nn.InstanceNorm2d):
    """Instance normalisation without running statistics, and without parameters unless they are asked for.

    As groups of one channel: PyTorch's own reshapes to a batch normalisation and back, which takes up to twice as long.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, of the same type."""
        return _grouped(x, x.shape[1], self.weight, self.bias, self.eps)


def _grouped(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Group normalisation by whatever is fast for such an ``x``."""
    if x.device.type == "cuda":
        if x.numel() >= LARGE:
            return normalised(x, groups, weight, bias, eps)
        with torch.autocast("cuda", enabled=False):
            weight, bias = (part if part is None else part.to(x.dtype) for part in (weight, bias))
            return F.group_norm(x, groups, weight, bias, eps)
    if x.device.type == "cpu" and x.dtype is torch.bfloat16 and x[0, 0].numel() < FEW:
        return F.group_norm(x.float(), groups, weight, bias, eps).to(x.dtype)
    return F.group_norm(x, groups, weight, bias, eps)


def normalised(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Group normalisation of ``x`` (B, C, H, W) in its own type and layout, whatever autocast says.

    Args:
        weight, bias: (C,) float32, or None.
    """
    with torch.autocast(x.device.type, enabled=False):
        output: Tensor = _Normalise.apply(x, groups, weight, bias, eps)  # type: ignore[no-untyped-call]
    return output


class _Normalise(torch.autograd.Function):
    """y = a x + b with a, b (B, C, 1, 1) from the moments of each group; the gradient has the same form in dy and x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        mean, scale = _moments(x, groups, eps)
        ctx.save_for_backward(x, mean, scale, weight)
        ctx.groups, ctx.eps = groups, eps
        slope = _per_channel(scale, x) if weight is None else _per_channel(scale, x) * weight
        shift = -_per_channel(mean, x) * slope
        return _affine(x, slope, shift if bias is None else shift + bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        with torch.autocast(gradients[0].device.type, enabled=False):  # it is on where a penalty asks for gradients
            return _gradient(ctx, *gradients)


def _gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    """With the normalised z: dx = scale (w dy - mean(w dy) - z mean(w dy z)), means over each group."""
    x, mean, scale, weight = ctx.saved_tensors
    if torch.is_grad_enabled():  # a gradient of this gradient is wanted: the moments depend on x
        mean, scale = _moments(x, ctx.groups, ctx.eps)
    count = x[0].numel() // ctx.groups
    mean, scale = (_per_channel(part, x) for part in (mean, scale))
    sum_dy = _sum(dy)
    sum_dy_z = (_sum(dy * x) - mean * sum_dy) * scale
    level, tilt = (
        _per_channel(_by_group(part if weight is None else part * weight, ctx.groups) / count, x)
        for part in (sum_dy, sum_dy_z)
    )
    inner = _affine(x, -(scale**2) * tilt, scale * (mean * scale * tilt - level))
    dx = _affine(dy, scale if weight is None else scale * weight, inner)
    d_weight = None if weight is None else sum_dy_z.sum(dim=0).to(weight.dtype)
    d_bias = sum_dy.sum(dim=0) if ctx.needs_input_grad[3] else None
    return dx, None, d_weight, d_bias, None


def _moments(x: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor]:
    """(B, groups) mean, and 1 / deviation, of each group."""
    square = torch.linalg.vector_norm(x, dim=(2, 3), dtype=_wide(x)) ** 2
    mean, square = (_by_group(part, groups) / (x[0].numel() // groups) for part in (_sum(x), square))
    return mean, (square - mean**2).clamp_min(0).add(eps).rsqrt()


def _affine(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    """``slope`` (B, C) times x, plus ``shift`` (B, C) or like x: computed in float32, written in x's type."""
    slope, shift = (part[:, :, None, None] if part.ndim == 2 else part for part in (slope, shift))
    if torch.is_grad_enabled():
        return torch.addcmul(shift.to(slope), x.to(slope), slope).to(x.dtype)
    return torch.addcmul(shift, x, slope, out=torch.empty_like(x))  # one pass on a GPU


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _sum(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C), in float32."""
    return x.sum(dim=(2, 3), dtype=_wide(x))


def _by_group(values: Tensor, groups: int) -> Tensor:
    """(B, C) -> (B, groups), summed."""
    return values.unflatten(1, (groups, -1)).sum(dim=2)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """(B, groups) -> (B, C)."""
    return values.repeat_interleave(like.shape[1] // values.shape[1], dim=1)
