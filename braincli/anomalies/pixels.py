"""Where in a mask something random lies: picked on the mask's device, without waiting for how many there are."""

from __future__ import annotations

import torch
from torch import Tensor


def nth(share: Tensor, mask: Tensor) -> Tensor:
    """(B, K) shares in [0, 1) -> (B, K) indices of entries of ``mask`` (B, N) bool that hold, in their order.

    A share of 0 is the first of them. Where none holds, all count.
    """
    mask = mask | ~mask.any(dim=1, keepdim=True)
    so_far = mask.cumsum(dim=1)
    number = so_far[:, -1:]
    wanted = torch.minimum((share * number).long(), number - 1)
    return torch.searchsorted(so_far, wanted + 1)


def extent(mask: Tensor) -> Tensor:
    """(B, 1, H, W) bool -> (B, 2, 2) first row and column that hold anything, and those after the last; else all 0."""
    ends = []
    for axis in (2, 3):
        used = mask.any(dim=5 - axis)[:, 0].int()
        after = used.shape[1] - used.flip(1).argmax(dim=1)
        ends.append(torch.stack([used.argmax(dim=1), after], dim=1) * used.amax(dim=1, keepdim=True))
    return torch.stack(ends, dim=1)


def positions(share: Tensor, brain: Tensor) -> Tensor:
    """(B, K) shares in [0, 1) of the brain's pixels, in reading order -> (B, K, 2) row and column, float32.

    Any pixel where ``brain`` (B, 1, H, W) bool is empty.
    """
    index = nth(share, brain.flatten(1))
    width = brain.shape[3]
    return torch.stack([index // width, index % width], dim=2).float()
