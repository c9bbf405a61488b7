"""Lesions of other slices, cut out, bent and set into healthy tissue: the looks that no formula draws.

:func:`draw` takes everything random from a generator, :func:`apply` is deterministic. Donor and host are slices
normalised alike, so intensities are carried over as they are, but for a random gamma and gain per contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.anomalies import pixels
from braincli.diffusion import draws

MARGIN = 3  # pixels, the most by which a donor's lesion is shrunk


@dataclass(frozen=True)
class Transplant:
    """Parameters per row: ``donor`` (B,) share in [0, 1) that picks one of the rows with a lesion; ``grid``
    (B, H, W, 2) where the donor is sampled; ``margin`` (B,) pixels by which the donor's lesion is shrunk;
    ``opacity``, ``gamma``, ``gain`` (B, C, 1, 1)."""

    donor: Tensor
    grid: Tensor
    margin: Tensor
    opacity: Tensor
    gamma: Tensor
    gain: Tensor


def draw(shape: tuple[int, int, int, int], generator: torch.Generator) -> Transplant:
    """Parameters for images of ``shape`` (B, C, H, W)."""
    b, c, h, w = shape

    def spread(size: float, *dims: int) -> Tensor:
        return size * (2 * draws.rand(generator, *dims) - 1)

    angle, scale = spread(0.7, b), spread(0.4, b).exp()
    flip = torch.where(draws.rand(generator, b) < 0.5, -1.0, 1.0)
    theta = torch.zeros(b, 2, 3, device=generator.device)
    theta[:, 0, 0], theta[:, 0, 1] = flip * angle.cos() * scale, -flip * angle.sin() * scale * h / w
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin() * scale * w / h, angle.cos() * scale
    theta[:, :, 2] = spread(0.3, b, 2)
    bend = F.interpolate(spread(0.08, b, 2, 6, 6), size=(h, w), mode="bicubic", align_corners=True)
    return Transplant(
        donor=draws.rand(generator, b),
        grid=F.affine_grid(theta, [b, 1, h, w], align_corners=False) + bend.permute(0, 2, 3, 1),
        margin=draws.randint(generator, 1, MARGIN + 1, b),
        opacity=1 - 0.5 * draws.rand(generator, b, 1, 1, 1) * draws.rand(generator, b, c, 1, 1),
        gamma=spread(0.35, b, c, 1, 1).exp(),
        gain=1 + spread(0.15, b, c, 1, 1),
    )


def apply(image: Tensor, brain: Tensor, lesion: Tensor, transplant: Transplant) -> tuple[Tensor, Tensor]:
    """Set lesions of some rows into all rows.

    Args:
        image: (B, C, H, W) in [0, 1]; hosts and donors alike. Absent contrasts (all zero) stay absent, and a contrast
            that the donor lacks is left as it is.
        brain, lesion: (B, 1, H, W) bool.

    Returns:
        The diseased image and the lesion's alpha (B, 1, H, W) in [0, 1]; all 0 where no other row has a lesion.
    """
    device = image.device
    sick = lesion.flatten(1).any(dim=1)
    chosen = pixels.nth(transplant.donor.to(device)[None], sick[None])[0]
    alpha = _soft(_shrunk(lesion[chosen] & brain[chosen], transplant.margin.to(device)))
    grid = transplant.grid.to(device)
    donated = F.grid_sample(image[chosen], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    alpha = F.grid_sample(alpha, grid, mode="bilinear", padding_mode="zeros", align_corners=False) * brain
    alpha = alpha * (chosen != torch.arange(len(image), device=device))[:, None, None, None]
    donated = (donated.clamp_min(1e-6) ** transplant.gamma.to(device) * transplant.gain.to(device)).clamp(0, 1)
    both = image.ne(0).flatten(2).any(dim=2) & image[chosen].ne(0).flatten(2).any(dim=2)
    blend = alpha * transplant.opacity.to(device) * both[:, :, None, None]
    return image + blend * (donated - image), alpha


def _shrunk(mask: Tensor, margin: Tensor) -> Tensor:
    """(B, 1, H, W) bool -> float, eroded by ``margin`` (B,) pixels per row."""
    outside = 1 - mask.float()
    for step in range(MARGIN):
        grown = F.max_pool2d(outside, 3, stride=1, padding=1)
        outside = torch.where((margin > step)[:, None, None, None], grown, outside)
    return 1 - outside


def _soft(mask: Tensor) -> Tensor:
    """Edges over about four pixels."""
    return F.avg_pool2d(F.avg_pool2d(mask, 3, stride=1, padding=1), 3, stride=1, padding=1)
