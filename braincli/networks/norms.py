"""Group and instance normalisation, with what networks do just before and after it.

PyTorch normalises on a GPU in channels-first order and, under autocast, groups in float32: both ways the activation is
copied, which costs more than the convolutions around it. There our own kernels read and write it as it lies
(:mod:`braincli.networks.gpu`). Small ones cost a GPU the number of its kernels, which PyTorch's are not much more
than; they, and GPUs without Triton, keep their 16 bits alone. On a CPU PyTorch's own kernels are used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.networks.activations import ACTIVATIONS, Activation

FEW = 1024  # pixels
LARGE = 2**18  # elements, from which on our kernels are worth their start
OFTEN = 2**5  # times as many where no gradient is wanted: a few passes alone are not worth to compile them
TYPES = (torch.float32, torch.bfloat16, torch.float16)


class GroupNorm(nn.GroupNorm):
    """Group normalisation; on a CPU by way of float32 where 16 bits are slow there, with the same result to the bit.

    Below :data:`FEW` pixels torch's channels-last kernel takes five times as long in bfloat16 as in float32.
    """

    def forward(self, x: Tensor, shift: Tensor | None = None, then: Activation = "") -> Tensor:
        """(B, C, H, W) -> the same, of the same type: of ``x + shift`` (B, C) or (1, C), and what follows."""
        return _grouped(x, self.num_groups, self.weight, self.bias, self.eps, shift, then)


class InstanceNorm2d(nn.InstanceNorm2d):
    """Instance normalisation without running statistics, and without parameters unless they are asked for.

    As groups of one channel: PyTorch's own reshapes to a batch normalisation and back, which takes up to twice as long.
    """

    def forward(self, x: Tensor, shift: Tensor | None = None, then: Activation = "") -> Tensor:
        """(B, C, H, W) -> the same, as of :class:`GroupNorm`."""
        return _grouped(x, x.shape[1], self.weight, self.bias, self.eps, shift, then)


def fused(x: Tensor) -> bool:
    """Whether our own kernels take ``x`` (B, C, H, W)."""
    return (
        x.device.type == "cuda"
        and x.numel() >= (LARGE if torch.is_grad_enabled() else OFTEN * LARGE)
        and x.dtype in TYPES
        and x.is_contiguous(memory_format=torch.channels_last)
        and _passes() is not None
    )


def bare(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """The convolution without its bias, which cuDNN would add in a pass of its own."""
    if isinstance(layer, nn.ConvTranspose2d):
        padding: Any = layer.padding
        return F.conv_transpose2d(
            x, layer.weight, None, layer.stride, padding, layer.output_padding, layer.groups, layer.dilation
        )
    return F.conv2d(x, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)


def reflected(x: Tensor, width: int) -> Tensor:
    """``x`` (B, C, H, W) with a border of ``width`` pixels that mirrors it."""
    if fused(x):
        return _passes().reflected(x, width)  # type: ignore[no-any-return]
    return F.pad(x, (width,) * 4, mode="reflect")


def joined(x: Tensor, y: Tensor, bias: Tensor, scale: float) -> Tensor:
    """``scale (x + y + bias)`` of a bias (C,), where :func:`fused` allows it."""
    return _passes().joined(x, y, bias, scale)  # type: ignore[no-any-return]


def _grouped(
    x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, shift: Tensor | None,
    then: Activation,
) -> Tensor:  # fmt: skip
    """Group normalisation by whatever is fast for such an ``x``."""
    if fused(x):
        return _passes().normalised(x, groups, weight, bias, eps, shift, then)  # type: ignore[no-any-return]
    if shift is not None:
        x = x + shift[:, :, None, None].to(x.dtype)
    return ACTIVATIONS[then](_plain(x, groups, weight, bias, eps))


def _plain(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    if x.device.type == "cuda":
        with torch.autocast("cuda", enabled=False):
            weight, bias = (part if part is None else part.to(x.dtype) for part in (weight, bias))
            return F.group_norm(x, groups, weight, bias, eps)
    if x.device.type == "cpu" and x.dtype is torch.bfloat16 and x[0, 0].numel() < FEW:
        return F.group_norm(x.float(), groups, weight, bias, eps).to(x.dtype)
    return F.group_norm(x, groups, weight, bias, eps)


@cache
def _passes() -> Any:
    """:mod:`braincli.networks.gpu`, or None where Triton is not installed, as with PyTorch for Windows."""
    try:
        from braincli.networks import gpu
    except ImportError:
        return None
    return gpu
