"""Regions of the brain to hide in training, of the shapes and sizes of lesions: what is hidden is to be inpainted.

:func:`draw` takes everything random from a generator and lies on its device, :func:`apply` is deterministic; neither
reads anything back, so that a GPU need not wait for them and a step that holds them can be captured.

A region is what lies nearest to one or several seeds in the brain, as far as the share of the brain goes that is to be
hidden. Distances are elliptic, bent by smooth noise (lobes and bays, as tumours have them) and, in some rows, roughened
by grain, which frays the region: the masks that remain of a thresholded error look so. Sizes are shares of the brain's
pixels, hence independent of the size of a pixel; the largest leave little to go by, as a large tumour with mass effect
does, and some rows are hidden wholly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SEEDS = 5


@dataclass(frozen=True)
class Hiding:
    """Parameters of one hidden region per row.

    Attributes:
        share: (B,) part of the brain's pixels that is hidden, in (0, 1].
        seed: (B, SEEDS) in [0, 1), position among the brain's pixels in reading order.
        weight: (B, SEEDS) size beside the first seed's; 0 for seeds that are not there.
        stretch, angle: (B, SEEDS) axis ratio and direction (radians) of the ellipse.
        bend: (B, 1, H, W) smooth noise, of about unit size.
        grain: (B, 1, H, W) uneven noise; 0 where the region's outline is smooth.
    """

    share: Tensor
    seed: Tensor
    weight: Tensor
    stretch: Tensor
    angle: Tensor
    bend: Tensor
    grain: Tensor

    def to(self, device: torch.device) -> Hiding:
        """The same parameters on ``device``."""
        return Hiding(**{name: value.to(device) for name, value in vars(self).items()})


def draw(
    shape: tuple[int, ...],
    generator: torch.Generator,
    *,
    share: tuple[float, float] = (0.01, 0.6),
    whole: float = 0.0,
    several: float = 0.3,
    frayed: float = 0.3,
) -> Hiding:
    """Parameters for images of ``shape`` (B, C, H, W), on the generator's device.

    Args:
        share: smallest and largest part of the brain that is hidden (log-uniform).
        whole: chance of a row to be hidden wholly.
        several: chance of a row to have more than one focus.
        frayed: chance of a row to have a frayed outline, with holes and scattered pixels.
    """
    b, h, w = shape[0], shape[-2], shape[-1]

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(*size, generator=generator, device=generator.device)

    def chance(of: float) -> Tensor:
        return uniform(0, 1, b) < of

    size = (uniform(0, 1, b) * _log_ratio(share)).exp() * share[0]
    weight = uniform(0.3, 1.0, b, SEEDS) * (uniform(0, 1, b, SEEDS) < 0.6) * chance(several)[:, None]
    first = torch.arange(SEEDS, device=generator.device) == 0
    return Hiding(
        share=torch.where(chance(whole), 1.0, size),
        seed=uniform(0, 1, b, SEEDS),
        weight=torch.where(first, 1.0, weight),
        stretch=uniform(-0.5, 0.5, b, SEEDS).exp(),
        angle=uniform(0, torch.pi, b, SEEDS),
        bend=_clouds(b, h, w, generator),
        grain=torch.randn(b, 1, h, w, generator=generator, device=generator.device)
        * (uniform(0.1, 0.6, b) * chance(frayed))[:, None, None, None],
    )


def apply(brain: Tensor, hiding: Hiding) -> Tensor:
    """The hidden pixels.

    Args:
        brain: (B, 1, H, W) bool.

    Returns:
        (B, 1, H, W) bool, inside the brain: ``share`` of its pixels, one at least; none where it is empty.
    """
    hiding = hiding.to(brain.device)
    order = torch.where(brain, _remoteness(brain, hiding), torch.inf).flatten(1)
    pixels = brain.flatten(1).sum(dim=1)
    last = (hiding.share * pixels).long().clamp_min(1) - 1
    limit = order.sort(dim=1).values.gather(1, last[:, None])
    return (order <= limit).view_as(brain) & brain


def _remoteness(brain: Tensor, hiding: Hiding) -> Tensor:
    """(B, 1, H, W) log of the distance to the nearest seed, bent and grained: the least is hidden first."""
    h, w = brain.shape[2:]
    inside = brain.flatten(1).cumsum(dim=1)
    at = torch.searchsorted(inside, (hiding.seed * inside[:, -1:]).long() + 1).clamp_max(h * w - 1)
    rows = torch.arange(h, device=brain.device)[:, None] - (at // w)[..., None, None]
    columns = torch.arange(w, device=brain.device)[None, :] - (at % w)[..., None, None]
    cos, sin = hiding.angle.cos()[..., None, None], hiding.angle.sin()[..., None, None]
    ratio = hiding.stretch.sqrt()[..., None, None]
    along, across = (rows * cos + columns * sin) / ratio, (columns * cos - rows * sin) * ratio
    distance = (along**2 + across**2 + 1).sqrt() / hiding.weight[..., None, None]
    return distance.amin(dim=1, keepdim=True).log() + 0.6 * hiding.bend + hiding.grain


def _clouds(b: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    """(B, 1, H, W) smooth noise of about unit size: three octaves of interpolated white noise."""
    total = torch.zeros(b, 1, h, w, device=generator.device)
    for cells, gain in ((4, 0.8), (8, 0.5), (20, 0.3)):
        coarse = torch.randn(b, 1, cells, cells, generator=generator, device=generator.device)
        total = total + gain * F.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=True)
    return total


def _log_ratio(bounds: tuple[float, float]) -> float:
    return math.log(bounds[1] / bounds[0])
