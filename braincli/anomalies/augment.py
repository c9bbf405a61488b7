"""How scanners and heads differ: what a detector must not take for disease.

Geometry (flip, rotation, scale, shift, elastic bending) moves image and masks together; intensity (gamma, gain, bias
field, blur, noise, missing contrasts) changes the image alone. As everywhere here, :func:`draw` is
random and the two appliers are deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.anomalies import warp
from braincli.diffusion import draws


@dataclass(frozen=True)
class Variation:
    """Parameters per row: ``grid`` (B, H, W, 2) sampling positions; ``gamma`` (B, C, 1, 1); ``field`` (B, C, H, W) gain
    and multiplicative bias; ``noise`` (B, C, H, W); ``keep`` (B, C, 1, 1) contrasts kept."""

    grid: Tensor
    gamma: Tensor
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

    def around(middle: float, size: float, *dims: int) -> tuple[float, ...]:
        return middle - strength * size, middle + strength * size, *dims

    drawn = draws.uniforms(
        generator, b, angle=around(0, 0.26), scale=around(1, 0.12), flip=(-1, 1), shift=around(0, 0.05, 2),
        bend=around(0, 0.025, 2, 5, 5), gamma=around(0, 0.5, c, 1, 1), gain=around(1 - 0.07 * strength, 0.18, c, 1, 1),
        field=around(1, 0.15, c, 3, 3), noise=(0, 0.03 * strength, c, 1, 1), kept=(0, 1, c, 1, 1), lot=(0, 1, c, 1, 1),
        lone=(0, 1, 1, 1, 1),
    )  # fmt: skip
    one = drawn["lot"] == drawn["lot"].amax(dim=1, keepdim=True)
    keep = drawn["kept"] >= drop
    keep = torch.where(keep.any(dim=1, keepdim=True), keep, one)
    if alone:
        keep = torch.where(drawn["lone"] < alone, one, keep)
    return Variation(
        grid=warp.grid((h, w), *(drawn[name] for name in ("angle", "scale", "flip", "shift", "bend"))),
        gamma=drawn["gamma"].exp(),
        field=F.interpolate(drawn["gain"] * drawn["field"], size=(h, w), mode="bicubic", align_corners=True),
        noise=draws.randn(generator, b, c, h, w) * drawn["noise"],
        keep=keep,
    )


def move(image: Tensor, variation: Variation) -> Tensor:
    """(B, K, H, W) resampled: bilinear for floats, nearest neighbour for masks (bool)."""
    (moved,) = move_all([image], variation)
    return moved


def move_all(images: Sequence[Tensor], variation: Variation) -> list[Tensor]:
    """:func:`move` of several at once, all floats or all masks."""
    masks = images[0].dtype == torch.bool
    whole = images[0] if len(images) == 1 else torch.cat(list(images), dim=1)
    mode = "nearest" if masks else "bilinear"
    moved = F.grid_sample(whole.float(), variation.grid, mode=mode, padding_mode="zeros", align_corners=False)
    return list((moved > 0.5 if masks else moved).split([part.shape[1] for part in images], dim=1))


def recolour(image: Tensor, brain: Tensor, variation: Variation) -> Tensor:
    """(..., B, C, H, W) in [0, 1] with other intensities; background and absent contrasts stay exactly 0."""
    shown = image.amax(dim=(-2, -1), keepdim=True).ne(0) & variation.keep
    changed = torch.addcmul(variation.noise, image.clamp_min(1e-6).pow(variation.gamma), variation.field)
    return changed.clamp(0, 1) * (brain & shown)
