"""Feature encoders of whole slices, and their pre-training by masked modelling (SparK; Tian et al. 2023).

SparK's sparse convolutions get nothing of hidden cells. The same is reached here with dense ones by setting hidden
cells to 0 again after every stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.diffusion import draws
from braincli.networks.norms import GroupNorm
from braincli.networks.resnet import Bottleneck, ResNet


class ConditionEncoder(nn.Module):
    """Stages of halving resolution, then the mean over positions and a linear layer.

    Attributes:
        widths: channels after each stage; the last one lies at 1 / ``cell`` of the resolution.
    """

    def __init__(self, stages: Sequence[nn.Module], widths: Sequence[int], cell: int, out: nn.Linear) -> None:
        super().__init__()
        self.stages, self.widths, self.cell, self.out = nn.ModuleList(stages), tuple(widths), cell, out

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, features)."""
        features: Tensor = self.out(self.maps(image)[-1].mean(dim=(2, 3)))
        return features

    def maps(self, image: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Features after each stage; where ``visible`` (B, 1, h, w) is 0, they are 0."""
        features, h = [], _hide(image, visible)
        for stage in self.stages:
            h = _hide(stage(h), visible)
            features.append(h)
        return features


def resnet50(inputs: int, features: int) -> ConditionEncoder:
    """ResNet-50: 24,550,848 parameters with one channel in and 512 features out."""
    net = ResNet(Bottleneck, (3, 4, 6, 3), classes=features)
    net.conv1 = nn.Conv2d(inputs, 64, 7, stride=2, padding=3, bias=False)
    return ConditionEncoder(net.stages(), (64, 256, 512, 1024, 2048), 32, net.fc)


def plain(inputs: int, features: int, widths: Sequence[int]) -> ConditionEncoder:
    """Strided convolutions with group normalisation, for small models."""
    stages = [
        nn.Sequential(
            nn.Conv2d(entering, leaving, 3, stride=2, padding=1), GroupNorm(1, leaving), nn.SiLU(),
            nn.Conv2d(leaving, leaving, 3, padding=1), GroupNorm(1, leaving), nn.SiLU(),
        )
        for entering, leaving in pairwise([inputs, *widths])
    ]  # fmt: skip
    return ConditionEncoder(stages, widths, 2 ** len(widths), nn.Linear(widths[-1], features))


class MaskedDecoder(nn.Module):
    """SparK's light decoder: from the features of visible cells to the whole slice.

    Args:
        widths: channels of the encoder's stages.
        width: of the deepest level; each level up has half of it.
    """

    def __init__(self, widths: Sequence[int], outputs: int, width: int) -> None:
        super().__init__()
        levels = [max(width // 2**index, 8) for index in range(len(widths))]  # deepest first
        self.tokens = nn.ParameterList(torch.zeros(1, wide, 1, 1) for wide in reversed(widths))
        self.project = nn.ModuleList(
            nn.Conv2d(wide, level, 1) for wide, level in zip(reversed(widths), levels, strict=True)
        )
        self.grow = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), GroupNorm(1, b), nn.SiLU())
            for a, b in pairwise([*levels, levels[-1]])
        )
        self.out = nn.Conv2d(levels[-1], outputs, 1)

    def forward(self, maps: Sequence[Tensor], visible: Tensor, size: tuple[int, int]) -> Tensor:
        """Features of all stages, in the encoder's order -> (B, outputs, *size)."""
        h: Tensor | None = None
        parts = zip(reversed(maps), self.tokens, self.project, self.grow, strict=True)
        for features, token, project, grow in parts:
            there = F.interpolate(visible, size=features.shape[2:], mode="nearest")
            filled = project(features + (1 - there) * token)
            if h is not None:
                filled = filled + F.interpolate(h, size=features.shape[2:], mode="nearest")
            h = grow(filled)
        assert h is not None
        image: Tensor = self.out(F.interpolate(h, size=size, mode="nearest"))
        return image


def cells(shape: tuple[int, int], rows: int, cell: int, share: float, generator: torch.Generator) -> Tensor:
    """(rows, 1, h, w) float: 1 in the cells of ``cell`` pixels that stay visible, ``share`` of them being hidden."""
    h, w = (-(-length // cell) for length in shape)
    kept = max(1, int(h * w * (1 - share)))
    order = draws.rand(generator, rows, h * w).argsort(dim=1)
    return (order < kept).float().reshape(rows, 1, h, w)


def _hide(h: Tensor, visible: Tensor | None) -> Tensor:
    return h if visible is None else h * F.interpolate(visible, size=h.shape[2:], mode="nearest")
