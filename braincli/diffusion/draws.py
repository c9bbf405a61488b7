"""Random tensors on the device of the generator that draws them: in training a GPU must not wait for them."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


def rand(generator: torch.Generator, *shape: int) -> Tensor:
    """Uniform in [0, 1), float32."""
    return torch.rand(shape, generator=generator, device=generator.device)


def randn(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal, float32."""
    return torch.randn(shape, generator=generator, device=generator.device)


def randint(generator: torch.Generator, low: int, high: int, *shape: int, dtype: torch.dtype = torch.long) -> Tensor:
    """Whole numbers in ``low`` ... ``high`` - 1."""
    return torch.randint(low, high, shape, generator=generator, device=generator.device, dtype=dtype)


def uniforms(generator: torch.Generator, rows: int, **ranges: tuple[float, ...]) -> dict[str, Tensor]:
    """Many parameters of ``rows`` rows at once, by name: on a GPU a call costs as much as thousands of numbers.

    Args:
        ranges: least and greatest value, then the shape of one row's entries (none: a single number).

    Returns:
        float32 tensors (rows, *shape), views of one table.
    """
    least, extent = _bounds(tuple(ranges.values()), generator.device)
    table = torch.addcmul(least, extent, rand(generator, rows, len(least)))
    shapes = {name: [int(length) for length in shape] for name, (_, _, *shape) in ranges.items()}
    parts = table.split([math.prod(shape) for shape in shapes.values()], dim=1)
    return {name: part.view(rows, *shapes[name]) for name, part in zip(ranges, parts, strict=True)}


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _bounds(ranges: tuple[tuple[float, ...], ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Least value and extent (columns,) of every entry of a row."""
    least = [low for low, _, *shape in ranges for _ in range(math.prod(map(int, shape)))]
    most = [high for _, high, *shape in ranges for _ in range(math.prod(map(int, shape)))]
    both = torch.tensor([least, [b - a for a, b in zip(least, most, strict=True)]], device=device)
    return both[0], both[1]
