"""What a GPU's memory limits, in as few passes as can be: kernels in Triton, which PyTorch for GPUs brings along.

A GPU convolves an activation faster than it reads and writes it. PyTorch normalises in channels-first order, so that
channels-last activations are copied there and back, and adds biases, skips and nonlinearities pass by pass, which takes
longer than all convolutions of a network. :func:`normalised` needs one pass for the moments and one for the result,
SiLU included; :func:`joined` one for bias, skip and scale. Sums are float32, in an order that is always the same.

Activations are (B, C, H, W), channels last, of 16 or 32 bits.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

TILE, WIDEST = 4096, 128  # elements that a program holds at once, and channels of them
PROGRAMS = 2048  # that keep a GPU busy


def normalised(
    x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, shift: Tensor | None, *, silu: bool
) -> Tensor:
    """Group normalisation of ``x + shift``, followed by SiLU where asked for, in x's type.

    Args:
        weight, bias: (C,), or None.
        shift: (B, C) or (1, C), or None.
    """
    shift = None if shift is None else shift.contiguous()
    with torch.autocast(x.device.type, enabled=False):
        output: Tensor = _Normalise.apply(x, groups, weight, bias, eps, shift, silu)  # type: ignore[no-untyped-call]
    return output


def joined(x: Tensor, y: Tensor, bias: Tensor, scale: float) -> Tensor:
    """``scale (x + y + bias)`` with a bias (C,), in x's type."""
    x, y = (part.contiguous(memory_format=torch.channels_last) for part in (x, y))
    with torch.autocast(x.device.type, enabled=False):
        output: Tensor = _Join.apply(x, y, bias, scale)  # type: ignore[no-untyped-call]
    return output


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, shift: Tensor | None,
        silu: bool,
    ) -> Tensor:  # fmt: skip
        ctx.groups, ctx.eps, ctx.silu = groups, eps, silu
        ctx.save_for_backward(x, weight, bias, shift)
        table = _moments(x, groups, weight, bias, eps, shift)
        ctx.table = table if any(ctx.needs_input_grad) else None
        output = torch.empty_like(x)
        shape = _Shape(x)
        _apply[shape.grid](x, table, output, *shape.sizes, SILU=silu, **shape.tile)
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
            sums = x.new_empty((shape.rows, shape.chunks, 2, shape.channels), dtype=torch.float32)
            _sums_back[shape.grid](x, dy, ctx.table, sums, *shape.sizes, SILU=ctx.silu, **shape.tile)
            slopes = x.new_empty((shape.rows, 5, shape.channels), dtype=torch.float32)
            _finish_back[(shape.rows, ctx.groups)](
                sums, ctx.table, x if weight is None else weight, slopes, *shape.sizes, shape.channels // ctx.groups,
                WEIGHTED=weight is not None, **_group_tile(shape, ctx.groups),
            )  # fmt: skip
            _apply_back[shape.grid](x, dy, ctx.table, slopes, dx, *shape.sizes, SILU=ctx.silu, **shape.tile)
            d_bias, d_weight, d_shift = (slopes[:, place] for place in (2, 3, 4))
            return (
                dx, None, d_weight.sum(dim=0).to(weight.dtype) if ctx.needs_input_grad[2] else None,
                d_bias.sum(dim=0).to(bias.dtype) if ctx.needs_input_grad[3] else None, None,
                _like(d_shift, shift) if ctx.needs_input_grad[5] else None, None,
            )  # fmt: skip


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, bias: Tensor, scale: float) -> Tensor:
        ctx.scale, ctx.type = scale, bias.dtype
        output, shape = torch.empty_like(x), _Shape(x)
        _join[shape.grid](x, y, bias, output, *shape.sizes, scale, **shape.tile)
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
        y = F.silu(y) if ctx.silu else y
        found = iter(torch.autograd.grad(y, given, dy.to(y.dtype), create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)


class _Shape:
    """How an activation is cut into tiles: programs by row, chunk of its pixels, and block of its channels."""

    def __init__(self, x: Tensor) -> None:
        self.rows, self.channels = x.shape[:2]
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


def _moments(
    x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, shift: Tensor | None
) -> Tensor:
    """(B, 5, C): slope and offset of x that normalise it, 1 / deviation, mean of x (less the shift), and sum of x."""
    shape, sums = _Shape(x), _pixel_sums(x, shift)
    table = x.new_empty((shape.rows, 5, shape.channels), dtype=torch.float32)
    _finish[(shape.rows, groups)](
        sums, x if weight is None else weight, x if bias is None else bias, x if shift is None else shift, table,
        *shape.sizes, shape.channels // groups, _stride(shift), eps,
        WEIGHTED=weight is not None, BIASED=bias is not None, SHIFTED=shift is not None, **_group_tile(shape, groups),
    )  # fmt: skip
    return table


def _pixel_sums(x: Tensor, shift: Tensor | None) -> Tensor:
    """(B, chunks, 2, C): of x + shift and of its square."""
    shape = _Shape(x)
    sums = x.new_empty((shape.rows, shape.chunks, 2, shape.channels), dtype=torch.float32)
    _sums[shape.grid](
        x, x if shift is None else shift, sums, *shape.sizes, _stride(shift), SHIFTED=shift is not None, **shape.tile
    )
    return sums


def _stride(shift: Tensor | None) -> int:
    """Elements from one row's shift to the next one's."""
    return 0 if shift is None or len(shift) == 1 else shift.shape[1]


def _group_tile(shape: _Shape, groups: int) -> dict[str, int]:
    wide = triton.next_power_of_2(shape.channels // groups)
    return {"TALL": max(1, min(triton.next_power_of_2(shape.chunks), TILE // wide)), "WIDE": wide}


def _like(gradient: Tensor, shift: Tensor) -> Tensor:
    """The gradient (B, C) of a shift that may be one for all rows."""
    return (gradient.sum(dim=0, keepdim=True) if len(shift) == 1 else gradient).to(shift.dtype)


@triton.jit
def _place(pixels, channels, span, TALL: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """First element of this program's row, its channels, and first and last pixel."""
    row = tl.program_id(0).to(tl.int64)
    c = tl.program_id(2) * WIDE + tl.arange(0, WIDE)
    begin = tl.program_id(1) * span
    return row, row * pixels * channels, c, begin, tl.minimum(begin + span, pixels)


@triton.jit
def _sums(  # type: ignore[no-untyped-def]
    x, shift, sums, pixels, channels, chunks, span, stride,
    SHIFTED: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Sums of x + shift and of its square over the pixels of each chunk."""
    row, first, c, begin, end = _place(pixels, channels, span, TALL, WIDE)
    moved = tl.zeros((WIDE,), tl.float32)
    if SHIFTED:
        moved = tl.load(shift + row * stride + c, mask=c < channels, other=0.0).to(tl.float32)
    total, square = tl.zeros((WIDE,), tl.float32), tl.zeros((WIDE,), tl.float32)
    for start in range(begin, end, TALL):
        p = start + tl.arange(0, TALL)
        inside = (p < end)[:, None] & (c < channels)[None, :]
        value = tl.load(x + first + p[:, None] * channels + c[None, :], mask=inside, other=0.0).to(tl.float32)
        value = tl.where(inside, value + moved[None, :], 0.0)
        total += tl.sum(value, axis=0)
        square += tl.sum(value * value, axis=0)
    there = sums + ((row * chunks + tl.program_id(1)) * 2) * channels + c
    tl.store(there, total, mask=c < channels)
    tl.store(there + channels, square, mask=c < channels)


@triton.jit
def _summed(sums, row, chunks, channels, c, inside, TALL: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Both sums of channels ``c``, over all chunks of ``row``."""
    one, other = tl.zeros((WIDE,), tl.float32), tl.zeros((WIDE,), tl.float32)
    for start in range(0, chunks, TALL):
        chunk = start + tl.arange(0, TALL)
        there = sums + ((row * chunks + chunk)[:, None] * 2) * channels + c[None, :]
        kept = (chunk < chunks)[:, None] & inside[None, :]
        one += tl.sum(tl.load(there, mask=kept, other=0.0), axis=0)
        other += tl.sum(tl.load(there + channels, mask=kept, other=0.0), axis=0)
    return one, other


@triton.jit
def _finish(  # type: ignore[no-untyped-def]
    sums, weight, bias, shift, table, pixels, channels, chunks, span, members, stride, eps,
    WEIGHTED: tl.constexpr, BIASED: tl.constexpr, SHIFTED: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """What makes the normalised value of each channel of a group, as :func:`_moments` lists it."""
    row, lane = tl.program_id(0).to(tl.int64), tl.arange(0, WIDE)
    inside, c = lane < members, tl.program_id(1) * members + lane
    total, square = _summed(sums, row, chunks, channels, c, inside, TALL, WIDE)
    count = (pixels * members).to(tl.float32)
    mean = tl.sum(total, axis=0) / count
    variance = tl.maximum(tl.sum(square, axis=0) / count - mean * mean, 0.0)
    scale = tl.zeros((WIDE,), tl.float32) + tl.rsqrt(variance + eps)
    slope, offset, moved = scale, tl.zeros((WIDE,), tl.float32), tl.zeros((WIDE,), tl.float32)
    if WEIGHTED:
        slope = scale * tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
    if BIASED:
        offset = tl.load(bias + c, mask=inside, other=0.0).to(tl.float32)
    if SHIFTED:
        moved = tl.load(shift + row * stride + c, mask=inside, other=0.0).to(tl.float32)
    there = table + row * 5 * channels + c
    tl.store(there, slope, mask=inside)
    tl.store(there + channels, offset - (mean - moved) * slope, mask=inside)
    tl.store(there + 2 * channels, scale, mask=inside)
    tl.store(there + 3 * channels, mean - moved, mask=inside)
    tl.store(there + 4 * channels, total - moved * pixels, mask=inside)


@triton.jit
def _affine(table, row, channels, c):  # type: ignore[no-untyped-def]
    """Slope and offset of channels ``c``."""
    there = table + row * 5 * channels + c
    return tl.load(there, mask=c < channels, other=0.0), tl.load(there + channels, mask=c < channels, other=0.0)


@triton.jit
def _apply(  # type: ignore[no-untyped-def]
    x, table, y, pixels, channels, chunks, span, SILU: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """Slope times x plus offset, and SiLU."""
    row, first, c, begin, end = _place(pixels, channels, span, TALL, WIDE)
    slope, offset = _affine(table, row, channels, c)
    for start in range(begin, end, TALL):
        p = start + tl.arange(0, TALL)
        inside = (p < end)[:, None] & (c < channels)[None, :]
        place = first + p[:, None] * channels + c[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) * slope[None, :] + offset[None, :]
        if SILU:
            value = value * tl.sigmoid(value)
        tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _before(x, dy, place, inside, slope, offset, SILU: tl.constexpr):  # type: ignore[no-untyped-def]
    """x, and the gradient of what SiLU was given."""
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    gradient = tl.load(dy + place, mask=inside, other=0.0).to(tl.float32)
    if SILU:
        z = value * slope[None, :] + offset[None, :]
        share = tl.sigmoid(z)
        gradient = gradient * share * (1.0 + z * (1.0 - share))
    return value, gradient


@triton.jit
def _sums_back(  # type: ignore[no-untyped-def]
    x, dy, table, sums, pixels, channels, chunks, span, SILU: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """Sums over the pixels of each chunk of the gradient before SiLU, and of its product with x - mean."""
    row, first, c, begin, end = _place(pixels, channels, span, TALL, WIDE)
    slope, offset = _affine(table, row, channels, c)
    mean = tl.load(table + (row * 5 + 3) * channels + c, mask=c < channels, other=0.0)
    total, tilt = tl.zeros((WIDE,), tl.float32), tl.zeros((WIDE,), tl.float32)
    for start in range(begin, end, TALL):
        p = start + tl.arange(0, TALL)
        inside = (p < end)[:, None] & (c < channels)[None, :]
        place = first + p[:, None] * channels + c[None, :]
        value, gradient = _before(x, dy, place, inside, slope, offset, SILU)
        total += tl.sum(gradient, axis=0)
        tilt += tl.sum(gradient * (value - mean[None, :]), axis=0)
    there = sums + ((row * chunks + tl.program_id(1)) * 2) * channels + c
    tl.store(there, total, mask=c < channels)
    tl.store(there + channels, tilt, mask=c < channels)


@triton.jit
def _finish_back(  # type: ignore[no-untyped-def]
    sums, table, weight, slopes, pixels, channels, chunks, span, members,
    WEIGHTED: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """dx = slope dz + a x + b with a, b by channel; then the gradients of bias, weight and shift, row by row."""
    row, lane = tl.program_id(0).to(tl.int64), tl.arange(0, WIDE)
    inside, c = lane < members, tl.program_id(1) * members + lane
    there, out = table + row * 5 * channels + c, slopes + row * 5 * channels + c
    slope = tl.load(there, mask=inside, other=0.0)
    scale = tl.load(there + 2 * channels, mask=inside, other=0.0)
    mean = tl.load(there + 3 * channels, mask=inside, other=0.0)
    total_x = tl.load(there + 4 * channels, mask=inside, other=0.0)
    total, tilt = _summed(sums, row, chunks, channels, c, inside, TALL, WIDE)
    tilt = tilt * scale
    count = (pixels * members).to(tl.float32)
    share = tl.zeros((WIDE,), tl.float32) + 1.0
    if WEIGHTED:
        share = tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
    level = tl.sum(tl.where(inside, share * total, 0.0), axis=0) / count
    slant = tl.sum(tl.where(inside, share * tilt, 0.0), axis=0) / count
    a = -scale * scale * slant
    b = -a * mean - scale * level
    tl.store(out, a, mask=inside)
    tl.store(out + channels, b, mask=inside)
    tl.store(out + 2 * channels, total, mask=inside)
    tl.store(out + 3 * channels, tilt, mask=inside)
    tl.store(out + 4 * channels, slope * total + a * total_x + b * pixels, mask=inside)


@triton.jit
def _apply_back(  # type: ignore[no-untyped-def]
    x, dy, table, slopes, dx, pixels, channels, chunks, span,
    SILU: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The gradient of x."""
    row, first, c, begin, end = _place(pixels, channels, span, TALL, WIDE)
    slope, offset = _affine(table, row, channels, c)
    a, b = _affine(slopes, row, channels, c)
    for start in range(begin, end, TALL):
        p = start + tl.arange(0, TALL)
        inside = (p < end)[:, None] & (c < channels)[None, :]
        place = first + p[:, None] * channels + c[None, :]
        value, gradient = _before(x, dy, place, inside, slope, offset, SILU)
        gradient = slope[None, :] * gradient + a[None, :] * value + b[None, :]
        tl.store(dx + place, gradient.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def _join(  # type: ignore[no-untyped-def]
    x, y, bias, output, pixels, channels, chunks, span, scale, TALL: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """scale (x + y + bias)."""
    _, first, c, begin, end = _place(pixels, channels, span, TALL, WIDE)
    added = tl.load(bias + c, mask=c < channels, other=0.0).to(tl.float32)
    for start in range(begin, end, TALL):
        p = start + tl.arange(0, TALL)
        inside = (p < end)[:, None] & (c < channels)[None, :]
        place = first + p[:, None] * channels + c[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        value += tl.load(y + place, mask=inside, other=0.0).to(tl.float32) + added[None, :]
        tl.store(output + place, (value * scale).to(output.dtype.element_ty), mask=inside)
