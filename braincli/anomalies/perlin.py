"""Perlin noise (Perlin 1985): smooth at the scale of its cells, which differ between the axes and from row to row.

:func:`draw` takes everything random from a generator, :func:`field` and :func:`mask` are deterministic. As in
DRAEM's reference code the number of cells is 2^k per axis on the next power of two above the image's size, and the
field is turned; here the lattice is turned and not the finished picture, so that no corner is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from braincli.diffusion import draws

LATTICE = 64  # corners per axis; the lattice repeats beyond


@dataclass(frozen=True)
class Perlin:
    """Parameters per row: ``gradient`` (B, 64, 64) angle of the gradient at each corner; ``cell`` (B, 2) size of a
    cell as a share of the canvas; ``turn`` (B,) radians; ``offset`` (B, 2) of the lattice, in cells."""

    gradient: Tensor
    cell: Tensor
    turn: Tensor
    offset: Tensor

    def to(self, device: torch.device) -> Perlin:
        """The same parameters on ``device``."""
        return Perlin(**{name: value.to(device) for name, value in vars(self).items()})


def draw(rows: int, generator: torch.Generator, *, octaves: tuple[int, int] = (0, 6), turn: float = 90.0) -> Perlin:
    """Parameters of ``rows`` fields.

    Args:
        octaves: smallest and largest k; an axis of the canvas has 2^k cells.
        turn: largest rotation in degrees, either way.
    """
    low, high = octaves
    return Perlin(
        gradient=2 * math.pi * draws.rand(generator, rows, LATTICE, LATTICE),
        cell=0.5 ** draws.randint(generator, low, high + 1, rows, 2),
        turn=math.radians(turn) * (2 * draws.rand(generator, rows) - 1),
        offset=LATTICE * draws.rand(generator, rows, 2),
    )


def field(size: tuple[int, int], perlin: Perlin) -> Tensor:
    """(B, 1, H, W) noise in about [-1, 1], mean 0; ``size`` is (H, W)."""
    h, w = size
    canvas = 2 ** math.ceil(math.log2(max(h, w, 2)))
    device = perlin.cell.device
    y = torch.arange(h, device=device)[None, :, None] - (h - 1) / 2
    x = torch.arange(w, device=device)[None, None, :] - (w - 1) / 2
    cos, sin = perlin.turn.cos()[:, None, None], perlin.turn.sin()[:, None, None]
    at = torch.stack([y * cos + x * sin, x * cos - y * sin], dim=1)  # (B, 2, H, W)
    at = at / (canvas * perlin.cell)[..., None, None] + perlin.offset[..., None, None]
    corner = at.floor()
    inside = at - corner
    smooth = inside**3 * (inside * (inside * 6 - 15) + 10)
    weight_y, weight_x = smooth[:, 0], smooth[:, 1]
    flat = perlin.gradient.flatten(1)

    def pull(dy: int, dx: int) -> Tensor:
        """(B, H, W) the corner's gradient times the way from it."""
        row, column = (corner[:, 0].long() + dy) % LATTICE, (corner[:, 1].long() + dx) % LATTICE
        angle = flat.gather(1, (row * LATTICE + column).flatten(1)).view_as(row)
        return (inside[:, 0] - dy) * angle.sin() + (inside[:, 1] - dx) * angle.cos()

    top = torch.lerp(pull(0, 0), pull(0, 1), weight_x)
    bottom = torch.lerp(pull(1, 0), pull(1, 1), weight_x)
    return math.sqrt(2) * torch.lerp(top, bottom, weight_y)[:, None]


def mask(noise: Tensor, brain: Tensor, threshold: Tensor, *, least: float | Tensor | None = None) -> Tensor:
    """(B, 1, H, W) bool: where ``noise`` exceeds ``threshold`` (B,), inside the brain.

    A Perlin mask may be empty or lie beside the brain. Where less than the share ``least`` of the brain would be
    (B,) masked, the row's threshold is lowered until it is.
    """
    limit = threshold[:, None, None, None]
    if least is not None:
        inside = torch.where(brain, noise, -torch.inf).flatten(1).sort(dim=1, descending=True).values
        rank = (least * brain.flatten(1).sum(dim=1)).long().clamp_max(inside.shape[1] - 1)
        limit = torch.minimum(limit, inside.gather(1, rank[:, None])[..., None, None])
    return (noise > limit) & brain
