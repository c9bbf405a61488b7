"""Noise that belongs to a sample, not to a batch: row i is drawn from ``generators[i]`` alone, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gaussian(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Standard normal noise of ``like``'s shape (B, ...), device and dtype; one CPU generator per row."""
    if len(generators) != len(like):
        raise ValueError(f"{len(like)} rows need as many generators, got {len(generators)}")
    rows = [torch.randn(like.shape[1:], generator=generator) for generator in generators]
    return torch.stack(rows).to(like)
