"""Weight-standardised U-Net of the denoising autoencoder (Kascenas et al. 2022), alone and siamese (SADM, Behrendt et
al. 2024).

Each level: twice (reflect-padded, weight-standardised 3 x 3 convolution, SiLU, group norm); average pooling on the way
down, 2 x 2 transposed convolutions on the way up, skips concatenated, a 1 x 1 convolution at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.networks.norms import GroupNorm

Padding = Literal["reflect", "zeros"]
WIDTHS = (64, 128, 256, 512)  # of the papers


class WSUNet(nn.Module):
    """U-Net for images (B, inputs, H, W); with the papers' widths and one channel 7,701,825 parameters.

    Args:
        widths: channels per level; the image is halved between levels.
        padding: of the convolutions; ``zeros`` takes a quarter less time in training than the papers' ``reflect``.
    """

    def __init__(
        self, inputs: int = 1, outputs: int = 1, *, widths: Sequence[int] = WIDTHS, padding: Padding = "reflect"
    ) -> None:
        super().__init__()
        self.stride = 2 ** (len(widths) - 1)
        self.encoder = Encoder(inputs, widths, padding)
        self.decoder = Decoder(outputs, widths, widths, padding)

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W), unbounded; H and W multiples of ``stride``, at least twice it."""
        return self.decoder(self.encoder(image))


class SiameseWSUNet(nn.Module):
    """One encoder for two images by turns, a decoder of twice the width for both; 16,736,705 parameters with the
    papers' widths and one channel."""

    def __init__(self, inputs: int = 1, outputs: int = 1, *, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.stride = 2 ** (len(widths) - 1)
        doubled = [2 * width for width in widths]
        self.encoder = Encoder(inputs, widths)
        self.decoder = Decoder(outputs, doubled, doubled)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two (B, inputs, H, W) -> (B, outputs, H, W), unbounded."""
        both = [torch.cat(level.chunk(2), dim=1) for level in self.encoder(torch.cat([first, second]))]
        return self.decoder(both)


class Encoder(nn.Module):
    """Image -> one feature map per level, finest first."""

    def __init__(self, inputs: int, widths: Sequence[int], padding: Padding = "reflect") -> None:
        super().__init__()
        entering = [inputs, *widths[:-1]]
        self.levels = nn.ModuleList(block(i, o, padding) for i, o in zip(entering, widths, strict=True))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, inputs, H, W) -> [(B, widths[k], H / 2^k, W / 2^k)]."""
        features: list[Tensor] = []
        for level in self.levels:
            features.append(level(F.avg_pool2d(features[-1], 2) if features else image))
        return features


class Decoder(nn.Module):
    """Feature maps of all levels -> image.

    Args:
        skips: channels of the feature maps, finest first. widths: of the levels that come out of it.
    """

    def __init__(self, outputs: int, skips: Sequence[int], widths: Sequence[int], padding: Padding = "reflect") -> None:
        super().__init__()
        wide = [*widths[:-1], skips[-1]]
        pairs = [(wide[k + 1], wide[k], skips[k]) for k in reversed(range(len(widths) - 1))]
        self.ups = nn.ModuleList(nn.ConvTranspose2d(below, here, 2, stride=2) for below, here, _ in pairs)
        self.levels = nn.ModuleList(block(here + skip, here, padding) for _, here, skip in pairs)
        self.last = nn.Conv2d(wide[0], outputs, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Feature maps, finest first -> (B, outputs, H, W)."""
        x = levels[-1]
        for up, level, skip in zip(self.ups, self.levels, reversed(levels[:-1]), strict=True):
            x = level(torch.cat([up(x), skip], dim=1))
        return self.last(x)


class WSConv(nn.Conv2d):
    """Padded 3 x 3 convolution whose weights have mean 0 and standard deviation 1 per output channel."""

    def __init__(self, inputs: int, outputs: int, padding: Padding = "reflect") -> None:
        super().__init__(inputs, outputs, 3, padding=1, padding_mode=padding)

    def forward(self, x: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / (deviation + 1e-5), self.bias)


def block(inputs: int, outputs: int, padding: Padding = "reflect") -> nn.Sequential:
    """Two convolutions, each followed by SiLU and then group norm."""
    layers: list[nn.Module] = []
    for entering in (inputs, outputs):
        layers += [WSConv(entering, outputs, padding), nn.SiLU(), GroupNorm(groups(outputs), outputs)]
    return nn.Sequential(*layers)


def groups(channels: int) -> int:
    """The middle one of the divisors of ``channels`` (64 -> 8)."""
    divisors = [n for n in range(1, channels + 1) if channels % n == 0]
    return divisors[len(divisors) // 2]
