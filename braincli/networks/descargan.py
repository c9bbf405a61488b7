"""The two networks of DeScarGAN (Wolleb et al. 2020): a generator with a branch for each class, and a discriminator
with a part that judges each class and a part that tells them apart.

Layers and their order are those of the published code; both counts of parameters are the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.networks.autoencoder import dropout

MOMENTUM = 0.01  # of batch normalisation
CLASSES = 2  # healthy, diseased
BLOCKS = ((1,), (2,), (4, 4), (8, 8), (8, 8), (16,))  # multiples of the width, halved between blocks


class BranchedGenerator(nn.Module):
    """U-Net on an image and one constant plane per class, of which the target's is 1; the last layers are each class'.

    Skips are concatenated at all levels but the uppermost, whose skip "was too restrictive". With one channel and width
    64 it has 8,528,262 parameters.

    Args:
        patch: pixels per side folded into channels first (ours: affordable on a CPU).
    """

    def __init__(self, channels: int, *, width: int = 64, patch: int = 1) -> None:
        super().__init__()
        self.patch, self.stride = patch, 8 * patch
        folded, wide = channels * patch**2, [width * factor for factor in (1, 2, 4, 8)]
        self.downs = nn.ModuleList(_twice(i, o) for i, o in zip([folded + CLASSES, *wide[:-1]], wide, strict=True))
        self.ups = nn.ModuleList(_normed(wide[level + 1], wide[level]) for level in (2, 1, 0))
        self.merges = nn.ModuleList(_twice(2 * wide[level], wide[level]) for level in (2, 1))
        self.branches = nn.ModuleList(
            nn.Sequential(_normed(width, width), _normed(width, folded, nn.Tanh())) for _ in range(CLASSES)
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.norms = [layer for layer in self.modules() if isinstance(layer, TargetNorm)]

    def forward(self, image: Tensor, target: int) -> Tensor:
        """(B, C, H, W) in [0, 1] -> the same as if of class ``target``; H and W multiples of ``stride``."""
        x = F.pixel_unshuffle(image * 2 - 1, self.patch)
        planes = torch.zeros_like(x[:, :1]).repeat(1, CLASSES, 1, 1)
        planes[:, target] = 1
        for norm in self.norms:
            norm.target = target
        x, levels = torch.cat([x, planes], dim=1), list[Tensor]()
        for down in self.downs:
            x = down(F.max_pool2d(x, 2) if levels else x)
            levels.append(x)
        for up, merge, skip in zip(self.ups, self.merges, levels[-2:0:-1], strict=False):
            x = merge(torch.cat([up(_doubled(x)), skip], dim=1))
        x = self.branches[target](self.ups[-1](_doubled(x)))
        return (F.pixel_shuffle(x, self.patch) + 1) / 2


class TargetNorm(nn.BatchNorm2d):
    """Batch normalisation whose running statistics are those of one target class each.

    The plane of the target shifts all features. Batches, which hold one target, lose the shift; statistics of both
    together would let it in again when the network predicts.
    """

    target = 0  # class; set before each pass

    def __init__(self, features: int, *, momentum: float) -> None:
        super().__init__(features, momentum=momentum)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, self.get_buffer(name).repeat(CLASSES, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        mean, variance = self.running_mean[self.target], self.running_var[self.target]
        return F.batch_norm(x, mean, variance, self.weight, self.bias, self.training, self.momentum, self.eps)


class BranchedDiscriminator(nn.Module):
    """Shared convolutions; two parts that each judge images of one class, and one (as VGG) that tells the class.

    With one channel of 256 x 256 pixels and width 32 it has 18,170,180 parameters. Inputs are in [-1, 1].

    Args:
        size: (H, W) of the images, which the dense layer of the class belongs to.
        blocks: widths of the shared convolutions as multiples of ``width``.
        share: of dropout before the last layer.
        judging: False leaves the part alone that tells the classes apart.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        width: int = 32,
        blocks: Sequence[Sequence[int]] = BLOCKS,
        patch: int = 1,
        share: float = 0.1,
        judging: bool = True,
    ) -> None:
        super().__init__()
        self.patch, self.share = patch, share
        shared, wide = list[nn.Module](), channels * patch**2
        for number, block in enumerate(blocks):
            shared += [nn.MaxPool2d(2)] if number else []
            for factor in block:
                shared += _plain(wide, factor * width)
                wide = factor * width
        self.shared = nn.Sequential(*shared)
        self.judges = nn.ModuleList(
            nn.Sequential(*_plain(wide, wide), *_plain(wide, wide), nn.Conv2d(wide, 1, 1, padding=1))
            for _ in range(CLASSES if judging else 0)
        )
        rows, columns = (side // patch >> len(blocks) for side in size)
        self.features = nn.Sequential(*_plain(wide, wide), *_plain(wide, wide), nn.MaxPool2d(2), nn.Flatten())
        self.hidden = nn.Linear(wide * rows * columns, 64)
        self.last = nn.Linear(64, CLASSES)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    @property
    def seen(self) -> nn.Module:
        """The module whose maps the class rests on: the last convolution's, before they are halved and flattened."""
        return self.features[-3]

    def trunk(self, image: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> what all parts look at."""
        features: Tensor = self.shared(F.pixel_unshuffle(image, self.patch))
        return features

    def judged(self, trunk: Tensor, label: Tensor) -> Tensor:
        """(B,) how real each row looks among images of its class ``label`` (B,)."""
        scores = torch.stack([judge(trunk).mean(dim=(1, 2, 3)) for judge in self.judges], dim=1)
        return scores.gather(1, label[:, None])[:, 0]

    def classed(self, trunk: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, 2) logits of the classes; under dropout with a ``generator``."""
        return self.last(dropout(F.relu(self.hidden(self.features(trunk))), self.share, generator))


def _normed(inputs: int, outputs: int, activation: nn.Module | None = None) -> nn.Sequential:
    norm = TargetNorm(outputs, momentum=MOMENTUM)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), norm, activation or nn.ReLU())


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_normed(inputs, outputs), _normed(outputs, outputs))


def _plain(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
