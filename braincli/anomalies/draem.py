"""DRAEM's anomalies (Zavrtanik et al. 2021, Sec. 3.3): Perlin masks filled with a foreign texture.

The blend (DRAEM Eq. 3; SADM, Behrendt et al. 2024, App. C) is

    I_syn = (1 - M) I + (1 - g) M I + g M A,    g ~ U(0.2, 1.0)

DRAEM writes beta = 1 - g. Where the publications and their code differ there are options: the mask's threshold is
fixed at 0.5 (both codes) or uniform (SADM's text); the texture A is the mask's own Perlin noise in 8 bits, negative
values wrapped around (SADM's code), or another slice, for DRAEM's folder of foreign pictures; three random
augmentations change it either way. As everywhere here, :func:`draw` is random and :func:`apply` deterministic. Nothing
outside the brain changes unless the whole slice is given for it, as the publications have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.anomalies import perlin
from braincli.diffusion import draws

Augmentation = Callable[[Tensor, Tensor], Tensor]  # (rows (R, 1, H, W), amount (R, 1, 1, 1) in [0, 1])

STEPS = 3  # augmentations of each texture
FIXED = 0.5


@dataclass(frozen=True)
class Draem:
    """Parameters per row: ``noise`` (B, 1, H, W) Perlin noise; ``threshold`` (B,); ``opacity`` (B,) is g; ``step``
    (B, C, 3) which augmentations and ``amount`` (B, C, 3) how much, in [0, 1]; ``foreign`` (B,) bool, the texture is
    another slice; ``planted`` (B,) bool, false for clean rows; ``least`` (B,) smallest share of the
    brain, None for no bound."""

    noise: Tensor
    threshold: Tensor
    opacity: Tensor
    step: Tensor
    amount: Tensor
    foreign: Tensor
    planted: Tensor
    least: Tensor | None

    def to(self, device: torch.device) -> Draem:
        """The same parameters on ``device``."""
        moved: dict[str, Any] = {name: v if v is None else v.to(device) for name, v in vars(self).items()}
        return Draem(**moved)


def draw(
    shape: tuple[int, int, int, int],
    generator: torch.Generator,
    *,
    octaves: tuple[int, int] = (0, 6),
    uniform_threshold: bool = False,
    foreign: float = 0.0,
    clean: float = 0.0,
    least: float = 0.0,
) -> Draem:
    """Parameters for images of ``shape`` (B, C, H, W).

    Args:
        octaves: of the Perlin noise.
        uniform_threshold: draw it from U(0.25, 0.75) instead of 0.5.
        foreign: share of rows whose texture is another slice (needs ``donor`` in :func:`apply`).
        clean: share of rows without anomaly (DRAEM trains with 0.5).
        least: smallest share of the brain that a mask covers; 0 leaves empty masks empty (the reference code).
    """
    b, c, h, w = shape

    def chance(share: float) -> Tensor:
        return draws.rand(generator, b) < share

    noise = perlin.field((h, w), perlin.draw(b, generator, octaves=octaves))
    moved = 0.5 * (draws.rand(generator, b) - 0.5)
    order = draws.rand(generator, b, c, len(AUGMENTATIONS)).argsort(dim=2)
    return Draem(
        noise=noise,
        threshold=FIXED + moved * uniform_threshold,
        opacity=0.2 + 0.8 * draws.rand(generator, b),
        step=order[..., :STEPS],
        amount=draws.rand(generator, b, c, STEPS),
        foreign=chance(foreign),
        planted=~chance(clean),
        least=torch.full((b,), least, device=generator.device) if least else None,
    )


def apply(image: Tensor, brain: Tensor, anomaly: Draem, donor: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Plant anomalies.

    Args:
        image: (B, C, H, W) in [0, 1]. Absent contrasts (all zero) stay absent.
        brain: (B, 1, H, W) bool; nothing changes outside. The whole slice, where anomalies may lie beside the brain.
        donor: (B, C, H, W) other slices, for the rows whose texture is foreign; without it they take noise.

    Returns:
        The anomalous image, and the mask M (B, 1, H, W) as 0.0 or 1.0.
    """
    anomaly = anomaly.to(image.device)
    masked = perlin.mask(anomaly.noise, brain, anomaly.threshold, least=anomaly.least)
    masked = masked & anomaly.planted[:, None, None, None]
    texture = wrapped(anomaly.noise).expand_as(image)
    if donor is not None:
        texture = torch.where(anomaly.foreign[:, None, None, None], donor, texture)
    present = image.ne(0).flatten(2).any(dim=2)[:, :, None, None]
    opacity = anomaly.opacity[:, None, None, None] * masked * present
    return image + opacity * (augmented(texture, anomaly) - image), masked.float()


