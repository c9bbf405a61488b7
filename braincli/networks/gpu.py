"""What a GPU's memory limits, in as few passes as can be, by :mod:`braincli.networks.kernels`.

A GPU convolves an activation faster than it reads and writes it. PyTorch normalises in channels-first order, so that
channels-last activations are copied there and back, and adds biases, skips and nonlinearities pass by pass, which takes
longer than all convolutions of a network. :func:`normalised` needs one pass for the moments and one for the result,
activation included; :func:`joined` one for bias, skip and scale. Sums are float32, in an order that is always the same.

Activations are (B, C, H, W), channels last, of 16 or 32 bits.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from braincli.networks import kernels
from braincli.networks.activations import ACTIVATIONS, Activation

TILE, WIDEST = 4096, 128  # elements that a program holds at once, and channels of them
PROGRAMS = 2048  # that keep a GPU busy


def normalised(
    x: Tensor,
    groups: int,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    shift: Tensor | None,
    then: Activation,
) -> Tensor:
    """Group normalisation of ``x + shift``, in x's type.

    Args:
        weight, bias: (C,), or None.
        shift: (B, C) or (1, C), or None.
        then: what follows.
    """
    shift = None if shift is None else shift.contiguous()
    with torch.autocast(x.device.type, enabled=False):
        output: Tensor = _Normalise.apply(x, groups, weight, bias, eps, shift, then)  # type: ignore[no-untyped-call]
    return output


def joined(x: Tensor, y: Tensor, bias: Tensor, scale: float) -> Tensor:
    """``scale (x + y + bias)`` with a bias (C,), in x's type."""
    x, y = (part.contiguous(memory_format=torch.channels_last) for part in (x, y))
    with torch.autocast(x.device.type, enabled=False):
        output: Tensor = _Join.apply(x, y, bias, scale)  # type: ignore[no-untyped-call]
    return output


def reflected(x: Tensor, width: int) -> Tensor:
    """``x`` with a border of ``width`` pixels that mirrors it; PyTorch's is laid out channels first."""
    output: Tensor = _Reflect.apply(x, width)  # type: ignore[no-untyped-call]
    return output


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, shift: Tensor | None,
        then: Activation,
    ) -> Tensor:  # fmt: skip
        ctx.groups, ctx.eps, ctx.then = groups, eps, then
        ctx.save_for_backward(x, weight, bias, shift)
        table = _moments(x, groups, weight, bias, eps, shift)
        ctx.table = table if any(ctx.needs_input_grad) else None
        output = torch.empty_like(x)
        shape = _Shape(x)
        kernels.apply[shape.grid](x, table, output, *shape.sizes, THEN=then, **shape.tile)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (dy,) = gradients
        x, weight, bias, shift = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return _differentiable(ctx, x, weight, bias, shift, dy)
        with torch.autocast(x.device.type, enabled=False):
            dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
            dx = torch.empty_like(x)
            shape = _Shape(x)
            sums = shape.table(shape.chunks, 2)
            kernels.sums_back[shape.grid](x, dy, ctx.table, sums, *shape.sizes, THEN=ctx.then, **shape.tile)
            slopes = shape.table(5)
            kernels.finish_back[(shape.rows, ctx.groups)](
                sums, ctx.table, x if weight is None else weight, slopes, *shape.sizes, shape.channels // ctx.groups,
                WEIGHTED=weight is not None, **_group_tile(shape, ctx.groups),
            )  # fmt: skip
            kernels.apply_back[shape.grid](x, dy, ctx.table, slopes, dx, *shape.sizes, THEN=ctx.then, **shape.tile)
            needed, of_rows = ctx.needs_input_grad, slopes[:, 2:]
            of_all = of_rows.sum(dim=0) if weight is not None or bias is not None or shift is not None else of_rows
            d_shift = of_all[2:] if shift is not None and len(shift) == 1 else of_rows[:, 2]
            return (
                dx, None, of_all[1].to(weight.dtype) if needed[2] else None,
                of_all[0].to(bias.dtype) if needed[3] else None, None,
                d_shift.to(shift.dtype) if needed[5] else None, None,
            )  # fmt: skip


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, bias: Tensor, scale: float) -> Tensor:
        ctx.scale, ctx.type = scale, bias.dtype
        output, shape = torch.empty_like(x), _Shape(x)
        kernels.join[shape.grid](x, y, bias, output, *shape.sizes, scale, **shape.tile)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (dy,) = gradients
        if torch.is_grad_enabled():
            dx = dy * ctx.scale
            return dx, dx, dx.sum(dim=(0, 2, 3), dtype=torch.float32).to(ctx.type), None
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx, sums = dy * ctx.scale, _pixel_sums(dy, None)
        return dx, dx, (ctx.scale * sums[:, :, 0].sum(dim=(0, 1))).to(ctx.type), None


