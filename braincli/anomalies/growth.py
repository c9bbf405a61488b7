"""Tumour-like growth: infiltrating oedema, enhancing rim and necrotic core, or several small foci, on a 2-D slice.

:func:`draw` takes everything random from a generator, :func:`apply` is deterministic, so that a growth can be
repeated. Compartments are irregular (low-frequency noise bends their outline), soft-edged and textured; many
spread along the tissue that they begin in, as oedema does in white matter; their intensities follow what gliomas show
on each contrast, with a share of deliberately arbitrary ones, so that a detector learns "does not belong" and not
one look. Lengths are in pixels. Everything runs on the image's device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.anomalies import pixels
from braincli.diffusion import draws

FOCI = 6

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
        outline, texture: (B, 3, H, W) and (B, C, H, W) noise, about unit size.
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

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * draws.rand(generator, *size)

    low, high = _logs(radius)
    several = draws.rand(generator, b) < 0.25
    radii = uniform(low, high, b, FOCI).exp()
    radii = torch.where(several[:, None], radii.clamp_max(radius[0] * 2) * 0.8, radii)
    count = torch.where(several, draws.randint(generator, 2, FOCI + 1, b), 1)
    radii = radii * (torch.arange(FOCI, device=generator.device)[None] < count[:, None])

    low_level, high_level = _levels(generator.device).unbind(dim=2)
    level = low_level + (high_level - low_level) * draws.rand(generator, b, 3, 4)
    level = level[:, :, :c] if c <= 4 else level.mean(dim=2, keepdim=True).expand(b, 3, c)
    free = draws.rand(generator, b) < arbitrary
    level = torch.where(free[:, None, None], draws.rand(generator, b, 3, c), level)
    opacity = uniform(0.5, 1.0, b, c)
    faint = draws.rand(generator, b, c) < 0.15
    opacity = torch.where(faint, opacity * 0.3, opacity)
    with_core = (draws.rand(generator, b) < 0.6) & ~several
    with_necrosis = draws.rand(generator, b) < 0.7
    return Growth(
        centre=draws.rand(generator, b, FOCI, 2),
        radius=radii,
        stretch=uniform(0.65, 1.4, b, FOCI, 2),
        angle=uniform(0, torch.pi, b, FOCI),
        core=uniform(0.3, 0.9, b) * with_core,
        necrosis=uniform(0.4, 0.85, b) * (with_core & with_necrosis),
        softness=uniform(0.4, 4.0, b),
        spread=uniform(0.0, 1.0, b) * (draws.rand(generator, b) < 0.6),
        outline=clouds(b, 3, h, w, generator),
        texture=clouds(b, c, h, w, generator, fine=draws.rand(generator, b)),
        level=level,
        opacity=opacity,
        grain=uniform(0.0, 0.2, b),
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
    rows = torch.arange(h, dtype=torch.float32, device=image.device)[None, None, :, None]
    columns = torch.arange(w, dtype=torch.float32, device=image.device)[None, None, None, :]
    centre = pixels.positions(growth.centre[:, :, 0], brain)
    dy, dx = rows - centre[..., 0, None, None], columns - centre[..., 1, None, None]
    cos, sin = growth.angle.cos()[..., None, None], growth.angle.sin()[..., None, None]
    along = (dy * cos + dx * sin) / growth.stretch[..., 0, None, None]
    across = (dx * cos - dy * sin) / growth.stretch[..., 1, None, None]
    distance = (along**2 + across**2).sqrt()

    def alpha(share: Tensor, bend: Tensor) -> Tensor:
        size = (growth.radius * share[:, None])[..., None, None]
        inside = size * (1 + 0.35 * bend) - distance
        inside = torch.where(size > 0, inside, -1e3).amax(dim=1, keepdim=True)
        return torch.sigmoid(inside / growth.softness[:, None, None, None]) * brain

    bends = growth.outline[:, :, None]
    whole = alpha(torch.ones_like(growth.core), bends[:, OEDEMA]) * _tissue(image, centre, growth.spread)
    core = alpha(growth.core, bends[:, RIM]) * whole
    necrosis = alpha(growth.core * growth.necrosis, bends[:, CORE]) * core
    level = growth.level[..., None, None]
    target = level[:, OEDEMA] + (level[:, RIM] - level[:, OEDEMA]) * core
    target = target + (level[:, CORE] - target) * necrosis
    target = target + growth.grain[:, None, None, None] * growth.texture
    present = image.ne(0).flatten(2).any(dim=2)[:, :, None, None]
    blend = whole * growth.opacity[..., None, None] * present
    return (image + blend * (target - image)).clamp(0, 1) * brain, whole


def _tissue(image: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1]: how willingly each pixel takes the growth (see ``Growth.spread``)."""
    first = image.ne(0).flatten(2).any(dim=2).int().argmax(dim=1)
    row = torch.arange(len(image), device=image.device)
    tissue = F.avg_pool2d(image[row, first][:, None], 3, stride=1, padding=1)
    at = centre[:, 0].round().long()
    begin = tissue[row, 0, at[:, 0], at[:, 1]][:, None, None, None]
    alike = torch.exp(-(((tissue - begin) / 0.18) ** 2))
    return 1 - spread[:, None, None, None] * (1 - alike)


@lru_cache(maxsize=8)
def _logs(radius: tuple[float, float]) -> list[float]:
    logs: list[float] = torch.tensor(radius).log().tolist()
    return logs


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _levels(device: torch.device) -> Tensor:
    """:data:`LEVELS` (3, 4, 2) on ``device``."""
    return torch.tensor(LEVELS, device=device)


def clouds(b: int, channels: int, h: int, w: int, generator: torch.Generator, fine: Tensor | None = None) -> Tensor:
    """(B, channels, H, W) smooth noise of about unit size: three octaves of interpolated white noise.

    ``fine`` (B,) in [0, 1] mixes in grains down to two pixels.
    """
    total = torch.zeros(b, channels, h, w, device=generator.device)
    for cells, gain in ((4, 0.8), (8, 0.5), (20, 0.3)):
        coarse = draws.randn(generator, b, channels, cells, cells)
        total += gain * F.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=True)
    if fine is not None:
        grains = draws.randn(generator, b, channels, (h + 1) // 2, (w + 1) // 2)
        total += fine[:, None, None, None] * F.interpolate(grains, size=(h, w), mode="bilinear", align_corners=True)
    return total
