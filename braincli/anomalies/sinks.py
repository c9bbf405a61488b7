"""Intensity sinks and sources: tissue that gets smoothly darker or brighter towards a centre, as in the smooth
intensity changes of nnOOD (Baugh et al. 2022).

No edge, no texture, no foreign tissue: what a detector of artefacts of blending misses. :func:`draw` is random,
:func:`apply` deterministic. Lengths are in pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from braincli.anomalies import pixels
from braincli.diffusion import draws


@dataclass(frozen=True)
class Sink:
    """Parameters per row: ``centre`` (B,) share in [0, 1] of the brain's pixels, in reading order; ``radius`` (B, 2)
    pixels along the axes of the ellipse; ``angle`` (B,); ``depth`` (B, C) change of intensity at the centre, negative
    for a sink; ``flatness`` (B,) exponent of the profile: 2 is a bell, more have a level floor."""

    centre: Tensor
    radius: Tensor
    angle: Tensor
    depth: Tensor
    flatness: Tensor

    def to(self, device: torch.device) -> Sink:
        """The same parameters on ``device``."""
        return Sink(**{name: value.to(device) for name, value in vars(self).items()})


def draw(
    shape: tuple[int, int, int, int],
    generator: torch.Generator,
    *,
    radius: tuple[float, float] = (4.0, 20.0),
    depth: tuple[float, float] = (0.15, 0.6),
) -> Sink:
    """Parameters for images of ``shape`` (B, C, H, W).

    Args:
        radius: smallest and largest radius in pixels (log-uniform).
        depth: size of the change at the centre; each contrast draws its own size and sign.
    """
    b, c = shape[:2]

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * draws.rand(generator, *size)

    sign = torch.where(draws.rand(generator, b, c) < 0.5, -1.0, 1.0)
    stretch = uniform(-0.35, 0.35, b)
    size = uniform(math.log(radius[0]), math.log(radius[1]), b)
    return Sink(
        centre=draws.rand(generator, b),
        radius=torch.stack([size + stretch, size - stretch], dim=1).exp(),
        angle=uniform(0, math.pi, b),
        depth=sign * uniform(*depth, b, c),
        flatness=uniform(2.0, 4.0, b),
    )


def apply(image: Tensor, brain: Tensor, sink: Sink) -> tuple[Tensor, Tensor]:
    """Sink or raise the intensity.

    Args:
        image: (B, C, H, W) in [0, 1]. Absent contrasts (all zero) stay absent.
        brain: (B, 1, H, W) bool; nothing changes outside.

    Returns:
        The changed image in [0, 1], and alpha (B, 1, H, W) in [0, 1], the depth's share that each pixel has.
    """
    alpha = spot(brain, sink)
    present = image.ne(0).flatten(2).any(dim=2)[:, :, None, None]
    return (image + alpha * sink.depth.to(image.device)[..., None, None] * present).clamp(0, 1), alpha


def spot(brain: Tensor, sink: Sink) -> Tensor:
    """(B, 1, H, W) in [0, 1]: 1 at the centre, a half at the radius, 0 outside the brain."""
    h, w = brain.shape[2:]
    sink = sink.to(brain.device)
    centre = pixels.positions(sink.centre[:, None], brain)[:, 0]
    dy = torch.arange(h, device=brain.device)[None, :, None] - centre[:, 0, None, None]
    dx = torch.arange(w, device=brain.device)[None, None, :] - centre[:, 1, None, None]
    cos, sin = sink.angle.cos()[:, None, None], sink.angle.sin()[:, None, None]
    along = (dy * cos + dx * sin) / sink.radius[:, 0, None, None]
    across = (dx * cos - dy * sin) / sink.radius[:, 1, None, None]
    distance = (along**2 + across**2).sqrt()
    alpha = torch.exp(-math.log(2) * distance ** sink.flatness[:, None, None])[:, None]
    return torch.where(alpha > 0.02, alpha, 0) * brain
