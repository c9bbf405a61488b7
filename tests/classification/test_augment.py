"""Augmentation: what it leaves alone, and which side it swaps."""

from __future__ import annotations

import torch

from braincli.classification import registry
from braincli.classification.augment import augmented

STILL = {"rotate_deg": 0.0, "scale": 0.0, "shift": 0.0, "gamma": 1.0, "flip": False}


def volume() -> torch.Tensor:
    return torch.rand(6, 1, 9, 11, 7, generator=torch.Generator().manual_seed(1))


def drawn(**options: object) -> torch.Tensor:
    config = registry.options("vanilla", "tiny", STILL | options)
    return augmented(volume(), config, torch.Generator().manual_seed(0))


def test_without_ranges_nothing_changes() -> None:
    assert torch.allclose(drawn(), volume(), atol=1e-4)


def test_sides_are_right_and_left() -> None:
    swapped, flips = drawn(flip=True), volume().flip(2)
    same = [torch.allclose(a, b, atol=1e-4) for a, b in zip(swapped, volume(), strict=True)]
    turned = [torch.allclose(a, b, atol=1e-4) for a, b in zip(swapped, flips, strict=True)]
    assert all(a != b for a, b in zip(same, turned, strict=True)) and any(same) and any(turned)


def test_a_rotation_keeps_lengths_whatever_the_sides() -> None:
    """A rod along z of a canvas that is not a cube is as long after it was turned."""
    from braincli.classification.augment import _rotation

    angle = torch.tensor([[0.0, torch.pi / 2, 0.0]])
    shape = torch.Size((10, 20, 40))  # X, Y, Z
    turned = _rotation(angle, shape)[0]
    half = torch.tensor([40.0, 20.0, 10.0]) / 2  # z, y, x: the order of F.grid_sample
    for axis in range(3):
        step = torch.zeros(3)
        step[axis] = 1 / half[axis]  # one voxel
        assert torch.allclose(((turned @ step) * half).norm(), torch.tensor(1.0), atol=1e-5)


def test_gamma_keeps_black_and_white() -> None:
    image = torch.zeros(4, 1, 8, 8, 8)
    image[:, :, 2:6, 2:6, 2:6] = 1
    config = registry.options("vanilla", "tiny", STILL | {"gamma": 3.0})
    assert torch.allclose(augmented(image, config, torch.Generator().manual_seed(0)), image, atol=1e-4)
