"""DRAEM's networks: the published sizes, and shapes at any setting."""

from __future__ import annotations

import pytest
import torch

from braincli.networks.draem import Comparer, Restorer


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_published_parameter_counts() -> None:
    with torch.device("meta"):
        assert count(Restorer(1)) == 69_043_969
        assert count(Comparer(2)) == 28_371_842


@pytest.mark.parametrize("levels", [(1, 2), (1, 2, 4), (1, 2, 4, 4), (1, 2, 4, 8, 8)])
@pytest.mark.parametrize(("norm", "patch"), [("batch", 1), ("group", 2)])
def test_shapes(levels: tuple[int, ...], norm: str, patch: int) -> None:
    restorer = Restorer(3, width=8, multipliers=levels, norm=norm, patch=patch)
    comparer = Comparer(6, width=8, multipliers=levels, norm=norm, patch=patch)
    assert restorer.stride == comparer.stride == patch * 2 ** (len(levels) - 1)
    image = torch.rand(2, 3, 64, 32)
    restored = restorer(image)
    assert restored.shape == image.shape
    assert comparer(torch.cat([restored, image], dim=1)).shape == (2, 2, 64, 32)
