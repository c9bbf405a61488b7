"""Lesions of other slices, cut out, bent and set into healthy tissue: the looks that no formula draws.

:func:`draw` takes everything random from a generator, :func:`apply` is deterministic. Donor and host are slices
normalised alike, so intensities are carried over as they are, but for a random gamma and gain per contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.anomalies import pixels, warp
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
    drawn = draws.uniforms(
        generator, b, donor=(0, 1), angle=(-0.7, 0.7), scale=(-0.4, 0.4), flip=(-1, 1), shift=(-0.3, 0.3, 2),
        bend=(-0.08, 0.08, 2, 6, 6), margin=(1, MARGIN + 1), faint=(0, 0.5, 1, 1, 1), each=(0, 1, c, 1, 1),
        gamma=(-0.35, 0.35, c, 1, 1), gain=(0.85, 1.15, c, 1, 1),
    )  # fmt: skip
    return Transplant(
        donor=drawn["donor"],
        grid=warp.grid(
            (h, w), drawn["angle"], drawn["scale"].exp(), *(drawn[name] for name in ("flip", "shift", "bend"))
        ),
        margin=drawn["margin"].floor(),
        opacity=1 - drawn["faint"] * drawn["each"],
        gamma=drawn["gamma"].exp(),
        gain=drawn["gain"],
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
    chosen = pixels.nth(transplant.donor.to(device)[None], lesion.flatten(1).any(dim=1)[None])[0]
    donor, grid = image[chosen], transplant.grid.to(device)
    alpha = _soft(_shrunk(lesion[chosen] & brain[chosen], transplant.margin.to(device)))
    moved = F.grid_sample(
        torch.cat([donor, alpha], dim=1), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    another = (chosen != torch.arange(len(image), device=device)).view(-1, 1, 1, 1)
    donated, alpha = moved[:, :-1], moved[:, -1:] * (brain & another)
    donated = (donated.clamp_min(1e-6).pow(transplant.gamma.to(device)) * transplant.gain.to(device)).clamp(0, 1)
    both = _held(image) & _held(donor)
    return torch.addcmul(image, alpha * (transplant.opacity.to(device) * both), donated - image), alpha


def _held(image: Tensor) -> Tensor:
    """(B, C, 1, 1) bool: contrasts that are there."""
    return image.amax(dim=(2, 3), keepdim=True).ne(0)


def _shrunk(mask: Tensor, margin: Tensor) -> Tensor:
    """(B, 1, H, W) bool -> float, eroded by ``margin`` (B,) pixels per row, one at least."""
    outside, margin = 1 - mask.float(), margin.view(-1, 1, 1, 1)
    for step in range(MARGIN):
        grown = F.max_pool2d(outside, 3, stride=1, padding=1)
        outside = torch.where(margin > step, grown, outside) if step else grown
    return 1 - outside


def _soft(mask: Tensor) -> Tensor:
    """Edges over about four pixels."""
    return F.avg_pool2d(F.avg_pool2d(mask, 3, stride=1, padding=1), 3, stride=1, padding=1)
