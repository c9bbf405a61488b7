"""Noise that belongs to a sample, not to a batch: row i is drawn from ``generators[i]`` alone, on the CPU. In training
one generator draws for the whole batch, on its own device.

Simplex noise (Perlin 2001) is gradient noise on a lattice of triangles. Which three lattice points a pixel sees, and
how far off they are, is the same for every image; only their gradients are random. So a whole stack of fractal fields
is one sparse matrix, made once per image size, times a table of random gradients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.diffusion import draws, levels

Generators = Sequence[torch.Generator]
SKEW, UNSKEW = (math.sqrt(3) - 1) / 2, (3 - math.sqrt(3)) / 6
# OpenSimplex, which the papers take, has triangles this much larger at the same nominal wavelength ...
STRETCH = math.sqrt(3)
GAIN = 66.0  # ... and an amplitude that gives six octaves its standard deviation of 0.58
DIRECTIONS = 256


def gaussian(like: Tensor, generators: torch.Generator | Generators) -> Tensor:
    """Standard normal noise of ``like``'s shape (B, ...), device and dtype; one generator per row, or one for all."""
    if isinstance(generators, torch.Generator):
        return draws.randn(generators, *like.shape).to(like)
    _check(like, generators)
    rows = torch.stack([torch.randn(like.shape[1:], generator=generator) for generator in generators])
    if like.is_cuda:  # out of pinned memory, so that the next noise is drawn while the GPU works with this one
        return rows.pin_memory().to(like, non_blocking=True)
    return rows.to(like)


def noised(clean: Tensor, low: float, high: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``clean`` (B, C, H, W) with noise of a drawn level between ``low`` and ``high`` per row, and these sigma (B,)."""
    t = draws.rand(generator, len(clean)).to(clean.device)
    sigma = levels.sigma_at(t, low, high)
    return clean + sigma[:, None, None, None] * draws.randn(generator, *clean.shape).to(clean), sigma


def simplex(
    like: Tensor,
    generators: torch.Generator | Generators,
    *,
    octaves: int = 6,
    persistence: float = 0.8,
    frequency: float = 64.0,
    normalised: bool = True,
    shared: bool = False,
) -> Tensor:
    """Fractal simplex noise (AnoDDPM; Wyatt et al. 2022) of ``like``'s shape (B, C, H, W), device and dtype.

    Args:
        generators: one for the whole batch (training), or one per row.
        octaves: fields that are summed; each has half the wavelength of the one before.
        persistence: amplitude of an octave in shares of the one before.
        frequency: wavelength of the first octave in pixels.
        normalised: each field has mean 0 and standard deviation 1, like white noise. The reference code leaves fields
            as they are: their standard deviation is about 0.6, and their mean is a random brightness.
        shared: one field for all rows and channels, as the reference code has it; then the first generator draws.
    """
    if isinstance(generators, torch.Generator):
        generators, rows = [generators], len(like)
    else:
        _check(like, generators)
        rows = 1
    channels = like.shape[1]
    if shared:
        generators, rows, channels = generators[:1], 1, 1
    plan = _plan(like.shape[2], like.shape[3], octaves, persistence, frequency, like.device)
    shape = (rows * channels, plan.points)
    directions = torch.cat([draws.randint(g, 0, DIRECTIONS, *shape, dtype=torch.uint8) for g in generators])
    fields = plan.fields(directions.to(like.device))
    if normalised:
        variance, mean = torch.var_mean(fields, dim=0, correction=0)
        fields = (fields - mean) / variance.sqrt().clamp_min(1e-6)
    return fields.t().reshape(-1, channels, *like.shape[2:]).expand(like.shape).to(like)


@dataclass(frozen=True)
class Plan:
    """The sparse matrix of fractal simplex noise for one image size.

    Attributes:
        rows: (H W, 6 octaves) rows of the gradient table.
        weights: the same shape.
        points: lattice points of all octaves; the table has two rows, x and y, for each.
    """

    rows: Tensor
    weights: Tensor
    points: int

    def fields(self, directions: Tensor) -> Tensor:
        """(H W, n) fields from the directions of their gradients, (n, points) uint8."""
        turns = torch.arange(DIRECTIONS, device=directions.device) * (2 * math.pi / DIRECTIONS)
        chosen = directions.t().reshape(-1).int()
        table = torch.cat([part.index_select(0, chosen) for part in (turns.cos(), turns.sin())])
        table = table.view(2 * self.points, -1)
        return F.embedding_bag(self.rows, table, mode="sum", per_sample_weights=self.weights)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _plan(height: int, width: int, octaves: int, persistence: float, frequency: float, device: torch.device) -> Plan:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x.flatten(), y.flatten()], dim=1).double()
    rows, weights, points = [], [], 0
    for octave in range(octaves):
        corners, weight = _octave(pixels * (2**octave / frequency / STRETCH))
        used, number = torch.unique(corners, return_inverse=True)
        rows.append(points + number)
        weights.append(weight * (GAIN * persistence**octave))
        points += len(used)
    ids = torch.cat(rows, dim=1)
    both = torch.cat([ids, points + ids], dim=1).int()
    flat = torch.cat([w[:, :, axis] for axis in (0, 1) for w in weights], dim=1).float()
    return Plan(both.to(device), flat.to(device), points)


def _octave(position: Tensor) -> tuple[Tensor, Tensor]:
    """Keys (N, 3) of the lattice points that ``position`` (N, 2) sees, and what their gradients count (N, 3, 2)."""
    cell = (position + position.sum(dim=1, keepdim=True) * SKEW).floor()
    first = position - cell + cell.sum(dim=1, keepdim=True) * UNSKEW
    right = first[:, :1] > first[:, 1:]
    step = torch.cat([right, ~right], dim=1).double()
    steps = torch.stack([torch.zeros_like(step), step, torch.ones_like(step)], dim=1)
    offset = first[:, None] - steps + steps.sum(dim=2, keepdim=True) * UNSKEW
    fall = (0.5 - offset.square().sum(dim=2, keepdim=True)).clamp_min(0) ** 4
    corners = (cell[:, None] + steps).long()
    return corners[..., 0] * (1 << 32) + corners[..., 1], fall * offset


def _check(like: Tensor, generators: Generators) -> None:
    if len(generators) != len(like):
        raise ValueError(f"{len(like)} rows need as many generators, got {len(generators)}")
