"""The two networks of VAGAN (Baumgartner et al. 2018) for images: a U-Net that gives a change, and a critic.

Layers, widths and their order are those of the published code (there in TensorFlow).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = ((1,), (2,), (4, 4), (8, 8), (16, 16, 16))  # multiples of the width, halved between blocks


class ChangeUNet(nn.Module):
    """U-Net of four levels with batch normalisation; every doubling gives as few channels as the first level has.

    Args:
        patch: pixels per side folded into channels first (ours: affordable on a CPU).
    """

    def __init__(self, channels: int, *, width: int = 16, levels: int = 4, patch: int = 1) -> None:
        super().__init__()
        self.patch, self.stride = patch, patch * 2 ** (levels - 1)
        folded, wide = channels * patch**2, [width * 2**level for level in range(levels)]
        self.downs = nn.ModuleList(_twice(i, o) for i, o in zip([folded, *wide[:-1]], wide, strict=True))
        below = range(levels - 2, -1, -1)
        self.ups = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(wide[level + 1], width, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
            for level in below
        )
        self.merges = nn.ModuleList(
            _twice(width + wide[level], wide[level]) if level else _normed(2 * width, width) for level in below
        )
        self.last = nn.Conv2d(width, folded, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), unbounded; H and W multiples of ``stride``."""
        x, skips = F.pixel_unshuffle(image, self.patch), list[Tensor]()
        for down in self.downs:
            x = down(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for up, merge, skip in zip(self.ups, self.merges, reversed(skips[:-1]), strict=True):
            x = merge(torch.cat([up(x), skip], dim=1))
        return F.pixel_shuffle(self.last(x), self.patch)


class Critic(nn.Module):
    """Convolutions without normalisation, the last of which gives a map that is averaged.

    Args:
        blocks: widths as multiples of ``width``.
    """

    def __init__(
        self, channels: int, *, width: int = 16, blocks: Sequence[Sequence[int]] = BLOCKS, patch: int = 1
    ) -> None:
        super().__init__()
        self.patch = patch
        layers, wide = list[nn.Module](), channels * patch**2
        for number, block in enumerate(blocks):
            layers += [nn.MaxPool2d(2)] if number else []
            for factor in block:
                layers += [nn.Conv2d(wide, factor * width, 3, padding=1), nn.ReLU()]
                wide = factor * width
        self.layers = nn.Sequential(*layers, nn.Conv2d(wide, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,), unbounded."""
        value: Tensor = self.layers(F.pixel_unshuffle(image, self.patch))
        return value.mean(dim=(1, 2, 3))


def _normed(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )  # fmt: skip


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_normed(inputs, outputs), _normed(outputs, outputs))
