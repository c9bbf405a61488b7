"""Random tensors on the device of the generator that draws them: in training a GPU must not wait for them."""

from __future__ import annotations

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
