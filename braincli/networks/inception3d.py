"""Inception-ResNet-v1 (Szegedy et al. 2017, arXiv:1602.07261) for volumes, as "Learn to Ignore" has it: convolutions in
three dimensions, instance normalisation in place of batch normalisation, and an embedding on the unit sphere.

The thesis gives 36,431,842 parameters for encoder, classifier and centres together, and no layer list. This layout
gives exactly that number on its canvas of 124 x 120 x 172: 1 x k kernels factorised along three axes; biases in all
convolutions but those that join branches; instance normalisation without parameters; the last map (1792 x 2 x 2 x 4)
flattened, projected to 128 and normalised over the batch, as the network is used for faces; classifier 128-64-16-2. It
is a layout that fits, not known to be theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Padding = Literal["valid", "same"]
Kernel = tuple[int, int, int]
STEM, REDUCTIONS = (2, 1, 0, 2, 1, 2), (2, 2)  # strides of all that changes the size of a map; 0: it is padded


class Layer(NamedTuple):
    """A map of a volume.

    Attributes:
        module: what gives it.
        shape: its places along X, Y and Z.
        first, pitch: the middle of what place i sees is voxel ``first + pitch * i``, along every axis.
    """

    module: nn.Module
    shape: tuple[int, int, int]
    first: int
    pitch: int


class Unit(nn.Sequential):
    """Convolution, instance normalisation, ReLU.

    One voxel has no spread to normalise by: maps of one voxel are passed on as they are.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int | Kernel, stride: int = 1, padding: int | Kernel = 0
    ) -> None:
        super().__init__(nn.Conv3d(inputs, outputs, kernel, stride, padding), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> the same rank."""
        x = self[0](x)
        return self[1](F.instance_norm(x) if x[0, 0].numel() > 1 else x)  # type: ignore[no-any-return]


def line(inputs: int, outputs: Sequence[int], size: int) -> nn.Sequential:
    """1 x ``size`` kernels along the three axes, one after the other; the map keeps its shape."""
    steps = []
    for axis, (before, after) in enumerate(zip([inputs, *outputs[:-1]], outputs, strict=True)):
        kernel = tuple(size if axis == other else 1 for other in (2, 1, 0))
        steps.append(Unit(before, after, kernel, 1, tuple(k // 2 for k in kernel)))  # type: ignore[arg-type]
    return nn.Sequential(*steps)


class Block(nn.Module):
    """Residual block: branches side by side, joined by a 1 x 1 x 1 convolution, scaled and added."""

    def __init__(self, channels: int, branches: Sequence[nn.Module], inner: int, scale: float) -> None:
        super().__init__()
        self.branches, self.scale = nn.ModuleList(branches), scale
        self.join = nn.Conv3d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> the same shape."""
        joined = self.join(torch.cat([branch(x) for branch in self.branches], dim=1))
        return F.relu(x + self.scale * joined)


class Reduction(nn.Module):
    """Branches of stride 2 side by side, a maximum among them."""

    def __init__(self, branches: Sequence[nn.Module], edge: int) -> None:
        super().__init__()
        self.branches, self.pool = nn.ModuleList(branches), nn.MaxPool3d(3, 2, edge)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> more channels, half the size."""
        return torch.cat([*(branch(x) for branch in self.branches), self.pool(x)], dim=1)


class InceptionResNet3d(nn.Module):
    """Volumes (B, 1, X, Y, Z) -> embeddings (B, ``latent``) of length 1.

    Args:
        shape: (X, Y, Z) of the volumes.
        width: share of the channels of the published network.
        blocks: how often the three residual blocks are repeated; published 5, 10, 5.
        padding: ``valid`` as published; ``same`` for small volumes, which it would leave nothing of.
        flatten: keep where the last map's features are; else they are averaged.

    Raises:
        ValueError: the volume is too small for the network.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        latent: int = 128,
        width: float = 1.0,
        blocks: tuple[int, int, int] = (5, 10, 5),
        padding: Padding = "valid",
        flatten: bool = True,
    ) -> None:
        super().__init__()
        edge = 1 if padding == "same" else 0

        def c(channels: int) -> int:
            return max(1, round(channels * width))

        def branch(*units: tuple[int, int, int]) -> nn.Sequential:
            """Of (inputs, outputs, kernel) each, not strided, keeping the shape."""
            return nn.Sequential(*(Unit(c(i), c(o), k, 1, k // 2) for i, o, k in units))

        def reducing(*units: tuple[int, int, int]) -> nn.Sequential:
            """As :func:`branch`, the last of them with stride 2."""
            *before, (i, o, k) = units
            return nn.Sequential(branch(*before), Unit(c(i), c(o), k, 2, edge))

        self.stem = nn.Sequential(
            Unit(1, c(32), 3, 2, edge), Unit(c(32), c(32), 3, 1, edge), Unit(c(32), c(64), 3, 1, 1),
            nn.MaxPool3d(3, 2, edge), Unit(c(64), c(80), 1), Unit(c(80), c(192), 3, 1, edge),
            Unit(c(192), c(256), 3, 2, edge),
        )  # fmt: skip
        a, first = c(256), [
            Block(
                c(256),
                [
                    branch((256, 32, 1)), branch((256, 32, 1), (32, 32, 3)),
                    branch((256, 32, 1), (32, 32, 3), (32, 32, 3)),
                ],
                3 * c(32), 0.17,
            )
            for _ in range(blocks[0])
        ]  # fmt: skip
        first.append(Reduction([reducing((256, 384, 3)), reducing((256, 192, 1), (192, 192, 3), (192, 256, 3))], edge))  # type: ignore[arg-type]
        b = c(384) + c(256) + a
        second: list[nn.Module] = [
            Block(
                b,
                [Unit(b, c(128), 1), nn.Sequential(Unit(b, c(128), 1), line(c(128), [c(128)] * 3, 7))],
                2 * c(128), 0.10,
            )
            for _ in range(blocks[1])
        ]  # fmt: skip
        second.append(
            Reduction(
                [
                    nn.Sequential(Unit(b, c(256), 1), Unit(c(256), c(384), 3, 2, edge)),
                    nn.Sequential(Unit(b, c(256), 1), Unit(c(256), c(256), 3, 2, edge)),
                    nn.Sequential(Unit(b, c(256), 1), Unit(c(256), c(256), 3, 1, 1), Unit(c(256), c(256), 3, 2, edge)),
                ],
                edge,
            )
        )
        d = c(384) + 2 * c(256) + b
        third = [
            Block(
                d,
                [Unit(d, c(192), 1), nn.Sequential(Unit(d, c(192), 1), line(c(192), [c(192)] * 3, 3))],
                2 * c(192), 0.20,
            )
            for _ in range(blocks[2])
        ]  # fmt: skip
        self.body = nn.Sequential(*first, *second, *third)
        self.shape, self.blocks, self.edge, self.flatten = shape, blocks, edge, flatten
        side = self.layers()[-1].shape
        if min(side) < 1:
            raise ValueError(f"a volume of {' x '.join(map(str, shape))} voxels is too small for this network")
        self.project = nn.Linear(d * (side[0] * side[1] * side[2] if flatten else 1), latent)
        self.norm = nn.BatchNorm1d(latent)  # takes away what all volumes have in common

    def forward(self, volume: Tensor) -> Tensor:
        """(B, 1, X, Y, Z) -> (B, latent) of length 1."""
        features = self.body(self.stem(volume))
        features = features.flatten(1) if self.flatten else features.mean(dim=(2, 3, 4))
        return F.normalize(self.norm(self.project(features).float()), dim=1)

    def layers(self) -> list[Layer]:
        """The last map of each size, the finest first."""
        a, b, _ = self.blocks
        ends = (a - 1, a + 1 + b - 1, len(self.body) - 1)  # a reduction follows each of the first two
        found = []
        for count, end in enumerate(ends):
            shape, first, pitch = list(self.shape), 0, 1
            for stride in filter(None, STEM + REDUCTIONS[:count]):
                shape = [_side(side, stride, self.edge) for side in shape]
                first, pitch = first + pitch * (1 - self.edge), pitch * stride
            found.append(Layer(self.body[end] if end >= 0 else self.stem, tuple(shape), first, pitch))  # type: ignore[arg-type]
        return found


def _side(side: int, stride: int, edge: int) -> int:
    """Size of a map after a kernel of three."""
    return (side + 2 * edge - 3) // stride + 1 if side + 2 * edge >= 3 else 0
