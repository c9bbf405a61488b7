"""EfficientNet-Lite0 (Tan & Le 2019; the Lite variant has ReLU6 and neither swish nor squeeze-and-excitation).

Parameters are named as in the published PyTorch weights, but for the leading underscores.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

# repeats, kernel, stride, expansion, output channels
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does: the odd pixel goes to the end, which matters with stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for length, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] and pads[2] == pads[3]:  # then without a copy
            return F.conv2d(x, self.weight, self.bias, self.stride, (pads[2], pads[0]), groups=self.groups)
        return super().forward(F.pad(x, pads))


class Block(nn.Module):
    """Inverted residual: widen, depthwise, project without activation."""

    def __init__(self, entering: int, leaving: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = entering * expansion
        self.expand_conv = SameConv(entering, inner, 1, bias=False) if expansion > 1 else nn.Identity()
        self.bn0 = _norm(inner) if expansion > 1 else nn.Identity()
        self.depthwise_conv = SameConv(inner, inner, kernel, stride=stride, groups=inner, bias=False)
        self.bn1 = _norm(inner)
        self.project_conv = SameConv(inner, leaving, 1, bias=False)
        self.bn2 = _norm(leaving)
        self.widens, self.residual = expansion > 1, stride == 1 and entering == leaving

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn0(self.expand_conv(x)), inplace=True) if self.widens else x
        y = F.relu6(self.bn1(self.depthwise_conv(y)), inplace=True)
        y = self.bn2(self.project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """The whole network, 4,652,008 parameters; 224 x 224 in ImageNet training, scaled to (255 x - 127) / 128."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, 32, 3, stride=2, bias=False)
        self.bn0 = _norm(32)
        entering, blocks = 32, []
        for repeats, kernel, stride, expansion, leaving in STAGES:
            for index in range(repeats):
                blocks.append(Block(entering, leaving, kernel, stride if index == 0 else 1, expansion))
                entering = leaving
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = SameConv(entering, 1280, 1, bias=False)
        self.bn1 = _norm(1280)
        self.fc = nn.Linear(1280, classes)

    def stages(self) -> list[nn.Module]:
        """Stem with the first stage (16 channels, 1/2), then 24 (1/4), 40 (1/8), 80 (1/16), 112, 192 (1/32), 320."""
        stem = nn.Sequential(self.conv_stem, self.bn0, nn.ReLU6(inplace=True))
        stages, begin = [], 0
        for repeats, *_ in STAGES:
            stages.append(nn.Sequential(*self.blocks[begin : begin + repeats]))
            begin += repeats
        return [nn.Sequential(stem, stages[0]), *stages[1:]]

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) scaled as in training -> (B, classes) logits."""
        for stage in self.stages():
            image = stage(image)
        return self.fc(F.relu6(self.bn1(self.conv_head(image))).mean(dim=(2, 3)))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
