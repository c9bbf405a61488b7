"""Frozen features: the first stages of a network that learned ImageNet, run on grey slices."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from braincli.networks.efficientnet import EfficientNetLite0
from braincli.networks.resnet import Basic, ResNet, resnet18, wide_resnet50_2

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ROWS = 8  # at a time on a CPU: activations that stay in its cache make this several times faster
CENTRED = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # [0, 1] -> [-1, 1]


@dataclass(frozen=True)
class Backbone:
    """A network with ``stages()``; ``channels`` of those; ``pretrained``: weights of that name exist for it."""

    build: Callable[[], ResNet | EfficientNetLite0]
    channels: tuple[int, ...]
    pretrained: bool = True
    scaling: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET


BACKBONES: dict[str, Backbone] = {
    "resnet18": Backbone(resnet18, (64, 64, 128, 256, 512)),
    "wide_resnet50_2": Backbone(wide_resnet50_2, (64, 256, 512, 1024, 2048)),
    "efficientnet_lite0": Backbone(
        EfficientNetLite0, (16, 24, 40, 80, 112, 192, 320), scaling=((127 / 255,) * 3, (128 / 255,) * 3)
    ),
    "random": Backbone(  # untrained, for tests only
        partial(ResNet, Basic, (1, 1, 1, 1), width=8, classes=2), (8, 8, 16, 32, 64), pretrained=False
    ),
}


class Features(nn.Module):
    """Chosen stages of a backbone; nothing of it is ever trained.

    Normalisation layers are merged into the convolutions before them (the same function, with half the work), so that
    the parameters fit into half precision.

    Args:
        name: one of BACKBONES.
        levels: which stages are given back, ascending.
        scaling: mean and standard deviation per colour, instead of those of the backbone's own training.

    Attributes:
        channels: of each level.
        loaded: whether the parameters are those of training on ImageNet (a buffer: it travels with the weights).
    """

    mean: Tensor
    deviation: Tensor
    loaded: Tensor

    def __init__(
        self, name: str, levels: Sequence[int], scaling: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.levels = BACKBONES[name], tuple(levels)
        self.channels = [self.backbone.channels[level] for level in levels]
        mean, deviation = scaling or self.backbone.scaling
        self.register_buffer("mean", torch.tensor(mean)[None, :, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[None, :, None, None], persistent=False)
        self.register_buffer("loaded", torch.tensor(not self.backbone.pretrained))
        self.stages = self._frozen(self.backbone.build())
        self._ready = False

    @property
    def ready(self) -> bool:
        """:attr:`loaded`, which is read from the device until it is true, and not again."""
        self._ready = self._ready or bool(self.loaded)
        return self._ready

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the parameters of the whole network, as it is published.

        Raises:
            RuntimeError: they are those of another network.
        """
        network = self.backbone.build()
        network.load_state_dict({re.sub(r"(^|\.)_", r"\1", key): value for key, value in state.items()})
        self.stages.load_state_dict(self._frozen(network).state_dict())
        self.loaded.fill_(True)

    def train(self, mode: bool = True) -> Features:
        """Frozen: stays as it is."""
        return super().train(False)

    def forward(self, grey: Tensor) -> list[Tensor]:
        """(B, 1, H, W) or (B, 3, H, W) in [0, 1] -> one (B, c, h, w) per level."""
        parts = [self._stages(part) for part in grey.split(ROWS if grey.device.type == "cpu" else len(grey))]
        return [torch.cat(levels) for levels in zip(*parts, strict=True)]

    def _stages(self, grey: Tensor) -> list[Tensor]:
        x = ((grey - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)
        levels = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.levels:
                levels.append(x)
        return levels

    def _frozen(self, network: ResNet | EfficientNetLite0) -> nn.ModuleList:
        stages = nn.ModuleList(network.stages()[: max(self.levels) + 1]).eval().requires_grad_(False)
        _fold(stages)
        return stages


def _fold(module: nn.Module) -> None:
    """Merge every batch normalisation into the convolution that is registered right before it."""
    before: tuple[str, nn.Module] = ("", module)
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and isinstance(before[1], nn.Conv2d):
            merged = nn.utils.fuse_conv_bn_eval(before[1], child)
            setattr(module, before[0], merged.requires_grad_(False))
            setattr(module, name, nn.Identity())
        else:
            _fold(child)
        before = name, child


class Standardise(nn.Module):
    """Channels to mean 0 and deviation 1, by running moments over the training.

    Unlike batch normalisation it is the same function in training and prediction, and may look at part of the pixels.
    """

    mean: Tensor
    square: Tensor
    seen: Tensor

    def __init__(self, channels: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("square", torch.ones(channels))
        self.register_buffer("seen", torch.tensor(0.0))

    @torch.no_grad()
    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """(B, c, h, w); ``weight`` (B, 1, h, w) >= 0 takes its moments in first."""
        if weight is not None:
            total = weight.sum()
            some = total > 0  # nothing to learn from otherwise; asked on the device, which need not wait
            self.seen += some
            rate = torch.where(some, (1 / self.seen).clamp_min(self.momentum), 0).expand_as(self.mean)
            total = total.clamp_min(1e-12)
            self.mean.lerp_((x * weight).sum(dim=(0, 2, 3)) / total, rate)
            self.square.lerp_((x * x * weight).sum(dim=(0, 2, 3)) / total, rate)
        deviation = (self.square - self.mean**2).clamp_min(1e-4).sqrt()
        return (x - self.mean[:, None, None]) / deviation[:, None, None]
