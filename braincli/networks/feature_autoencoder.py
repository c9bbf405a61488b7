"""The convolutional autoencoder of feature maps (Meissen et al. 2022, FAE)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class FeatureAutoencoder(nn.Module):
    """Strided convolutions down, one more at the bottom, transposed ones up, 1 x 1; no shortcuts.

    256 channels, widths 100, 150, 200, 300 and kernel 5: 10,285,048 parameters.

    Args:
        kernel: odd; the transposed convolutions have one pixel more.
        dropout: of whole channels, after each activation.
    """

    def __init__(self, channels: int, widths: Sequence[int], *, kernel: int = 5, dropout: float = 0.1) -> None:
        super().__init__()
        half, path = kernel // 2, [channels, *widths]
        layers: list[nn.Module] = []
        for entering, leaving in pairwise(path):
            layers.append(nn.Conv2d(entering, leaving, kernel, stride=2, padding=half, bias=False))
            layers += _activated(leaving, dropout)
        layers.append(nn.Conv2d(path[-1], path[-1], kernel, padding=half, bias=False))
        for entering, leaving in pairwise(path[::-1]):
            layers.append(nn.ConvTranspose2d(entering, leaving, kernel + 1, stride=2, padding=half, bias=False))
            layers += _activated(leaving, dropout)
        layers.append(nn.Conv2d(channels, channels, 1, bias=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """(B, c, h, w) -> the same shape, any h and w."""
        h, w = features.shape[2:]
        return self.layers(features)[:, :, :h, :w]  # odd sizes come back a little larger


def _activated(channels: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.BatchNorm2d(channels), nn.LeakyReLU(), nn.Dropout2d(dropout)
