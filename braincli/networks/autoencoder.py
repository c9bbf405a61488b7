"""The convolutional autoencoder family of Baur et al. 2021 ("Autoencoders for unsupervised anomaly segmentation in
brain MR images: a comparative study"): one encoder, one decoder, and between them whatever latent a method wants.

Encoder: 5 x 5 convolutions of stride 2 (32, 64, 128, 128, ... channels), each with normalisation and leaky ReLU, until
the image is ``least`` pixels small; 1 x 1 to an eighth of the channels; one dense layer per head. Decoder: a dense
layer back, 1 x 1, normalisation and ReLU, transposed 5 x 5 convolutions (128, 64, 32, 32, ...), 1 x 1 to the image.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from braincli.diffusion import draws
from braincli.networks.norms import GroupNorm

SLOPE = 0.2


class Encoder(nn.Sequential):
    """(B, inputs, H, W) -> (B, ``channels``, H / 2^levels, W / 2^levels)."""

    def __init__(self, inputs: int, levels: int, *, width: int = 32, widest: int = 128, norm: str = "batch") -> None:
        wide = [min(widest, width * 2**level) for level in range(levels)]
        layers: list[nn.Module] = []
        for entering, leaving in zip([inputs, *wide[:-1]], wide, strict=True):
            layers += [nn.Conv2d(entering, leaving, 5, stride=2, padding=2), normal(norm, leaving), nn.LeakyReLU(SLOPE)]
        super().__init__(*layers)
        self.channels = wide[-1]


class Decoder(nn.Sequential):
    """(B, inputs, h, w) -> (B, outputs, h * 2^levels, w * 2^levels), unbounded."""

    def __init__(
        self, inputs: int, outputs: int, levels: int, *, width: int = 32, widest: int = 128, norm: str = "batch"
    ) -> None:
        wide = [max(width, widest // 2**level) for level in range(levels)]
        layers: list[nn.Module] = [normal(norm, inputs), nn.ReLU()]
        for entering, leaving in zip([inputs, *wide[:-1]], wide, strict=True):
            up = nn.ConvTranspose2d(entering, leaving, 5, stride=2, padding=2, output_padding=1)
            layers += [up, normal(norm, leaving), nn.LeakyReLU(SLOPE)]
        super().__init__(*layers, nn.Conv2d(wide[-1], outputs, 1))


class Autoencoder(nn.Module):
    """Encoder, latent heads and decoder.

    With 128 x 128 images of one channel and latents of 128 it has 1,627,249 parameters with one head (AE) and 1,758,449
    with two (VAE).

    Args:
        size: (H, W) of the images. A dense latent belongs to this size; a spatial one takes any multiple of ``stride``.
        heads: size of each vector that :meth:`encode` gives, by name; spatial heads are maps of an eighth of the
            encoder's channels instead, whatever the size says.
        latent: size of what :meth:`decode` takes.
        least: the encoder halves as long as both sides stay at least this large (and even).
        norm: ``batch``, ``group`` or ``layer``.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        heads: Mapping[str, int],
        *,
        latent: int = 128,
        width: int = 32,
        widest: int = 128,
        least: int = 8,
        spatial: bool = False,
        dropout: float = 0.1,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        levels = halvings(size, least)
        self.stride, self.spatial, self.dropout = 2**levels, spatial, dropout
        shape = {"width": width, "widest": widest}
        self.encoder = Encoder(channels, levels, norm=norm, **shape)  # type: ignore[arg-type]
        wide = self.encoder.channels
        narrow = max(1, wide // 8)
        self.grid = (narrow, size[0] // self.stride, size[1] // self.stride)
        flat = self.grid[0] * self.grid[1] * self.grid[2]
        if spatial:
            self.heads = nn.ModuleDict({name: nn.Conv2d(wide, narrow, 1) for name in heads})
        else:
            self.squeeze = nn.Conv2d(wide, narrow, 1)
            self.heads = nn.ModuleDict({name: nn.Linear(flat, length) for name, length in heads.items()})
            self.expand = nn.Linear(latent, flat)
        self.widen = nn.Conv2d(narrow, wide, 1)
        self.decoder = Decoder(wide, channels, levels, norm=norm, **shape)  # type: ignore[arg-type]

    def encode(self, image: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) -> each head's (B, length), or (B, narrow, h, w) if spatial."""
        features = self.encoder(image)
        if not self.spatial:
            features = self.squeeze(features).flatten(1)
        return {name: head(features) for name, head in self.heads.items()}

    def decode(self, latent: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latent -> (B, C, H, W), unbounded; with a CPU ``generator`` (training) under dropout."""
        latent = dropout(latent, self.dropout, generator)
        if not self.spatial:
            latent = dropout(self.expand(latent), self.dropout, generator).unflatten(1, self.grid)
        return self.decoder(self.widen(latent))


def halvings(size: tuple[int, int], least: int) -> int:
    """How often both sides can be halved and stay whole and at least ``least`` (at least once)."""
    count = 1
    while all(side % 2 ** (count + 1) == 0 and side >> (count + 1) >= least for side in size):
        count += 1
    return count


def dropout(values: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Dropout by ``generator``, so that a resumed training repeats; none without a generator."""
    if generator is None or share == 0:
        return values
    kept = draws.rand(generator, *values.shape) >= share
    return values * kept.to(values) / (1 - share)


def sample(mean: Tensor, log_sigma: Tensor, generator: torch.Generator | None) -> Tensor:
    """A sample of N(mean, exp(log_sigma)^2); the mean itself without a generator."""
    if generator is None:
        return mean
    return mean + log_sigma.exp() * draws.randn(generator, *mean.shape).to(mean)


def divergence(mean: Tensor, log_sigma: Tensor) -> Tensor:
    """(B,) KL(N(mean, sigma^2) || N(0, 1)), summed over the latent: 1/2 sum(mu^2 + s^2 - ln s^2 - 1)."""
    return 0.5 * (mean**2 + (2 * log_sigma).exp() - 2 * log_sigma - 1).flatten(1).sum(dim=1)


def normal(kind: str, channels: int) -> nn.Module:
    """A normalisation layer by name."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return GroupNorm(1 if kind == "layer" else max(1, channels // 8), channels)
