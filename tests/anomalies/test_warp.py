"""Positions that images are sampled at: each part of a warp does what it says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.anomalies import warp

SIZE = (24, 16)


def warped(image: Tensor, **given: float) -> Tensor:
    """``image`` (1, 1, H, W) warped by what is ``given``, nothing else."""
    of = {"angle": 0.0, "scale": 1.0, "flip": 1.0, "right": 0.0, "down": 0.0} | given
    angle, scale, flip = (torch.tensor([of[name]]) for name in ("angle", "scale", "flip"))
    shift = torch.tensor([[of["right"], of["down"]]])
    grid = warp.grid(SIZE, angle, scale, flip, shift, torch.zeros(1, 2, 5, 5))
    return F.grid_sample(image, grid, mode="nearest", align_corners=False)


@pytest.fixture
def image() -> Tensor:
    return torch.arange(24.0 * 16).reshape(1, 1, 24, 16) + 1


def test_flip_and_shift(image: Tensor) -> None:
    assert torch.equal(warped(image), image)
    assert torch.equal(warped(image, flip=-0.3), image.flip(3))
    moved = warped(image, right=2 * 2 / 16, down=2 * 3 / 24)  # halves of the canvas
    assert torch.equal(moved[..., :-3, :-2], image[..., 3:, 2:])


def test_a_quarter_turn_keeps_pixels_square(image: Tensor) -> None:
    turned = warped(image, angle=math.pi / 2)
    middle = image[..., 4:20, :]  # the largest square
    assert torch.equal(turned[..., 4:20, :], middle.rot90(-1, (2, 3))) or torch.equal(
        turned[..., 4:20, :], middle.rot90(1, (2, 3))
    )
