"""DenseNet (Huang et al. 2017, "Densely connected convolutional networks", CVPR, arXiv:1608.06993), with bottlenecks
and compression (DenseNet-BC, Sec. 3): every layer of a block sees what all layers before it made."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BLOCKS_169 = (6, 12, 32, 32)  # Table 1
BOTTLENECK = 4  # width of a layer's 1 x 1 convolution as a multiple of the growth


class DenseNet(nn.Module):
    """Stem, dense blocks with transitions between them, the mean over all places, one dense layer.

    DenseNet-169 is the default; with three channels and 1,000 classes it has 14,149,480 parameters.

    Args:
        blocks: layers of each block. growth: channels that a layer adds. width: channels of the stem.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        blocks: Sequence[int] = BLOCKS_169,
        growth: int = 32,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.stride = 4 * 2 ** (len(blocks) - 1)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]  # fmt: skip
        for number, count in enumerate(blocks):
            if number:
                layers.append(_transition(width, width // 2))
                width //= 2
            layers += [_Layer(width + growth * index, growth) for index in range(count)]
            width += growth * count
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU())
        self.last = nn.Linear(width, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes) logits; H and W multiples of ``stride``."""
        logits: Tensor = self.last(self.features(image).mean(dim=(2, 3)))
        return logits


class _Layer(nn.Module):
    """Adds ``growth`` channels to the ``entering`` ones."""

    def __init__(self, entering: int, growth: int) -> None:
        super().__init__()
        wide = BOTTLENECK * growth
        self.layers = nn.Sequential(
            nn.BatchNorm2d(entering), nn.ReLU(), nn.Conv2d(entering, wide, 1, bias=False),
            nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, growth, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layers(x)], dim=1)


def _transition(entering: int, leaving: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(entering), nn.ReLU(), nn.Conv2d(entering, leaving, 1, bias=False), nn.AvgPool2d(2)
    )
