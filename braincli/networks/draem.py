"""The two networks of DRAEM (Zavrtanik et al. 2021): an autoencoder without skips that restores, and a U-Net that
compares the restoration with its input.

With the published widths, one channel and batch normalisation they have 69,043,969 and 28,371,842 parameters.
``norm = "group"`` (ours) does without running statistics, which averaged weights do not fit; ``patch > 1`` folds
patch x patch pixels into channels, which makes the networks affordable on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.networks.norms import GroupNorm

RESTORE = (1, 2, 4, 8, 8)  # widths by level, in multiples of the first
COMPARE = (1, 2, 4, 8, 8, 8)


class Restorer(nn.Module):
    """Reconstructive network: everything passes through the coarsest level, so that anomalies get lost.

    Args:
        channels: of the image, in and out.
        width: channels of the first level.
        multipliers: of the further levels, each at half the resolution.
        norm: ``batch`` (published) or ``group``.
        patch: pixels per side folded into channels.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 128,
        multipliers: Sequence[int] = RESTORE,
        norm: str = "batch",
        patch: int = 1,
    ) -> None:
        super().__init__()
        self.patch, self.stride = patch, patch * 2 ** (len(multipliers) - 1)
        widths = [width * m for m in multipliers]
        folded = channels * patch**2
        inputs = [folded, *widths[:-1]]
        self.down = nn.ModuleList(
            nn.Sequential(*_step(a, b, norm), *_step(b, b, norm)) for a, b in zip(inputs, widths, strict=True)
        )
        self.up = nn.ModuleList()
        wide = widths[-1]
        for narrow in [*widths[-3::-1], width]:
            self.up.append(
                nn.Sequential(*_step(wide, wide, norm), *_step(wide, wide, norm), *_step(wide, narrow, norm))
            )
            wide = narrow
        self.write = nn.Conv2d(wide, folded, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same, unbounded; H and W are multiples of ``stride``."""
        h = F.pixel_unshuffle(image, self.patch)
        for level, layers in enumerate(self.down):
            h = layers(F.max_pool2d(h, 2) if level else h)
        for layers in self.up:
            h = layers(_double(h))
        return F.pixel_shuffle(self.write(h), self.patch)


class Comparer(nn.Module):
    """Discriminative network: a U-Net on restoration and input together.

    Args:
        inputs: channels of both together.
        classes: logits per pixel.
        width, multipliers, norm, patch: as in :class:`Restorer`.
    """

    def __init__(
        self,
        inputs: int,
        classes: int = 2,
        *,
        width: int = 64,
        multipliers: Sequence[int] = COMPARE,
        norm: str = "batch",
        patch: int = 1,
    ) -> None:
        super().__init__()
        self.patch, self.stride = patch, patch * 2 ** (len(multipliers) - 1)
        widths = [width * m for m in multipliers]
        entering = [inputs * patch**2, *widths[:-1]]
        self.down = nn.ModuleList(
            nn.Sequential(*_step(a, b, norm), *_step(b, b, norm)) for a, b in zip(entering, widths, strict=True)
        )
        self.grow, self.up = nn.ModuleList(), nn.ModuleList()
        wide, narrower = widths[-1], [widths[-2], *widths[-4::-1], width] if len(widths) > 3 else widths[-2::-1]
        for skip, narrow in zip(widths[-2::-1], narrower, strict=True):
            self.grow.append(nn.Sequential(*_step(wide, narrow, norm)))
            self.up.append(nn.Sequential(*_step(narrow + skip, narrow, norm), *_step(narrow, narrow, norm)))
            wide = narrow
        self.write = nn.Conv2d(wide, classes * patch**2, 3, padding=1)

    def forward(self, both: Tensor) -> Tensor:
        """(B, inputs, H, W) -> logits (B, classes, H, W); H and W are multiples of ``stride``."""
        h, skips = F.pixel_unshuffle(both, self.patch), []
        for level, layers in enumerate(self.down):
            h = layers(F.max_pool2d(h, 2) if level else h)
            skips.append(h)
        skips.pop()
        for grow, layers in zip(self.grow, self.up, strict=True):
            h = layers(torch.cat([grow(_double(h)), skips.pop()], dim=1))
        return F.pixel_shuffle(self.write(h), self.patch)


def _double(h: Tensor) -> Tensor:
    return F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)


def _step(inputs: int, outputs: int, norm: str) -> list[nn.Module]:
    groups = math.gcd(max(outputs // 8, 1), outputs)
    layer = nn.BatchNorm2d(outputs) if norm == "batch" else GroupNorm(groups, outputs)
    return [nn.Conv2d(inputs, outputs, 3, padding=1), layer, nn.ReLU(inplace=True)]
