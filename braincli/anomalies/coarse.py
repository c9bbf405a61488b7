"""Coarse noise of the denoising autoencoder (Kascenas et al. 2022): Gaussian noise on a grid, interpolated to the
image, so that its blobs are as large as lesions and no denoiser can remove them without knowing anatomy.

:func:`draw` takes everything random from a generator, :func:`apply` is deterministic.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.diffusion import draws


def draw(shape: tuple[int, int, int, int], generator: torch.Generator, *, cells: int = 16, std: float = 0.2) -> Tensor:
    """Noise (B, C, H, W) for images of that ``shape``, of mean 0.

    Args:
        cells: grid cells per side; the interpolated grid is then rolled by a random offset, so that no pixel is a node
            more often than others.
        std: standard deviation on the grid; interpolation leaves two thirds of it on average.
    """
    b, c, h, w = shape
    grid = std * draws.randn(generator, b, c, cells, cells)
    noise = F.interpolate(grid, size=(h, w), mode="bilinear", align_corners=True)
    down, right = (draws.randint(generator, 0, length, b) for length in (h, w))
    row, rows, columns = (torch.arange(length, device=generator.device) for length in (b, h, w))
    rows, columns = (rows + down[:, None]) % h, (columns + right[:, None]) % w
    return noise[row[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def apply(image: Tensor, brain: Tensor, noise: Tensor) -> Tensor:
    """``image`` (B, C, H, W) with ``noise`` in its foreground: inside ``brain`` (B, 1, H, W), in contrasts that are
    present. The result is not clipped, as in the original."""
    present = image.ne(0).flatten(2).any(dim=2)[:, :, None, None]
    return image + noise.to(image) * (brain & present)


def coarse_noise(
    image: Tensor, brain: Tensor, generator: torch.Generator, *, cells: int = 16, std: float = 0.2
) -> Tensor:
    """:func:`draw` and :func:`apply` at once."""
    return apply(image, brain, draw(tuple(image.shape), generator, cells=cells, std=std))  # type: ignore[arg-type]
