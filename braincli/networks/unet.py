"""The U-Net of Dhariwal and Nichol 2021 ("ADM") with the options in which methods differ, and its encoder half.

Residual blocks GroupNorm - SiLU - conv3, time injected, GroupNorm - SiLU - dropout - conv3 that starts at zero. With
the published options the networks have the published sizes:

| network | options | parameters |
|---|---|---|
| DPM-classifier (Wolleb et al. 2022) | 4 -> 8, (1, 1, 2, 2, 4, 4), 2 blocks, attention (4,), 2 classes | 113,681,160 |
| segmentation ensembles (Wolleb et al. 2022) | the same, 5 -> 2, no classes | 113,674,370 |
| pDDPM (Behrendt et al. 2023) | 1 -> 1, (1, 2, 2), 3 blocks, scale-shift, residual resampling | 37,513,857 |
| the same with the channels that the paper prints | (1, 1, 2) | 26,198,145 |
| and with strided and transposed convolutions, as it prints them, too | (1, 1, 2), transposed | 25,079,553 |
| AnoDDPM (Wyatt et al. 2022) | 1 -> 1, (1, 1, 2, 2, 4, 4), 2 blocks, attention (3, 4, 5), residual | 131,649,793 |
| cDDPM (Behrendt et al. 2023b) | as pDDPM, condition of 512 features | 44,068,481 |
| time-conditioned classifier | Encoder(4, 2, size=(256, 256)) | 5,452,962 |

``patch`` > 1 folds patch x patch pixels into channels at the input and unfolds them at the output (ours: it makes
the network affordable on a CPU).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.networks.norms import GroupNorm

Injection = Literal["add", "scale-shift"]
Resampling = Literal["residual", "interpolated", "transposed"]


class UNet(nn.Module):
    """Time-conditional U-Net.

    Args:
        inputs: channels in (noisy image, and whatever is stacked with it).
        outputs: channels out (twice the noisy image's with a learned variance).
        width: channels of the first level.
        multipliers: level i has ``width * multipliers[i]`` channels and half the resolution of level i - 1.
        blocks: residual blocks per level (one more on the way up).
        attention: levels (0 = full resolution) that carry self-attention.
        middle_attention: whether the middle does.
        head: channels per attention head; 0 is one head.
        injection: how the embedding enters a block: added, or as scale and shift of its second normalisation.
        resampling: ``residual``: inside a residual block, by average pooling and nearest neighbour (BigGAN);
            ``interpolated``: strided convolution down, nearest neighbour and convolution up (Dhariwal and Nichol);
            ``transposed``: strided convolution down, transposed convolution of 4 x 4 up.
        condition: features of a condition vector, which passes Linear - SiLU - Linear and is concatenated to the time
            embedding; 0 is none.
        classes: rows of a class table that is added to the time embedding; 0 is none.
        dropout: in the residual blocks.
        patch: pixels per side folded into channels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 128,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (),
        middle_attention: bool = True,
        head: int = 0,
        injection: Injection = "add",
        resampling: Resampling = "interpolated",
        condition: int = 0,
        classes: int = 0,
        dropout: float = 0.0,
        patch: int = 1,
    ) -> None:
        super().__init__()
        self.patch, self.stride = patch, patch * 2 ** (len(multipliers) - 1)
        widths = [width * m for m in multipliers]
        self.time = TimeEmbedding(width)
        self.label = nn.Embedding(classes, 4 * width) if classes else None
        self.condition = mlp(condition, condition) if condition else None
        make = _Maker(4 * width + condition, injection, dropout, head, resampling)

        self.enter = conv(inputs * patch**2, widths[0])
        self.down = nn.ModuleList()
        channels, skips = widths[0], [widths[0]]
        for level, wide in enumerate(widths):
            for _ in range(blocks):
                self.down.append(make.stage(channels, wide, attend=level in attention))
                channels = wide
                skips.append(wide)
            if level < len(widths) - 1:
                self.down.append(make.resampling(wide, "down"))
                skips.append(wide)
        self.middle = make.middle(channels, attend=middle_attention)
        self.up = nn.ModuleList()
        for level, wide in reversed(list(enumerate(widths))):
            for index in range(blocks + 1):
                stage = make.stage(channels + skips.pop(), wide, attend=level in attention)
                if level and index == blocks:
                    stage.extend(make.resampling(wide, "up"))
                self.up.append(stage)
                channels = wide
        self.out = nn.Sequential(norm(channels), nn.SiLU(), zero(conv(channels, outputs * patch**2)))

    def forward(self, x: Tensor, t: Tensor, *, label: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """Run the network.

        Args:
            x: (B, inputs, H, W); H and W are multiples of ``stride``.
            t: (B,) time in 0 ... T, may be fractional.
            label: (B,) int64; -1, like None, is no class.
            condition: (B, condition) features; needed if the network has one.

        Returns:
            (B, outputs, H, W).
        """
        emb = self.time(t)
        if self.label is not None and label is not None:
            emb = emb + self.label(label.clamp_min(0)) * (label >= 0)[:, None]
        if self.condition is not None:
            assert condition is not None, "this network needs a condition"
            emb = torch.cat([emb, self.condition(condition)], dim=1)
        emb = F.silu(emb)
        h = self.enter(F.pixel_unshuffle(x, self.patch))
        skips = [h]
        for stage in self.down:
            h = stage(h, emb)
            skips.append(h)
        h = self.middle(h, emb)
        for stage in self.up:
            h = stage(torch.cat([h, skips.pop()], dim=1), emb)
        return F.pixel_shuffle(self.out(h), self.patch)


class Encoder(nn.Module):
    """The way down alone, with attention pooling: a time-conditioned classifier or regressor of noisy images.

    Args:
        inputs: channels in.
        outputs: logits or values out.
        size: (H, W) that the pooling's position table is made for; other sizes interpolate it.
        width, multipliers, blocks, attention, head: as in :class:`UNet`; the defaults are Wolleb et al. 2022's.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        size: tuple[int, int],
        width: int = 32,
        multipliers: Sequence[int] = (1, 1, 2, 2, 4, 4),
        blocks: int = 4,
        attention: Sequence[int] = (3, 4, 5),
        head: int = 64,
        patch: int = 1,
    ) -> None:
        super().__init__()
        self.patch, self.stride = patch, patch * 2 ** (len(multipliers) - 1)
        make = _Maker(4 * width, "scale-shift", 0.0, head, "residual")
        self.time = TimeEmbedding(width)
        channels = width * multipliers[0]
        self.enter = conv(inputs * patch**2, channels)
        self.down = nn.ModuleList()
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                self.down.append(make.stage(channels, width * multiplier, attend=level in attention))
                channels = width * multiplier
            if level < len(multipliers) - 1:
                self.down.append(make.resampling(channels, "down"))
        self.middle = make.middle(channels, attend=True)
        grid = (size[0] // self.stride, size[1] // self.stride)
        self.out = nn.Sequential(norm(channels), nn.SiLU(), AttentionPool(channels, outputs, grid, head))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, inputs, H, W), (B,) -> (B, outputs). H and W are multiples of ``stride``."""
        emb = F.silu(self.time(t))
        h = self.enter(F.pixel_unshuffle(x, self.patch))
        for stage in self.down:
            h = stage(h, emb)
        output: Tensor = self.out(self.middle(h, emb))
        return output


class Stage(nn.ModuleList):
    """Modules in a row, some of which take the embedding."""

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        """(B, C, H, W), (B, E) -> (B, C', H', W')."""
        for module in self:
            h = module(h, emb) if isinstance(module, ResidualBlock) else module(h)
        return h


class ResidualBlock(nn.Module):
    """Two convolutions around the injected embedding; ``move`` "up" or "down" resamples inside."""

    def __init__(
        self, inputs: int, outputs: int, emb: int, injection: Injection, dropout: float = 0.0, move: str = ""
    ) -> None:
        super().__init__()
        self.scaled, self.move = injection == "scale-shift", move
        self.norm_in, self.conv_in = norm(inputs), conv(inputs, outputs)
        self.inject = nn.Linear(emb, outputs * (2 if self.scaled else 1))
        self.norm_out, self.dropout = norm(outputs), nn.Dropout(dropout)
        self.conv_out = zero(conv(outputs, outputs))
        self.skip = nn.Identity() if inputs == outputs else conv(inputs, outputs, kernel=1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.norm_in(x, then="silu")
        if self.move:
            h, x = _resampled(h, self.move), _resampled(x, self.move)
        h = self.conv_in(h)
        injected = self.inject(emb)
        if self.scaled:
            scale, shift = injected[:, :, None, None].chunk(2, dim=1)
            h = F.silu(self.norm_out(h) * (1 + scale) + shift)
        else:
            h = self.norm_out(h, injected, then="silu")
        output: Tensor = self.skip(x) + self.conv_out(self.dropout(h))
        return output


class Attention(nn.Module):
    """Self-attention over all pixels; ``head`` channels per head, 0 for one head."""

    def __init__(self, channels: int, head: int = 0) -> None:
        super().__init__()
        self.heads = channels // head if head else 1
        self.norm, self.qkv = norm(channels), conv(channels, 3 * channels, kernel=1)
        self.out = zero(conv(channels, channels, kernel=1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        h = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        output: Tensor = x + self.out(h.reshape(x.shape))
        return output


class AttentionPool(nn.Module):
    """Attention of the mean feature over all positions (Radford et al. 2021) -> (B, outputs)."""

    def __init__(self, channels: int, outputs: int, grid: tuple[int, int], head: int) -> None:
        super().__init__()
        self.grid, self.heads = grid, max(channels // head, 1)
        self.position = nn.Parameter(torch.randn(channels, grid[0] * grid[1] + 1) / channels**0.5)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        place = self.position[:, 1:].unflatten(1, self.grid)
        if x.shape[2:] != place.shape[1:]:
            place = F.interpolate(place[None], size=x.shape[2:], mode="bilinear", align_corners=False)[0]
        tokens = torch.cat([x.flatten(2).mean(2, keepdim=True), x.flatten(2)], dim=2)
        tokens = tokens + torch.cat([self.position[:, :1], place.flatten(1)], dim=1)
        qkv = self.qkv(tokens.transpose(1, 2)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(qkv[0][:, :, :1], qkv[1], qkv[2])
        output: Tensor = self.out(h.transpose(1, 2).flatten(1))
        return output


class TimeEmbedding(nn.Module):
    """Sinusoids of t (``width`` of them), then Linear - SiLU - Linear to 4 ``width`` features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.frequencies: Tensor
        frequencies = torch.exp(-math.log(10_000) * torch.arange(half) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mlp = mlp(2 * half, 4 * width)

    def forward(self, t: Tensor) -> Tensor:
        """(B,) -> (B, 4 width)."""
        phase = t.float()[:, None] * self.frequencies[None]
        output: Tensor = self.mlp(torch.cat([phase.cos(), phase.sin()], dim=1))
        return output


class _Maker:
    """What all blocks of a network have in common."""

    def __init__(self, emb: int, injection: Injection, dropout: float, head: int, resampling: Resampling) -> None:
        self.emb, self.injection, self.dropout, self.head = emb, injection, dropout, head
        self.kind = resampling

    def block(self, inputs: int, outputs: int, move: str = "") -> ResidualBlock:
        return ResidualBlock(inputs, outputs, self.emb, self.injection, self.dropout, move)

    def stage(self, inputs: int, outputs: int, *, attend: bool) -> Stage:
        return Stage([self.block(inputs, outputs), *([Attention(outputs, self.head)] if attend else [])])

    def middle(self, channels: int, *, attend: bool) -> Stage:
        stage = self.stage(channels, channels, attend=attend)
        stage.append(self.block(channels, channels))
        return stage

    def resampling(self, channels: int, move: str) -> Stage:
        if self.kind == "residual":
            return Stage([self.block(channels, channels, move)])
        if move == "down":
            return Stage([nn.Conv2d(channels, channels, 3, stride=2, padding=1)])
        if self.kind == "transposed":
            return Stage([nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)])
        return Stage([nn.Upsample(scale_factor=2, mode="nearest"), conv(channels, channels)])


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with at most 32 groups of at least four channels (``channels`` below 4: one group).

    In the published widths of 128 and more that is GroupNorm(32). Groups of one channel would normalise an added
    embedding away.
    """
    return GroupNorm(math.gcd(32, max(channels // 4, 1)), channels)


def conv(inputs: int, outputs: int, *, kernel: int = 3) -> nn.Conv2d:
    """Convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    """Linear - SiLU - Linear."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.SiLU(), nn.Linear(outputs, outputs))


def zero(layer: nn.Conv2d) -> nn.Conv2d:
    """``layer`` with all parameters 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _resampled(x: Tensor, move: str) -> Tensor:
    return F.avg_pool2d(x, 2) if move == "down" else F.interpolate(x, scale_factor=2, mode="nearest")
