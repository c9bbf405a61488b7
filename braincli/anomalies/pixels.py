"""Where in a mask something random lies: picked on the mask's device, without waiting for how many there are."""

from __future__ import annotations

import torch
from torch import Tensor


def nth(share: Tensor, mask: Tensor) -> Tensor:
    """(B, K) shares in [0, 1) -> (B, K) indices of entries of ``mask`` (B, N) bool that hold, in their order.

    A share of 0 is the first of them. Where none holds, all count.
    """
    mask = mask | ~mask.any(dim=1, keepdim=True)
    so_far = mask.cumsum(dim=1, dtype=torch.float32)  # exact up to 2^24 entries
    return torch.searchsorted(so_far, share * so_far[:, -1:], right=True)  # the first of which there are more


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
    index, width = nth(share, brain.flatten(1)), brain.shape[3]
    return torch.stack([index // width, index % width], dim=2).float()


def elliptic(centre: Tensor, angle: Tensor, axes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """How far all pixels are from ``centre`` along the two axes of ellipses, in shares of each axis.

    Args:
        centre: (B, K, 2) row and column. angle: (B, K) radians of the first axis from the rows' direction. axes:
            (B, K, 2), or what broadcasts to it.
        size: (H, W).

    Returns:
        Along the first and the second axis, (B, K, H, W) each.
    """
    (h, w), angle = size, angle[..., None, None]
    row, column = centre[..., None, None].unbind(dim=2)
    first, second = axes[..., None, None].unbind(dim=2)
    cos, sin = angle.cos(), angle.sin()
    # a row and a column of each ellipse are turned, and only their sums are as large as the canvas
    rows = torch.arange(h, device=centre.device).view(h, 1) - row
    columns = torch.arange(w, device=centre.device) - column
    return (
        torch.addcmul(rows * (cos / first), columns, sin / first),
        torch.addcmul(columns * (cos / second), rows, -sin / second),
    )