class _Reflect(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, width: int) -> Tensor:
        ctx.width = width
        b, c, h, w = x.shape
        output = _empty(x, (b, c, h + 2 * width, w + 2 * width))
        shape = _Shape(output)
        kernels.reflect[shape.grid](x, output, *shape.sizes, h, w, width, **shape.tile)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (dy,) = gradients
        return _Fold.apply(dy.contiguous(memory_format=torch.channels_last), ctx.width), None  # type: ignore[no-untyped-call]


class _Fold(torch.autograd.Function):
    """The border is added to what it mirrors: the transpose of :class:`_Reflect`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, width: int) -> Tensor:
        ctx.width = width
        b, c, h, w = x.shape
        output = _empty(x, (b, c, h - 2 * width, w - 2 * width))
        shape = _Shape(output)
        kernels.fold[shape.grid](x, output, *shape.sizes, *output.shape[2:], width, **shape.tile)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (dy,) = gradients
        return _Reflect.apply(dy.contiguous(memory_format=torch.channels_last), ctx.width), None  # type: ignore[no-untyped-call]


def _empty(like: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _differentiable(
    ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, shift: Tensor | None, dy: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients by way of PyTorch's own operations, which can be derived again."""
    places = ((x, 0), (weight, 2), (bias, 3), (shift, 5))
    given = [part for part, place in places if part is not None and ctx.needs_input_grad[place]]
    with torch.autocast(x.device.type, enabled=False):
        moved = x if shift is None else x + shift[:, :, None, None].to(x.dtype)
        weight, bias = (None if part is None else part.to(x.dtype) for part in (weight, bias))
        y = F.group_norm(moved, ctx.groups, weight, bias, ctx.eps)
        y = ACTIVATIONS[ctx.then](y)
        found = iter(torch.autograd.grad(y, given, dy.to(y.dtype), create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)


class _Shape:
    """How an activation is cut into tiles: programs by row, chunk of its pixels, and block of its channels."""

    def __init__(self, x: Tensor) -> None:
        self.x, (self.rows, self.channels) = x, x.shape[:2]
        self.pixels = x[0, 0].numel()
        wide = min(WIDEST, max(16, triton.next_power_of_2(self.channels)))
        tall = TILE // wide
        blocks = triton.cdiv(self.channels, wide)
        wanted = max(1, PROGRAMS // (self.rows * blocks))
        self.span = tall * triton.cdiv(triton.cdiv(self.pixels, tall), wanted)
        self.chunks = triton.cdiv(self.pixels, self.span)
        self.grid = (self.rows, self.chunks, blocks)
        self.tile = {"TALL": tall, "WIDE": wide}

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return self.pixels, self.channels, self.chunks, self.span

    def table(self, *lines: int) -> Tensor:
        """(B, *lines, C) float32, not filled in."""
        return self.x.new_empty((self.rows, *lines, self.channels), dtype=torch.float32)


def _moments(
    x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, shift: Tensor | None
) -> Tensor:
    """(B, 5, C): slope and offset of x that normalise it, 1 / deviation, mean of x (less the shift), and sum of x."""
    shape, sums = _Shape(x), _pixel_sums(x, shift)
    table = shape.table(5)
    kernels.finish[(shape.rows, groups)](
        sums, x if weight is None else weight, x if bias is None else bias, x if shift is None else shift, table,
        *shape.sizes, shape.channels // groups, _stride(shift), eps,
        WEIGHTED=weight is not None, BIASED=bias is not None, SHIFTED=shift is not None, **_group_tile(shape, groups),
    )  # fmt: skip
    return table


def _pixel_sums(x: Tensor, shift: Tensor | None) -> Tensor:
    """(B, chunks, 2, C): of x + shift and of its square."""
    shape = _Shape(x)
    sums = shape.table(shape.chunks, 2)
    kernels.sums_of[shape.grid](
        x, x if shift is None else shift, sums, *shape.sizes, _stride(shift), SHIFTED=shift is not None, **shape.tile
    )
    return sums


def _stride(shift: Tensor | None) -> int:
    """Elements from one row's shift to the next one's."""
    return 0 if shift is None or len(shift) == 1 else shift.shape[1]


def _group_tile(shape: _Shape, groups: int) -> dict[str, int]:
    wide = triton.next_power_of_2(shape.channels // groups)
    return {"TALL": max(1, min(triton.next_power_of_2(shape.chunks), TILE // wide)), "WIDE": wide}
