"""Tumour-like growth: infiltrating oedema, enhancing rim and necrotic core, or several small foci, on a 2-D slice.

:func:`draw` takes everything random from a generator, :func:`apply` is deterministic, so that a growth can be
repeated. Compartments are irregular (low-frequency noise bends their outline), soft-edged and textured; many
spread along the tissue that they begin in, as oedema does in white matter; their intensities follow what gliomas show
on each contrast, with a share of deliberately arbitrary ones, so that a detector learns "does not belong" and not
one look. Lengths are in pixels. Everything runs on the image's device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.anomalies import pixels
from braincli.diffusion import draws

FOCI = 6
FAR = 1e4  # pixels, where foci are that are not there

# Target intensity ranges in [0, 1] per compartment and contrast (T1, T1ce, T2, FLAIR), where 0 and 1 are the
# 1st and 99th percentile of the brain.
OEDEMA, RIM, CORE = 0, 1, 2
LEVELS = (
    ((0.15, 0.50), (0.15, 0.50), (0.55, 1.00), (0.60, 1.00)),
    ((0.25, 0.65), (0.60, 1.00), (0.40, 0.95), (0.45, 1.00)),
    ((0.05, 0.40), (0.05, 0.45), (0.55, 1.00), (0.15, 0.95)),
)


@dataclass(frozen=True)
class Growth:
    """Parameters of one growth per row.

    Attributes:
        centre: (B, FOCI, 2) position among the brain's pixels, as a share in [0, 1] per axis of the brain's box.
        radius: (B, FOCI) pixels; 0 for foci that are not there.
        stretch: (B, FOCI, 2) and angle: (B, FOCI): the ellipse.
        core, necrosis: (B,) radius of the core and of the necrosis as a share of the growth's; 0 for none.
        softness: (B,) width of the edge in pixels.
        spread: (B,) 0 grows evenly, 1 only into tissue as bright (on the first contrast) as where it begins.
        outline, texture: (B, 3, H, W) and (B, C, H, W) noise, about unit size; texture has grains of two pixels, too.
        level: (B, 3, C) target intensity per compartment.
        opacity: (B, C) how much of the tissue below is replaced.
        grain: (B,) size of the texture.
    """

    centre: Tensor
    radius: Tensor
    stretch: Tensor
    angle: Tensor
    core: Tensor
    necrosis: Tensor
    softness: Tensor
    spread: Tensor
    outline: Tensor
    texture: Tensor
    level: Tensor
    opacity: Tensor
    grain: Tensor

    def to(self, device: torch.device) -> Growth:
        """The same parameters on ``device``."""
        return Growth(**{name: value.to(device) for name, value in vars(self).items()})


def draw(
    shape: tuple[int, int, int, int],
    generator: torch.Generator,
    *,
    radius: tuple[float, float] = (3.0, 24.0),
    arbitrary: float = 0.15,
) -> Growth:
    """Parameters for images of ``shape`` (B, C, H, W).

    Args:
        radius: smallest and largest radius of a single growth in pixels (log-uniform).
        arbitrary: share of rows whose intensities follow no tumour at all.
    """
    b, c, h, w = shape
    least, most = math.log(radius[0]), math.log(radius[1])
    drawn = draws.uniforms(
        generator, b, centre=(0, 1, FOCI, 2), radius=(least, most, FOCI), several=(0, 1, 1), count=(2, FOCI + 1, 1),
        level=(0, 1, 3, 4), free=(0, 1, 1, 1), any=(0, 1, 3, c), opacity=(0.5, 1, c), faint=(0, 1, c), core=(0.3, 0.9),
        cored=(0, 1), necrosis=(0.4, 0.85), necrotic=(0, 1), stretch=(0.65, 1.4, FOCI, 2), angle=(0, math.pi, FOCI),
        softness=(0.4, 4), spread=(0, 1), spreads=(0, 1), fine=(0, 1, 1, 1, 1), grain=(0, 0.2),
    )  # fmt: skip
    several = drawn["several"] < 0.25
    radii = drawn["radius"].exp()
    radii = torch.where(several, radii.clamp_max(radius[0] * 2) * 0.8, radii)
    count = torch.where(several, drawn["count"], 1.0)
    radii = radii * (torch.arange(1, FOCI + 1, device=generator.device) <= count)

    low_level, high_level = _levels(generator.device).unbind(dim=2)
    level = torch.lerp(low_level, high_level, drawn["level"])
    level = level[:, :, :c] if c <= 4 else level.mean(dim=2, keepdim=True).expand(b, 3, c)
    with_core = (drawn["cored"] < 0.6) & ~several[:, 0]
    noise = clouds(b, 3 + c, h, w, generator)
    noise[:, 3:] += drawn["fine"] * _smooth(((h + 1) // 2, (w + 1) // 2), (b, c, h, w), generator)
    return Growth(
        centre=drawn["centre"],
        radius=radii,
        stretch=drawn["stretch"],
        angle=drawn["angle"],
        core=drawn["core"] * with_core,
        necrosis=drawn["necrosis"] * (with_core & (drawn["necrotic"] < 0.7)),
        softness=drawn["softness"],
        spread=drawn["spread"] * (drawn["spreads"] < 0.6),
        outline=noise[:, :3],
        texture=noise[:, 3:],
        level=torch.where(drawn["free"] < arbitrary, drawn["any"], level),
        opacity=torch.where(drawn["faint"] < 0.15, drawn["opacity"] * 0.3, drawn["opacity"]),
        grain=drawn["grain"],
    )


def apply(image: Tensor, brain: Tensor, growth: Growth) -> tuple[Tensor, Tensor]:
    """Plant ``growth``.

    Args:
        image: (B, C, H, W) in [0, 1]. Absent contrasts (all zero) stay absent.
        brain: (B, 1, H, W) bool; nothing changes outside.

    Returns:
        The diseased image, and the growth's alpha (B, 1, H, W) in [0, 1] (0 outside the brain).
    """
    h, w = image.shape[2:]
    growth = growth.to(image.device)
    held = image.amax(dim=(2, 3), keepdim=True).ne(0)
    centre = pixels.positions(growth.centre[:, :, 0], brain)
    there = torch.where(growth.radius[..., None] > 0, centre, -FAR)
    distance = torch.hypot(*pixels.elliptic(there, growth.angle, growth.stretch, (h, w)))
    softness, opacity = growth.softness.view(-1, 1, 1, 1), growth.opacity[..., None, None] * held

    def alpha(radius: Tensor, bend: Tensor) -> Tensor:
        inside = torch.addcmul(-distance, radius, 1 + 0.35 * bend).amax(dim=1, keepdim=True)
        return torch.sigmoid(inside / softness)

    bends, radius = growth.outline.split(1, dim=1), growth.radius[..., None, None]
    core, necrosis = growth.core.view(-1, 1, 1, 1), growth.necrosis.view(-1, 1, 1, 1)
    whole = alpha(radius, bends[OEDEMA]) * brain * _tissue(image, held, centre[:, 0], growth.spread.view(-1, 1, 1, 1))
    cored = alpha(radius * core, bends[RIM]) * whole * (core > 0)
    necrotic = alpha(radius * core * necrosis, bends[CORE]) * cored * (necrosis > 0)
    level = growth.level[..., None, None].unbind(dim=1)
    target = torch.lerp(torch.lerp(level[OEDEMA], level[RIM], cored), level[CORE], necrotic)
    target = torch.addcmul(target, growth.texture, growth.grain.view(-1, 1, 1, 1))
    return torch.addcmul(image, whole * opacity, target - image).clamp(0, 1) * brain, whole


def _tissue(image: Tensor, held: Tensor, begin: Tensor, spread: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1]: how willingly each pixel takes the growth, which begins at ``begin`` (B, 2).

    ``held`` (B, C, 1, 1): the contrasts that are there. ``spread`` (B, 1, 1, 1): see ``Growth``.
    """
    first = held.byte().argmax(dim=1, keepdim=True).expand(-1, -1, *image.shape[2:])
    tissue = F.avg_pool2d(image.gather(1, first), 3, stride=1, padding=1)
    row, column = begin.long().unbind(dim=1)
    at = (row * image.shape[3] + column).view(-1, 1)
    level = tissue.flatten(1).gather(1, at).view(-1, 1, 1, 1)
    alike = ((tissue - level).square() / -(0.18**2)).exp()
    return torch.addcmul(1 - spread, spread, alike)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _levels(device: torch.device) -> Tensor:
    """:data:`LEVELS` (3, 4, 2) on ``device``."""
    return torch.tensor(LEVELS, device=device)


def clouds(b: int, channels: int, h: int, w: int, generator: torch.Generator) -> Tensor:
    """(B, channels, H, W) smooth noise of about unit size: three octaves of interpolated white noise."""
    total = torch.zeros(b, channels, h, w, device=generator.device)
    for cells, gain in ((4, 0.8), (8, 0.5), (20, 0.3)):
        total.add_(_smooth((cells, cells), (b, channels, h, w), generator), alpha=gain)
    return total


def _smooth(cells: tuple[int, int], shape: tuple[int, int, int, int], generator: torch.Generator) -> Tensor:
    """White noise on ``cells``, interpolated to ``shape`` (B, C, H, W)."""
    coarse = draws.randn(generator, *shape[:2], *cells)
    return F.interpolate(coarse, size=shape[2:], mode="bilinear", align_corners=True)
