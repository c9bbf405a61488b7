"""Chains of pointwise operations that a GPU does in one pass over large features.

Between its convolutions a large network waits for memory: PyTorch reads and writes the features once for each addition,
product and activation. Here such a chain is compiled (by PyTorch, with Triton) when it first meets large features on a
GPU; everywhere else, and where nothing can be compiled, it is computed as it is written.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

LARGE = 2**25  # elements, from which on a pass over them costs a GPU more than what surrounds it

Chain = Callable[..., Tensor]


def is_large(x: Tensor) -> bool:
    """Whether ``x`` lies on a GPU and is worth it."""
    return x.is_cuda and x.numel() >= LARGE


def in_one_pass(chain: Chain) -> Chain:
    """``chain``, whose first argument is the features, compiled where these are large."""
    compiled: list[Chain] = []

    @functools.wraps(chain)
    def chosen(x: Tensor, *rest: Tensor) -> Tensor:
        if not is_large(x):
            return chain(x, *rest)
        if not compiled:
            compiled.append(torch.compile(chain, dynamic=True))
        try:
            return compiled[0](x, *rest)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # no Triton, or no compiler that it needs: slower, with the same result
            warnings.warn(f"{chain.__name__} is not compiled: {error}", RuntimeWarning, stacklevel=2)
            compiled[:] = [chain]
            return chain(x, *rest)

    return chosen


@in_one_pass
def affine(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    """slope x + shift in slope's type, as x's; (B, C, H, W) and (B, C, 1, 1), ``shift`` may be as large as x."""
    return (x.to(slope.dtype) * slope + shift).to(x.dtype)


@in_one_pass
def affine_silu(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    """SiLU of :func:`affine`."""
    return F.silu(x.to(slope.dtype) * slope + shift).to(x.dtype)


@in_one_pass
def silu_gradient(x: Tensor, slope: Tensor, shift: Tensor, dy: Tensor) -> Tensor:
    """What :func:`affine_silu` makes of the gradient ``dy`` of its result: that of :func:`affine`'s."""
    z = x.to(slope.dtype) * slope + shift
    gate = z.sigmoid()
    return (dy.to(slope.dtype) * gate * (1 + z * (1 - gate))).to(dy.dtype)


@in_one_pass
def joined(x: Tensor, y: Tensor, bias: Tensor) -> Tensor:
    """(x + y + bias) / sqrt 2 in bias' type, as x's; ``bias`` is (C,)."""
    return ((x.to(bias.dtype) + y + bias[:, None, None]) * 0.5**0.5).to(x.dtype)
