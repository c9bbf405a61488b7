"""Smooth maps of a slice onto itself: rotation, scale, flip, shift and elastic bending, as sampling positions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def grid(size: tuple[int, int], angle: Tensor, scale: Tensor, flip: Tensor, shift: Tensor, bend: Tensor) -> Tensor:
    """(B, H, W, 2) positions for ``F.grid_sample`` (``align_corners=False``), as x and y in [-1, 1].

    Args:
        size: (H, W).
        angle: (B,) radians. scale: (B,) above 1 samples from farther out. flip: (B,), left and right change sides where
            it is negative.
        shift: (B, 2), and bend: (B, 2, h, w) on a coarse lattice, in halves of the canvas.
    """
    h, w = size
    flipped, cos, sin = scale.copysign(flip), angle.cos(), angle.sin()
    right, down = shift.unbind(dim=1)
    # w / h corrects the normalised axes for the canvas' shape
    rows = (flipped * cos, flipped * sin * (-h / w), right, scale * sin * (w / h), scale * cos, down)
    theta = torch.stack(rows, dim=1).view(-1, 2, 3)
    straight = F.affine_grid(theta, [len(theta), 1, h, w], align_corners=False)
    bent = F.interpolate(bend, size=size, mode="bicubic", align_corners=True)
    return straight + bent.permute(0, 2, 3, 1)
