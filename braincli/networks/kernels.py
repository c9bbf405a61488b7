"""Kernels of :mod:`braincli.networks.gpu` in Triton, which PyTorch for GPUs brings along.

Each program takes a row, a chunk of its pixels and a block of its channels: tiles of ``TALL`` pixels by ``WIDE``
channels, one after the other.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _place(pixels, channels, span, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """First element of this program's row, its channels, and first and last pixel."""
    row = tl.program_id(0).to(tl.int64)
    c = tl.program_id(2) * WIDE + tl.arange(0, WIDE)
    begin = tl.program_id(1) * span
    return row, row * pixels * channels, c, begin, tl.minimum(begin + span, pixels)


@triton.jit
def _tile(first, start, end, channels, c, TALL: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where the elements of a tile lie that begins with pixel ``start``, and which of them there are."""
    p = start + tl.arange(0, TALL)
    return first + p[:, None] * channels + c[None, :], (p < end)[:, None] & (c < channels)[None, :]


@triton.jit
def sums_of(  # type: ignore[no-untyped-def]
    x, shift, sums, pixels, channels, chunks, span, stride,
    SHIFTED: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Sums of x + shift and of its square over the pixels of each chunk."""
    row, first, c, begin, end = _place(pixels, channels, span, WIDE)
    moved = tl.zeros((WIDE,), tl.float32)
    if SHIFTED:
        moved = tl.load(shift + row * stride + c, mask=c < channels, other=0.0).to(tl.float32)
    total, square = tl.zeros((TALL, WIDE), tl.float32), tl.zeros((TALL, WIDE), tl.float32)
    for start in range(begin, end, TALL):
        place, inside = _tile(first, start, end, channels, c, TALL)
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        value = tl.where(inside, value + moved[None, :], 0.0)
        total += value
        square += value * value
    _store(sums, row, chunks, channels, c, total, square)


@triton.jit
def _store(sums, row, chunks, channels, c, one, other):  # type: ignore[no-untyped-def]
    """Both sums over this chunk of pixels, which were kept apart until its end."""
    there = sums + ((row * chunks + tl.program_id(1)) * 2) * channels + c
    tl.store(there, tl.sum(one, axis=0), mask=c < channels)
    tl.store(there + channels, tl.sum(other, axis=0), mask=c < channels)


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
def finish(  # type: ignore[no-untyped-def]
    sums, weight, bias, shift, table, pixels, channels, chunks, span, members, stride, eps,
    WEIGHTED: tl.constexpr, BIASED: tl.constexpr, SHIFTED: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """What makes the normalised value of each channel of a group, as ``gpu._moments`` lists it."""
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
def apply(  # type: ignore[no-untyped-def]
    x, table, y, pixels, channels, chunks, span, THEN: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """Slope times x plus offset, and the activation."""
    row, first, c, begin, end = _place(pixels, channels, span, WIDE)
    slope, offset = _affine(table, row, channels, c)
    for start in range(begin, end, TALL):
        place, inside = _tile(first, start, end, channels, c, TALL)
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) * slope[None, :] + offset[None, :]
        if THEN == "silu":
            value = value * tl.sigmoid(value)
        elif THEN == "relu":
            value = tl.maximum(value, 0.0)
        elif THEN == "leaky":
            value = tl.where(value > 0, value, 0.2 * value)
        tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _before(x, dy, place, inside, slope, offset, THEN: tl.constexpr):  # type: ignore[no-untyped-def]
    """x, and the gradient of what the activation was given."""
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    gradient = tl.load(dy + place, mask=inside, other=0.0).to(tl.float32)
    z = value * slope[None, :] + offset[None, :]
    if THEN == "silu":
        share = tl.sigmoid(z)
        gradient = gradient * share * (1.0 + z * (1.0 - share))
    elif THEN == "relu":
        gradient = tl.where(z > 0, gradient, 0.0)
    elif THEN == "leaky":
        gradient = tl.where(z > 0, gradient, 0.2 * gradient)
    return value, gradient


@triton.jit
def sums_back(  # type: ignore[no-untyped-def]
    x, dy, table, sums, pixels, channels, chunks, span, THEN: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """Sums over the pixels of each chunk of the gradient before the activation, and of its product with x - mean."""
    row, first, c, begin, end = _place(pixels, channels, span, WIDE)
    slope, offset = _affine(table, row, channels, c)
    mean = tl.load(table + (row * 5 + 3) * channels + c, mask=c < channels, other=0.0)
    total, tilt = tl.zeros((TALL, WIDE), tl.float32), tl.zeros((TALL, WIDE), tl.float32)
    for start in range(begin, end, TALL):
        place, inside = _tile(first, start, end, channels, c, TALL)
        value, gradient = _before(x, dy, place, inside, slope, offset, THEN)
        total += gradient
        tilt += gradient * (value - mean[None, :])
    _store(sums, row, chunks, channels, c, total, tilt)


@triton.jit
def finish_back(  # type: ignore[no-untyped-def]
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
def apply_back(  # type: ignore[no-untyped-def]
    x, dy, table, slopes, dx, pixels, channels, chunks, span,
    THEN: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The gradient of x."""
    row, first, c, begin, end = _place(pixels, channels, span, WIDE)
    slope, offset = _affine(table, row, channels, c)
    a, b = _affine(slopes, row, channels, c)
    for start in range(begin, end, TALL):
        place, inside = _tile(first, start, end, channels, c, TALL)
        value, gradient = _before(x, dy, place, inside, slope, offset, THEN)
        gradient = slope[None, :] * gradient + a[None, :] * value + b[None, :]
        tl.store(dx + place, gradient.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def join(  # type: ignore[no-untyped-def]
    x, y, bias, output, pixels, channels, chunks, span, scale, TALL: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """scale (x + y + bias)."""
    _, first, c, begin, end = _place(pixels, channels, span, WIDE)
    added = tl.load(bias + c, mask=c < channels, other=0.0).to(tl.float32)
    for start in range(begin, end, TALL):
        place, inside = _tile(first, start, end, channels, c, TALL)
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        value += tl.load(y + place, mask=inside, other=0.0).to(tl.float32) + added[None, :]
        tl.store(output + place, (value * scale).to(output.dtype.element_ty), mask=inside)


@triton.jit
def reflect(  # type: ignore[no-untyped-def]
    x, output, pixels, channels, chunks, span, height, breadth, width, TALL: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """Each pixel of the output from the one that it is or mirrors."""
    row, first, c, begin, end = _place(pixels, channels, span, WIDE)
    whole = breadth + 2 * width
    for start in range(begin, end, TALL):
        p = start + tl.arange(0, TALL)
        place, inside = _tile(first, start, end, channels, c, TALL)
        i, j = tl.abs(p // whole - width), tl.abs(p % whole - width)
        i, j = height - 1 - tl.abs(height - 1 - i), breadth - 1 - tl.abs(breadth - 1 - j)
        source = row * height * breadth * channels + (i * breadth + j)[:, None] * channels + c[None, :]
        tl.store(output + place, tl.load(x + source, mask=inside), mask=inside)


@triton.jit
def _mirrored(place, length, width, which: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where a row or column lies in the image with border: itself, before or behind the image; and whether it does."""
    if which == 0:
        found, there = place + width, place >= 0
    elif which == 1:
        found, there = width - place, (place >= 1) & (place <= width)
    else:
        found, there = 2 * (length - 1) - place + width, (place >= length - 1 - width) & (place <= length - 2)
    return found, there


@triton.jit
def fold(  # type: ignore[no-untyped-def]
    x, output, pixels, channels, chunks, span, height, breadth, width, TALL: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """Each pixel of the output from up to nine of the image with border."""
    row, first, c, begin, end = _place(pixels, channels, span, WIDE)
    whole = breadth + 2 * width
    base = row * (height + 2 * width) * whole * channels
    for start in range(begin, end, TALL):
        p = start + tl.arange(0, TALL)
        place, inside = _tile(first, start, end, channels, c, TALL)
        total = tl.zeros((TALL, WIDE), tl.float32)
        for vertical in tl.static_range(3):
            i, shown = _mirrored(p // breadth, height, width, vertical)
            for horizontal in tl.static_range(3):
                j, seen = _mirrored(p % breadth, breadth, width, horizontal)
                there = base + (i * whole + j)[:, None] * channels + c[None, :]
                total += tl.load(x + there, mask=inside & (shown & seen)[:, None], other=0.0).to(tl.float32)
        tl.store(output + place, total.to(output.dtype.element_ty), mask=inside)
