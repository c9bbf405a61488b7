"""Overlapping patches of a fixed grid: where they lie, and how what they hold is put together again."""

from __future__ import annotations

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


def masks(shape: tuple[int, int], size: int, step: int = 0) -> Tensor:
    """(K, 1, H, W) bool: the patches of ``size`` x ``size`` pixels that cover ``shape`` (H, W)."""
    windows = [
        window(shape, size, top, left)
        for top in corners(shape[0], size, step)
        for left in corners(shape[1], size, step)
    ]
    return torch.stack(windows)


def window(shape: tuple[int, int], size: int, top: int, left: int) -> Tensor:
    """(1, H, W) bool: one patch, cut off at the border."""
    mask = torch.zeros(1, *shape, dtype=torch.bool)
    mask[:, top : top + size, left : left + size] = True
    return mask


def stitch(parts: Tensor, mask: Tensor) -> Tensor:
    """Parts (R, K, C, H, W), of which each counts where its ``mask`` (K, 1, H, W) holds -> (R, C, H, W), averaged."""
    return (parts * mask).sum(dim=1) / mask.sum(dim=0)
