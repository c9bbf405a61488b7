"""Augmentation of volumes: rotation, scaling, shift (a crop that moves), swapped sides, gamma."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.classification.approaches.base import ApproachConfig


def augmented(image: Tensor, config: ApproachConfig, generator: torch.Generator) -> Tensor:
    """(B, 1, X, Y, Z) in [0, 1] -> the same, each volume turned, sized, moved and brightened in its own way.

    Args:
        generator: of the CPU, so that every device sees the same volumes.
    """
    count = len(image)

    def drawn(*shape: int) -> Tensor:
        """Uniform in [-1, 1]."""
        return torch.rand(count, *shape, generator=generator) * 2 - 1

    turns, size, shift, exponent, sides = drawn(3), drawn(), drawn(3), drawn(), drawn()
    matrix = (
        _rotation(turns * math.radians(config.rotate_deg), image.shape[2:]) * (1 + config.scale * size)[:, None, None]
    )
    if config.flip:
        # the last coordinate of F.grid_sample runs along Z, the first of the volume (X, right to left) is its third
        matrix[:, :, 2] *= torch.where(sides > 0, 1.0, -1.0)[:, None]
    theta = torch.cat([matrix, 2 * config.shift * shift[:, :, None]], dim=2).to(image.device)
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    moved = F.grid_sample(image, grid, padding_mode="zeros", align_corners=False)
    gamma = torch.exp(exponent * math.log(config.gamma)).to(image.device)
    return moved.clamp(0, 1) ** gamma[:, None, None, None, None]


def _rotation(angles: Tensor, shape: torch.Size) -> Tensor:
    """(B, 3) radians -> (B, 3, 3) in coordinates of F.grid_sample, each axis -1 to 1, whatever its length."""
    matrix = torch.eye(3).expand(len(angles), 3, 3)
    for axis in range(3):
        i, j = (k for k in range(3) if k != axis)
        cos, sin = angles[:, axis].cos(), angles[:, axis].sin()
        turn = torch.eye(3).repeat(len(angles), 1, 1)
        turn[:, i, i], turn[:, j, j], turn[:, i, j], turn[:, j, i] = cos, cos, -sin, sin
        matrix = turn @ matrix
    lengths = torch.tensor([float(side) for side in reversed(shape)])
    return matrix * lengths[None, None, :] / lengths[None, :, None]