def wrapped(noise: Tensor) -> Tensor:
    """Noise in [-1, 1] as 8-bit values in [0, 1]; what is negative wraps around (the reference code)."""
    return ((noise * 255).trunc() % 256) / 255


def augmented(texture: Tensor, anomaly: Draem) -> Tensor:
    """(B, C, H, W) in [0, 1] with the augmentations of ``anomaly``, each channel its own."""
    flat = texture.flatten(0, 1)[:, None]
    step, amount = anomaly.step.flatten(0, 1), anomaly.amount.flatten(0, 1)[..., None, None, None]
    for turn in range(step.shape[1]):
        for kind, change in enumerate(AUGMENTATIONS):
            flat = _changed(flat, change, amount[:, turn], step[:, turn] == kind)
    return flat.reshape(texture.shape)


def _changed(flat: Tensor, change: Augmentation, amount: Tensor, chosen: Tensor) -> Tensor:
    """``change`` in the rows that are ``chosen`` (R,). A CPU computes those alone; a GPU would wait for their count."""
    if flat.device.type != "cpu":
        return torch.where(chosen[:, None, None, None], change(flat, amount).clamp(0, 1), flat)
    rows = chosen.nonzero()[:, 0]
    return flat.index_copy(0, rows, change(flat[rows], amount[rows]).clamp(0, 1)) if len(rows) else flat


def _gamma(x: Tensor, amount: Tensor) -> Tensor:
    return x.clamp_min(1e-6) ** (0.5 + 1.5 * amount)


def _brightness(x: Tensor, amount: Tensor) -> Tensor:
    """Factor 0.8..1.2 and shift by -30..30 of 255."""
    return x * (0.8 + 0.4 * amount) + (2 * amount - 1) * 30 / 255


def _sharpness(x: Tensor, amount: Tensor) -> Tensor:
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return x + 2 * amount * (x - blurred)


def _solarise(x: Tensor, amount: Tensor) -> Tensor:
    return torch.where(x > 0.125 + 0.375 * amount, 1 - x, x)


def _posterise(x: Tensor, amount: Tensor) -> Tensor:
    levels = 2 ** (1 + (amount * 5).floor())
    return (x * levels).floor() / levels


def _invert(x: Tensor, amount: Tensor) -> Tensor:
    return 1 - x


def _autocontrast(x: Tensor, amount: Tensor) -> Tensor:
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    return (x - low) / (high - low).clamp_min(1e-6)


def _equalise(x: Tensor, amount: Tensor) -> Tensor:
    """Each value becomes the share of smaller ones."""
    flat = x.flatten(1)
    ranks = torch.searchsorted(flat.sort(dim=1).values, flat)
    return (ranks.to(x.dtype) / flat.shape[1]).view_as(x)


def _rotate(x: Tensor, amount: Tensor) -> Tensor:
    """By -45..45 degrees, mirrored at the edges."""
    h, w = x.shape[2:]
    angle = (2 * amount.flatten() - 1) * math.pi / 4
    theta = torch.zeros(len(x), 2, 3, device=x.device)
    theta[:, 0, 0], theta[:, 0, 1] = angle.cos(), -angle.sin() * h / w
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin() * w / h, angle.cos()
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


# The reference's list, but for the change of hue and saturation: there is no colour here.
AUGMENTATIONS: tuple[Augmentation, ...] = (
    _gamma, _brightness, _sharpness, _solarise, _posterise, _invert, _autocontrast, _equalise, _rotate,
)  # fmt: skip
