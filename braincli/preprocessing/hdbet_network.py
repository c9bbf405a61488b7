"""The network of HD-BET 1.x (Isensee et al. 2019, Hum Brain Mapp 40:4952), for inference.

A 3-D U-Net with pre-activation residual blocks after Isensee et al. 2017 (BraTS). Parameter names follow the published
checkpoints; their deep-supervision heads and running statistics are unused at inference and left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE, END_SLOPE = 0.01, 0.1  # leaky ReLU within the blocks and at the network's own level


def _act(norm: nn.InstanceNorm3d, x: Tensor, slope: float = SLOPE) -> Tensor:
    # Over a batch of one, instance norm is batch norm with the batch's own statistics, which (unlike instance norm)
    # has a channels-last kernel on the CPU.
    if x.is_cpu and x.dtype is not torch.float32:
        return functional.leaky_relu(_normalised(norm, x), slope)  # not in place: see _plus
    x = functional.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
    return functional.leaky_relu(x, slope, inplace=x.dtype is torch.float32)


def _normalised(norm: nn.InstanceNorm3d, x: Tensor) -> Tensor:
    """Instance norm of (1, C, Z, Y, X) in 16 bits, channels last, with the statistics in float32.

    The CPU's kernel takes as many numbers at once as there are channels, which are 21 where images are largest. So
    four neighbours along X stand in for one with four times the channels, and their statistics are joined.
    """
    channels = x.shape[1]
    together = 4 if channels < 64 and x.shape[4] % 8 == 0 else 1
    rows = x.permute(0, 2, 3, 4, 1).reshape(-1, together * channels)
    mean, variance = (torch.zeros(rows.shape[1]) for _ in range(2))
    torch.batch_norm_update_stats(rows, mean, variance, 1.0)
    mean, variance = mean.view(together, channels), variance.view(together, channels) * (1 - 1 / len(rows))
    of_all = variance.mean(dim=0) + mean.var(dim=0, unbiased=False)
    mean, of_all, weight, bias = (p.repeat(together) for p in (mean.mean(dim=0), of_all, norm.weight, norm.bias))
    out = functional.batch_norm(rows, mean, of_all, weight, bias, training=False, eps=norm.eps)
    return out.view(*x.shape[:1], *x.shape[2:], channels).permute(0, 4, 1, 2, 3)


def _plus(x: Tensor, other: Tensor) -> Tensor:
    """``x + other``, which may overwrite ``x``.

    In 16 bits a CPU writes a new tensor in a third to half of the time that it takes to overwrite one; in 32 bits
    overwriting is faster.
    """
    return x.add_(other) if x.dtype is torch.float32 else x + other


def _norm(channels: int) -> nn.InstanceNorm3d:
    return nn.InstanceNorm3d(channels, affine=True)


class _Context(nn.Module):
    """Pre-activation residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn_1, self.bn_2 = _norm(width), _norm(width)
        self.conv1, self.conv2 = nn.Conv3d(width, width, 3, padding=1), nn.Conv3d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return _plus(self.conv2(_act(self.bn_2, self.conv1(_act(self.bn_1, x)))), x)


class _Down(nn.Module):
    """Gives the activated input (the skip connection) and its strided convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn, self.downsample = _norm(width), nn.Conv3d(width, 2 * width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = _act(self.bn, x)
        return skip, self.downsample(skip)


class _Up(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.upsample_conv, self.bn = nn.Conv3d(2 * width, width, 3, padding=1), _norm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)
        return _act(self.bn, self.upsample_conv(x))


class _Localisation(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn_1 = nn.Conv3d(2 * width, 2 * width, 3, padding=1), _norm(2 * width)
        self.conv2, self.bn_2 = nn.Conv3d(2 * width, width, 1), _norm(width)

    def forward(self, x: Tensor) -> Tensor:
        return _act(self.bn_2, self.conv2(_act(self.bn_1, self.conv1(x))))


class HDBetNetwork(nn.Module):
    """(1, 1, Z, Y, X) standardised intensities -> (1, Z, Y, X) probability of brain; sides divisible by 16."""

    def __init__(self, width: int = 21) -> None:
        super().__init__()
        self.init_conv = nn.Conv3d(1, width, 3, padding=1)
        for level in range(5):
            self.add_module(f"context{level + 1}", _Context(width << level))
        for level in range(4):
            self.add_module(f"down{level + 1}", _Down(width << level))
            self.add_module(f"up{level + 1}", _Up(width << (3 - level)))
        for level in range(3):
            self.add_module(f"loc{level + 1}", _Localisation(width << (3 - level)))
        self.bn_after_context5 = _norm(16 * width)
        self.end_conv_1, self.end_conv_1_bn = nn.Conv3d(2 * width, 2 * width, 3, padding=1), _norm(2 * width)
        self.end_conv_2, self.end_conv_2_bn = nn.Conv3d(2 * width, 2 * width, 3, padding=1), _norm(2 * width)
        self.seg_layer = nn.Conv3d(2 * width, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self._enter(x)
        skips = []
        for level in range(1, 5):
            skip, x = self.get_submodule(f"down{level}")(self.get_submodule(f"context{level}")(x))
            skips.append(skip)
        x = _act(self.bn_after_context5, self.get_submodule("context5")(x), END_SLOPE)
        for level in range(1, 5):
            x = torch.cat((skips.pop(), self.get_submodule(f"up{level}")(x)), dim=1)
            if level < 4:
                x = self.get_submodule(f"loc{level}")(x)
        x = _act(self.end_conv_1_bn, self.end_conv_1(x), END_SLOPE)
        x = _act(self.end_conv_2_bn, self.end_conv_2(x), END_SLOPE)
        background, brain = self.seg_layer(x).unbind(dim=1)
        return torch.sigmoid((brain - background).float())  # the softmax of two classes

    def _enter(self, x: Tensor) -> Tensor:
        """The first convolution. In 16 bits it gets an empty channel more: for one alone the CPU has no fast kernel."""
        if not torch.is_autocast_enabled(x.device.type):
            return self.init_conv(x)  # type: ignore[no-any-return]
        pair, weight = (
            functional.pad(part, (0, 0, 0, 0, 0, 0, 0, 1)).contiguous(memory_format=torch.channels_last_3d)
            for part in (x, self.init_conv.weight)
        )
        return functional.conv3d(pair, weight, self.init_conv.bias, padding=1)

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Load a published checkpoint; RuntimeError where a needed parameter is missing or misshapen."""
        wanted = self.state_dict()
        self.load_state_dict({key: value for key, value in state.items() if key in wanted})
