"""The two networks of CycleGAN (Zhu et al. 2017): ResNet generator and PatchGAN discriminator."""

from __future__ import annotations

from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.diffusion import draws
from braincli.networks.activations import LEAK, Activation
from braincli.networks.norms import InstanceNorm2d, bare, reflected

FOLLOWING: dict[type[nn.Module], Activation] = {nn.ReLU: "relu", nn.LeakyReLU: "leaky"}


class Chain(nn.Sequential):
    """Layers one after the other; norms do the nonlinearity behind them, and on a GPU add the bias before them."""

    def forward(self, x: Tensor) -> Tensor:
        shift: Tensor | None = None
        done = False
        for layer, following in zip_longest(self, list(self)[1:]):
            if done:
                done = False
            elif isinstance(layer, InstanceNorm2d):
                then = FOLLOWING.get(type(following), "")
                x, shift, done = layer(x, shift, then), None, then != ""
            elif (
                x.device.type == "cuda"
                and isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
                and isinstance(following, InstanceNorm2d)
            ):
                x, shift = bare(layer, x), None if layer.bias is None else layer.bias[None]
            else:
                x = layer(x)
        return x


class ReflectionPad2d(nn.ReflectionPad2d):
    """A border that mirrors the image, laid out as it is."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H + 2 p, W + 2 p)."""
        return reflected(x, self.padding[0])


class ResNetGenerator(nn.Module):
    """Reflect-padded 7 x 7, two halvings, residual blocks, two doublings, 7 x 7, tanh; instance norm.

    With 1 channel, width 64 and 9 blocks it has 11,365,633 parameters. Images in and out are in [0, 1].

    Args:
        residual: the network writes a change that is added to its input (ours, for small networks: identity is
            where training starts, so few lesion-free details are lost); else it makes the whole image.
        patch: pixels per side folded into channels first (ours: affordable on a CPU).
        inputs: channels of what it is given, if not ``channels`` (then it cannot be residual).
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 64,
        blocks: int = 9,
        residual: bool = False,
        patch: int = 1,
        inputs: int | None = None,
    ) -> None:
        super().__init__()
        self.residual, self.patch = residual, patch
        entering, folded = (inputs or channels) * patch**2, channels * patch**2
        layers: list[nn.Module] = [ReflectionPad2d(3), nn.Conv2d(entering, width, 7), *_normed(width)]
        for factor in (1, 2):
            wide = width * factor
            layers += [nn.Conv2d(wide, wide * 2, 3, stride=2, padding=1), *_normed(wide * 2)]
        layers += [_Residual(width * 4) for _ in range(blocks)]
        for factor in (4, 2):
            wide = width * factor
            layers += [
                nn.ConvTranspose2d(wide, wide // 2, 3, stride=2, padding=1, output_padding=1),
                *_normed(wide // 2),
            ]
        last = nn.Conv2d(width, folded, 7)
        layers += [ReflectionPad2d(3), last, nn.Tanh()]
        self.layers = Chain(*layers)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, 0.0, 0.02)
        if residual:
            nn.init.normal_(last.weight, 0.0, 0.002)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> the same in the other domain; H and W multiples of 4 * patch."""
        output = F.pixel_shuffle(self.layers(F.pixel_unshuffle(image * 2 - 1, self.patch)), self.patch)
        return (image + output).clamp(0, 1) if self.residual else (output + 1) / 2


class PatchGAN(Chain):
    """Discriminator of overlapping patches (70 x 70 with three layers); 2,762,689 parameters at width 64."""

    def __init__(self, channels: int, *, width: int = 64, layers: int = 3) -> None:
        steps: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(LEAK)]
        wide = width
        for index in range(1, layers + 1):
            following = min(wide * 2, width * 8)
            stride = 2 if index < layers else 1
            steps += [
                nn.Conv2d(wide, following, 4, stride=stride, padding=1),
                InstanceNorm2d(following),
                nn.LeakyReLU(LEAK),
            ]
            wide = following
        steps.append(nn.Conv2d(wide, 1, 4, padding=1))
        super().__init__(*steps)
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, 0.0, 0.02)


class ReplayPool:
    """Past generated images, half of which replace the newest ones before the discriminator (Shrivastava 2017).

    It lives on the images' device and never asks how full it is, so that a GPU need not wait. The images of one call
    are swapped with different ones of the past.

    Attributes:
        images: (size + 1, C, H, W), None before the first; the last row takes what is not kept.
        count: (), how many there are.
    """

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self.images: Tensor | None = None
        self.count: Tensor | None = None

    def swap(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """(B, C, H, W) -> the same shape, some rows from the past. The first ``size`` images only fill the pool."""
        images, rows, device = images.detach(), len(images), images.device
        past, count = self._begun(images[0])
        wanted = draws.rand(generator, rows).to(device) < 0.5
        order = draws.rand(generator, self.size).to(device).argsort()[:rows]
        order = F.pad(order, (0, rows - len(order)), value=self.size)
        full = count >= self.size
        free = (count + torch.arange(rows, device=device)).clamp_max(self.size)
        slot = torch.where(full, torch.where(wanted, order, self.size), free)
        swapped = (full & (slot < self.size))[:, None, None, None]
        chosen = torch.where(swapped, past[slot], images)
        past.index_copy_(0, slot, images)
        count.add_(rows).clamp_(max=self.size)
        return chosen

    def state(self) -> list[Tensor]:
        """The images of the past, for :meth:`load`."""
        return [] if self.images is None or self.count is None else list(self.images[: int(self.count)].clone())

    def load(self, images: list[Tensor]) -> None:
        """Take back what :meth:`state` gave."""
        if not images:
            self.images = self.count = None
            return
        past, count = self._begun(images[0])
        past[: len(images)] = torch.stack(images)
        count.fill_(len(images))

    def _begun(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Images and count, made at the first ``image`` (C, H, W)."""
        if self.images is None or self.count is None:
            self.images = image.new_zeros(self.size + 1, *image.shape)
            self.count = torch.zeros((), dtype=torch.long, device=image.device)
        return self.images, self.count


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = Chain(
            ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), *_normed(channels),
            ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), InstanceNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _normed(channels: int) -> tuple[nn.Module, nn.Module]:
    return InstanceNorm2d(channels), nn.ReLU()
