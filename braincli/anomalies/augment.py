"""How scanners and heads differ: what a detector must not take for disease.

Geometry (flip, rotation, scale, shift, elastic bending) moves image and masks together; intensity (gamma, gain, bias
field, blur, noise, missing contrasts) changes the image alone. As everywhere here, :func:`draw` is
random and the two appliers are deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.diffusion import draws


@dataclass(frozen=True)
class Variation:
    """Parameters per row: ``grid`` (B, H, W, 2) sampling positions; ``gamma``, ``gain`` (B, C, 1, 1);
    ``field`` (B, C, H, W) multiplicative bias; ``noise`` (B, C, H, W); ``keep`` (B, C, 1, 1) contrasts kept."""

    grid: Tensor
    gamma: Tensor
    gain: Tensor
    field: Tensor
    noise: Tensor
    keep: Tensor

    def to(self, device: torch.device) -> Variation:
        """The same parameters on ``device``."""
        return Variation(**{name: value.to(device) for name, value in vars(self).items()})


def draw(
    shape: tuple[int, int, int, int],
    generator: torch.Generator,
    *,
    strength: float = 1.0,
    drop: float = 0.15,
    alone: float = 0.0,
) -> Variation:
    """Parameters for images of ``shape`` (B, C, H, W).

    Args:
        strength: scales every range; 0 changes nothing (but flips).
        drop: chance that a contrast is removed; at least one stays.
        alone: chance that all but one are removed.
    """
    b, c, h, w = shape

    def spread(size: float, *dims: int) -> Tensor:
        return strength * size * (2 * draws.rand(generator, *dims) - 1)

    angle, scale = spread(0.26, b), 1 + spread(0.12, b)
    flip = torch.where(draws.rand(generator, b) < 0.5, -1.0, 1.0)
    # (x, y): w / h corrects the normalised axes for the canvas' shape
    theta = torch.zeros(b, 2, 3, device=generator.device)
    theta[:, 0, 0], theta[:, 0, 1] = flip * angle.cos() * scale, -flip * angle.sin() * scale * h / w
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin() * scale * w / h, angle.cos() * scale
    theta[:, :, 2] = spread(0.05, b, 2)
    grid = F.affine_grid(theta, [b, 1, h, w], align_corners=False)
    bend = F.interpolate(spread(0.025, b, 2, 5, 5), size=(h, w), mode="bicubic", align_corners=True)
    keep = draws.rand(generator, b, c, 1, 1) >= drop
    first = draws.randint(generator, 0, c, b)
    one = (torch.arange(c, device=generator.device) == first[:, None])[:, :, None, None]
    keep = torch.where(keep.any(dim=1, keepdim=True), keep, one)
    if alone:
        lone = draws.rand(generator, b) < alone
        keep = torch.where(lone[:, None, None, None], one, keep)
    field = F.interpolate(spread(0.15, b, c, 3, 3), size=(h, w), mode="bicubic", align_corners=True)
    noise = draws.randn(generator, b, c, h, w) * spread(0.03, b, c, 1, 1).abs()
    return Variation(
        grid=grid + bend.permute(0, 2, 3, 1),
        gamma=spread(0.5, b, c, 1, 1).exp(),
        gain=1 + spread(0.18, b, c, 1, 1) - 0.07 * strength,
        field=1 + field,
        noise=noise,
        keep=keep,
    )


def move(image: Tensor, variation: Variation) -> Tensor:
    """(B, K, H, W) resampled: bilinear for floats, nearest neighbour for masks (bool)."""
    mode = "nearest" if image.dtype == torch.bool else "bilinear"
    moved = F.grid_sample(image.float(), variation.grid, mode=mode, padding_mode="zeros", align_corners=False)
    return moved > 0.5 if image.dtype == torch.bool else moved


def recolour(image: Tensor, brain: Tensor, variation: Variation) -> Tensor:
    """(B, C, H, W) in [0, 1] with other intensities; background and absent contrasts stay exactly 0."""
    present = image.ne(0).flatten(2).any(dim=2)[:, :, None, None]
    changed = image.clamp_min(1e-6) ** variation.gamma * variation.gain * variation.field + variation.noise
    return changed.clamp(0, 1) * (brain & present & variation.keep)
