"""Overlapping patches of a fixed grid: where they lie, and how what they hold is put together again."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import torch
from torch import Tensor


def corners(length: int, size: int, step: int = 0) -> list[int]:
    """First pixels of patches of ``size`` that cover ``length``, spread evenly from edge to edge.

    Args:
        step: largest distance between neighbours; 0 is ``size``: as few patches as cover.
    """
    size = min(size, length)
    count = 1 + -(-(length - size) // (step or size))
    return torch.linspace(0, length - size, count).round().long().tolist()


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def masks(shape: tuple[int, int], size: int, step: int = 0, device: torch.device | None = None) -> Tensor:
    """(K, 1, H, W) bool: the patches of ``size`` x ``size`` pixels that cover ``shape`` (H, W)."""
    found = list(product(corners(shape[0], size, step), corners(shape[1], size, step)))
    return windows(shape, size, torch.tensor(found)).to(device)


def windows(shape: tuple[int, int], size: int, corner: Tensor) -> Tensor:
    """(R, 1, H, W) bool: one patch per row, cut off at the border; ``corner`` (R, 2) is its first row and column."""
    sides = []
    for length, first in zip(shape, corner.unbind(dim=1), strict=True):
        away = torch.arange(length, device=corner.device) - first[:, None]
        sides.append((away >= 0) & (away < size))
    return (sides[0][:, :, None] & sides[1][:, None, :])[:, None]


def stitch(parts: Tensor, mask: Tensor) -> Tensor:
    """Parts (R, K, C, H, W), of which each counts where its ``mask`` (K, 1, H, W) holds -> (R, C, H, W), averaged."""
    return (parts * mask).sum(dim=1) / mask.sum(dim=0)
