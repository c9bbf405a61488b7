"""ResNet (He et al. 2016) and Wide ResNet (Zagoruyko & Komodakis 2016) as feature extractors, and the
student of reverse distillation that mirrors them.

Parameters are named as torchvision names them, so that its ImageNet weights load as they are. (torchvision itself
cannot be imported beside every build of torch, and nothing else of it is needed.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Basic(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, entering: int, planes: int, *, stride: int = 1, widen: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(entering, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (which strides, or doubles with ``stride`` -2), 1 x 1 around a shortcut; the inner width is
    ``widen`` times ``planes``, the output 4 times."""

    expansion = 4

    def __init__(self, entering: int, planes: int, *, stride: int = 1, widen: int = 1) -> None:
        super().__init__()
        inner, leaving = planes * widen, planes * self.expansion
        self.conv1 = nn.Conv2d(entering, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2: nn.Module = (
            nn.ConvTranspose2d(inner, inner, 2, stride=2, bias=False)
            if stride < 0
            else nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        )
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, leaving, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(leaving)
        self.downsample = _shortcut(entering, leaving, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn3(self.conv3(self.bn2(self.conv2(y)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    """Stem, four stages, classifier.

    Args:
        block: :class:`Basic` or :class:`Bottleneck`.
        layers: blocks per stage.
        width: of the stem; the stages double it.
        widen: of the bottlenecks' inner width.
    """

    def __init__(
        self,
        block: type[Basic | Bottleneck],
        layers: Sequence[int],
        *,
        width: int = 64,
        widen: int = 1,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        entering = width
        for index, count in enumerate(layers):
            planes = width * 2**index
            stage = blocks(block, entering, planes, count, stride=1 if index == 0 else 2, widen=widen)
            self.add_module(f"layer{index + 1}", stage)
            entering = planes * block.expansion
        self.fc = nn.Linear(entering, classes)

    def stages(self) -> list[nn.Module]:
        """Stem (1/2), then the stages (1/4, 1/8, 1/16, 1/32), each fed with the one before."""
        stem = nn.Sequential(self.conv1, self.bn1, nn.ReLU())
        first = nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1), self.get_submodule("layer1"))
        return [stem, first, *(self.get_submodule(f"layer{index}") for index in (2, 3, 4))]


def resnet18() -> ResNet:
    """11,689,512 parameters."""
    return ResNet(Basic, (2, 2, 2, 2))


def wide_resnet50_2() -> ResNet:
    """68,883,240 parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), widen=2)


def blocks(
    block: Callable[..., nn.Module], entering: int, planes: int, count: int, *, stride: int, widen: int = 1
) -> nn.Sequential:
    """``count`` blocks, the first of which changes channels and size (``stride`` -2 doubles it)."""
    following = planes * getattr(block, "expansion", 1)
    rest = [block(following, planes, widen=widen) for _ in range(count - 1)]
    return nn.Sequential(block(entering, planes, stride=stride, widen=widen), *rest)


class OneClassBottleneck(nn.Module):
    """Three scales of features fused and squeezed (Deng & Li 2022: MFF and OCE).

    For Wide ResNet-50-2 (256, 512, 1024 channels, ``widen`` 2): 58,885,120 parameters.

    Args:
        channels: of the three scales, finest first.
        code: channels that come out.
        count: blocks that squeeze.
    """

    def __init__(self, channels: Sequence[int], code: int, *, count: int = 3, widen: int = 1) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.fine = nn.Sequential(*_halved(fine, middle), *_halved(middle, coarse))
        self.middle = nn.Sequential(*_halved(middle, coarse))
        self.squeeze = blocks(Bottleneck, 3 * coarse, code // Bottleneck.expansion, count, stride=2, widen=widen)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Sizes (h, w), (h/2, w/2) and (h/4, w/4) -> (B, code, h/8, w/8), each rounded up."""
        fine, middle, coarse = features
        return self.squeeze(torch.cat([self.fine(fine), self.middle(middle), coarse], dim=1))


class Student(nn.Module):
    """The student of reverse distillation: a ResNet run backwards, from the bottleneck's code to three scales.

    For Wide ResNet-50-2: 24,917,504 parameters.
    """

    def __init__(
        self, code: int, channels: Sequence[int], *, layers: Sequence[int] = (3, 4, 6), widen: int = 1
    ) -> None:
        super().__init__()
        entering, stages = code, []
        for leaving, count in zip(reversed(channels), layers, strict=True):
            planes = leaving // Bottleneck.expansion
            stages.append(blocks(Bottleneck, entering, planes, count, stride=-2, widen=widen))
            entering = leaving
        self.stages = nn.ModuleList(stages)

    def forward(self, code: Tensor) -> list[Tensor]:
        """(B, code, h, w) -> features at 8, 4 and 2 times that size: the teacher's scales, finest first."""
        features = []
        for stage in self.stages:
            code = stage(code)
            features.append(code)
        return features[::-1]


def _halved(entering: int, leaving: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(entering, leaving, 3, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(leaving), nn.ReLU()


def _shortcut(entering: int, leaving: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and entering == leaving:
        return None
    conv: nn.Module = (
        nn.ConvTranspose2d(entering, leaving, 2, stride=2, bias=False)
        if stride < 0
        else nn.Conv2d(entering, leaving, 1, stride=stride, bias=False)
    )
    return nn.Sequential(conv, nn.BatchNorm2d(leaving))
