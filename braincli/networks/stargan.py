"""The two networks of StarGAN (Choi et al. 2018), which Fixed-Point GAN (Siddiquee et al. 2019) takes over.

With three channels, five classes and 128 x 128 pixels they have the 8,430,528 and 44,762,048 parameters of the
published code. Instance norms there keep running statistics that its test script does not use; here there are none.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.networks.norms import InstanceNorm2d

SLOPE = 0.01


class DomainGenerator(nn.Module):
    """7 x 7, two halvings, residual blocks, two doublings, 7 x 7; the target class comes as one constant plane each.

    Args:
        patch: pixels per side folded into channels first (ours: affordable on a CPU).
        classes: of images.
    """

    def __init__(self, channels: int, *, classes: int = 2, width: int = 64, blocks: int = 6, patch: int = 1) -> None:
        super().__init__()
        self.classes, self.patch, self.stride = classes, patch, 4 * patch
        folded = channels * patch**2
        layers: list[nn.Module] = [nn.Conv2d(folded + classes, width, 7, padding=3, bias=False), *_normed(width)]
        for wide in (width, 2 * width):
            layers += [nn.Conv2d(wide, 2 * wide, 4, stride=2, padding=1, bias=False), *_normed(2 * wide)]
        layers += [_Residual(4 * width) for _ in range(blocks)]
        for wide in (4 * width, 2 * width):
            layers += [nn.ConvTranspose2d(wide, wide // 2, 4, stride=2, padding=1, bias=False), *_normed(wide // 2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, folded, 7, padding=3, bias=False))

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] and classes (B,) -> (B, C, H, W), unbounded; H and W multiples of ``stride``."""
        x = F.pixel_unshuffle(image, self.patch)
        wanted = target[:, None] == torch.arange(self.classes, device=x.device)
        planes = wanted.to(x)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return F.pixel_shuffle(self.layers(torch.cat([x, planes], dim=1)), self.patch)


class DomainDiscriminator(nn.Module):
    """Halvings to a map that says how real patches look, and a layer over the whole map that tells the class.

    Args:
        size: (H, W) of the images, which the layer of the class belongs to.
        layers: halvings.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        classes: int = 2,
        width: int = 64,
        layers: int = 6,
        patch: int = 1,
    ) -> None:
        super().__init__()
        self.patch = patch
        wide = [channels * patch**2, *(width * 2**level for level in range(layers))]
        shared: list[nn.Module] = []
        for entering, leaving in pairwise(wide):
            shared += [nn.Conv2d(entering, leaving, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        self.shared = nn.Sequential(*shared)
        self.judge = nn.Conv2d(wide[-1], 1, 3, padding=1, bias=False)
        rows, columns = (side // patch >> layers for side in size)
        self.tell = nn.Conv2d(wide[-1], classes, (rows, columns), bias=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) in [-1, 1] -> (B,) how real, and (B, classes) logits."""
        trunk = self.shared(F.pixel_unshuffle(image, self.patch))
        return self.judge(trunk).mean(dim=(1, 2, 3)), self.tell(trunk).flatten(1)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), *_normed(width),
            nn.Conv2d(width, width, 3, padding=1, bias=False), InstanceNorm2d(width, affine=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _normed(width: int) -> tuple[nn.Module, nn.Module]:
    return InstanceNorm2d(width, affine=True), nn.ReLU()
