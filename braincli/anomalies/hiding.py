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

from braincli.anomalies import growth, pixels
from braincli.diffusion import draws

SEEDS = 5
WIDEST = 4  # pixels, the widest margin


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
    drawn = draws.uniforms(
        generator, b, share=(math.log(share[0]), math.log(share[1])), whole=(0, 1), seed=(0, 1, SEEDS),
        weight=(0.3, 1, SEEDS), more=(0, 1, SEEDS), several=(0, 1, 1), stretch=(-0.5, 0.5, SEEDS),
        angle=(0, math.pi, SEEDS), rough=(0.1, 0.6, 1, 1, 1), frayed=(0, 1, 1, 1, 1),
    )  # fmt: skip
    others = drawn["weight"] * ((drawn["more"] < 0.6) & (drawn["several"] < several))
    return Hiding(
        share=torch.where(drawn["whole"] < whole, 1.0, drawn["share"].exp()),
        seed=drawn["seed"],
        weight=torch.where(torch.arange(SEEDS, device=generator.device) == 0, 1.0, others),
        stretch=drawn["stretch"].exp(),
        angle=drawn["angle"],
        bend=growth.clouds(b, 1, h, w, generator),
        grain=draws.randn(generator, b, 1, h, w) * (drawn["rough"] * (drawn["frayed"] < frayed)),
    )


def apply(brain: Tensor, hiding: Hiding) -> Tensor:
    """The hidden pixels.

    Args:
        brain: (B, 1, H, W) bool.

    Returns:
        (B, 1, H, W) bool, inside the brain: ``share`` of its pixels, one at least; none where it is empty.
    """
    hiding = hiding.to(brain.device)
    order = _remoteness(brain, hiding)
    return (order <= quantile(order, brain, hiding.share)) & brain


def widened(region: Tensor, margin: Tensor) -> Tensor:
    """``region`` (B, 1, H, W) bool and all within ``margin`` (B, 1, 1, 1) pixels of it, rounded up, :data:`WIDEST` at
    most."""
    grown = near = region.float()
    for _ in range(WIDEST):
        grown = F.max_pool2d(grown, 3, stride=1, padding=1)
        near = near + grown  # WIDEST + 1 in the region, one less for each pixel farther out
    return near > WIDEST - margin


def quantile(values: Tensor, where: Tensor, share: Tensor | float) -> Tensor:
    """(B, 1, 1, 1) the value that ``share`` ((B,), in (0, 1]) of a row's pixels do not exceed.

    Args:
        values: (B, C, H, W).
        where: bool of the same shape; the pixels that count. A row without any has the quantile infinity.
    """
    counted = where.flatten(1).sum(dim=1)
    last = (share * counted).long().clamp_min(1) - 1
    ordered = torch.where(where, values, torch.inf).flatten(1).sort(dim=1).values
    return ordered.gather(1, last[:, None])[..., None, None]


def _remoteness(brain: Tensor, hiding: Hiding) -> Tensor:
    """(B, 1, H, W) log of the distance to the nearest seed, bent and grained: the least is hidden first."""
    at, ratio = pixels.positions(hiding.seed, brain), hiding.stretch.sqrt()
    axes = torch.stack([ratio, 1 / ratio], dim=2)
    along, across = pixels.elliptic(at, hiding.angle, axes, (brain.shape[2], brain.shape[3]))
    square = (torch.addcmul(across**2, along, along) + 1) / hiding.weight.square()[..., None, None]
    return 0.5 * square.amin(dim=1, keepdim=True).log() + 0.6 * hiding.bend + hiding.grain
