"""Poisson image interpolation (PII, Tan et al. 2021): a patch of another slice, blended in without a seam.

Inside the patch the result u solves the Poisson equation  div grad u = div v  with u = a on the patch's border, where
a is the slice, b its partner, and the guidance v mixes their gradients (Perez et al. 2003): alpha grad b, unless
(1 - alpha)|grad a| is larger, then (1 - alpha) grad a. On a rectangle u - a is a sum of sines, so that the solution is
exact and takes two small matrix products per axis.

The brain's edge is no gradient worth copying: where either slice has no brain, v is grad a, so that the border between
brain and background stays as it is and the tissue before it is free to change. :func:`draw` is random, :func:`apply`
deterministic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from braincli.anomalies import pixels
from braincli.diffusion import draws

VISIBLE = 1e-3  # smaller changes are no anomaly


@dataclass(frozen=True)
class Patch:
    """Parameters per row: ``centre`` (B, 2) and ``half`` (B, 2), half the side lengths, as shares of the brain's box;
    ``alpha`` (B,) how much of the partner is mixed in."""

    centre: Tensor
    half: Tensor
    alpha: Tensor

    def to(self, device: torch.device) -> Patch:
        """The same parameters on ``device``."""
        return Patch(**{name: value.to(device) for name, value in vars(self).items()})


def draw(
    shape: tuple[int, int, int, int],
    generator: torch.Generator,
    *,
    half: tuple[float, float] = (0.05, 0.2),
    alpha: tuple[float, float] = (0.05, 0.95),
) -> Patch:
    """Parameters for images of ``shape`` (B, C, H, W): patches with their centre in the central 80 %.

    Args:
        half: half of the patch's side, as a share of the brain's box.
        alpha: how much of the partner is mixed in.
    """
    b = shape[0]

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * draws.rand(generator, *size)

    return Patch(
        centre=uniform(0.1, 0.9, b, 2),
        half=uniform(*half, b, 1).expand(b, 2).clone(),
        alpha=uniform(*alpha, b),
    )


def apply(image: Tensor, brain: Tensor, donor: Tensor, patch: Patch) -> tuple[Tensor, Tensor]:
    """Blend a patch of ``donor`` into ``image``.

    Args:
        image: (B, C, H, W) in [0, 1]. Contrasts that are absent (all zero) in it or in its partner stay as they are.
        brain: (B, 1, H, W) bool; nothing changes outside.
        donor: (B, C, H, W), the partner slices; 0 outside their brains.

    Returns:
        The blended image, clipped to the range of ``image``, and the label (B, 1, H, W): alpha where any contrast
        changed by more than 1e-3, else 0.
    """
    blended = image.clone()
    both = (brain & donor.ne(0).any(dim=1, keepdim=True)).to(image.dtype)
    there = image.ne(0).flatten(2).any(dim=2) & donor.ne(0).flatten(2).any(dim=2)
    alpha = patch.alpha.to(image)
    channels = there.tolist()
    for row, (top, bottom, left, right) in enumerate(boxes(brain, patch)):
        if bottom - top < 3 or right - left < 3 or not any(channels[row]):
            continue
        held = [channel for channel, holds in enumerate(channels[row]) if holds]
        place = (row, held, slice(top, bottom), slice(left, right))
        a, b = image[place], donor[place]
        blended[place] = a + _seamless(a, b, both[row, :, top:bottom, left:right], alpha[row])
    low, high = image.flatten(1).amin(dim=1), image.flatten(1).amax(dim=1)
    blended = blended.clamp(low[:, None, None, None], high[:, None, None, None]) * brain
    changed = (blended - image).abs().amax(dim=1, keepdim=True) > VISIBLE
    return torch.where(brain, blended, image), (changed & brain) * alpha[:, None, None, None]


def boxes(brain: Tensor, patch: Patch) -> list[tuple[int, int, int, int]]:
    """Top, bottom, left, right of each row's patch in pixels; all 0 where there is no brain."""
    size = brain.shape[2:]
    boxes = []
    drawn = torch.cat(
        [pixels.extent(brain).flatten(1), patch.centre.to(brain.device), patch.half.to(brain.device)], dim=1
    )
    for top, bottom, left, right, *place in drawn.tolist():  # the one read of a device
        edges: list[int] = []
        for axis, (low, high) in enumerate(((top, bottom), (left, right))):
            middle, reach = low + place[axis] * (high - low), place[2 + axis] * (high - low)
            edges += [max(0, round(middle - reach)), min(size[axis], round(middle + reach) + (high > low))]
        boxes.append((edges[0], edges[1], edges[2], edges[3]))
    return boxes


def partners(position: Tensor, generator: torch.Generator, *, spread: float = 0.05) -> Tensor:
    """(B,) indices: for every row another one of about the same height in the brain (itself where it is alone).

    Args:
        position: (B,) height in [0, 1].
        spread: heights that differ by less are as good as equal.
    """
    b = len(position)
    distance = (position[:, None] - position[None]).abs() + spread * draws.rand(generator, b, b).to(position.device)
    return distance.fill_diagonal_(math.inf).argmin(dim=1)


def _seamless(a: Tensor, b: Tensor, both: Tensor, alpha: Tensor) -> Tensor:
    """(C, h, w) u - a: 0 on the outermost pixels, the solution inside."""
    change = torch.zeros_like(a)
    flow = [_mixed(a.diff(dim=d), b.diff(dim=d), _links(both, d), alpha) for d in (1, 2)]
    source = flow[0].diff(dim=1)[:, :, 1:-1] + flow[1].diff(dim=2)[:, 1:-1]
    change[:, 1:-1, 1:-1] = solve(source)
    return change


def _mixed(a: Tensor, b: Tensor, link: Tensor, alpha: Tensor) -> Tensor:
    """v - grad a along one axis."""
    a_part, b_part = (1 - alpha) * a, alpha * b
    return link * (torch.where(a_part.abs() > b_part.abs(), a_part, b_part) - a)


def _links(mask: Tensor, dim: int) -> Tensor:
    """1 between neighbours that are both in ``mask``."""
    n = mask.shape[dim]
    return mask.narrow(dim, 0, n - 1) * mask.narrow(dim, 1, n - 1)


def solve(source: Tensor) -> Tensor:
    """(..., h, w) solution of the discrete Poisson equation: its five-point Laplacian is ``source``, 0 around it."""
    rows, row_values = _sines(source.shape[-2], source)
    columns, column_values = _sines(source.shape[-1], source)
    spectrum = rows @ source @ columns / (row_values[:, None] + column_values[None])
    return rows @ spectrum @ columns


def _sines(n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors (n, n), symmetric and orthonormal, and eigenvalues (n,) of the second difference between zeros."""
    k = torch.arange(1, n + 1, device=like.device, dtype=like.dtype)
    vectors = math.sqrt(2 / (n + 1)) * torch.sin(math.pi / (n + 1) * k[:, None] * k[None])
    return vectors, 2 * torch.cos(math.pi / (n + 1) * k) - 2
