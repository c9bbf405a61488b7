"""One synthetic anomaly in a stack of slices, continuous through the plane.

The anomalies of :mod:`braincli.anomalies` are two-dimensional. In three dimensions every slice gets the same drawn
parameters, so that shape, place and intensity agree, while noise fields (outline, texture) turn slowly into others
along z. Outwards the anomaly shrinks as an ellipsoid does: the further a slice lies from the central one, the deeper
inside the central outline a pixel must lie to be part of it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from braincli.anomalies import kinds
from braincli.anomalies.kinds import Kind
from braincli.errors import InputError

ATTEMPTS = 20
ROOM = 0.5  # the central slice has at least this share of the free tissue that the best slice has
SOLID = 0.35  # radius of the largest disc inside an anomaly, as a share of that of a disc of its area
VISIBLE = 0.08  # mean change in the contrast that changes most, of the 1st..99th percentile range
FAINT = 0.02  # alpha, as a share of the strongest, that ends the edge
FEW = 32  # parameters with so many values are reported


@dataclass(frozen=True)
class Anomaly:
    """What was planted.

    Attributes:
        image: (S, C, H, W) float32 in [0, 1], the stack with it.
        extent: (S, H, W) float32 in [0, 1], its share of each pixel, 1 at its strongest; the mask is extent > 0.5.
        centre: (slice, row, column) of its middle.
        half_mm: half of its height.
        parameters: what was drawn, but for noise fields (the seed gives them again).
    """

    image: np.ndarray
    extent: np.ndarray
    centre: tuple[int, float, float]
    half_mm: float
    parameters: dict[str, Any]


def seeded(seed: int, case_id: str, kind: str, number: int, attempt: int = 0) -> torch.Generator:
    """The generator of one anomaly: no result depends on which other cases are worked through."""
    digest = hashlib.sha256(
        f"synth/{seed}/{case_id}/{kind}/{number}/{attempt}".encode(errors="surrogateescape")
    ).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def plant(
    image: np.ndarray,
    free: np.ndarray,
    kind: str,
    *,
    spacing: tuple[float, float, float],
    radius_mm: tuple[float, float],
    case_id: str,
    seed: int,
    number: int = 0,
) -> Anomaly:
    """Plant one anomaly into healthy tissue.

    Args:
        image: (S, C, H, W) float32 in [0, 1]; background and absent contrasts 0.
        free: (S, H, W) bool, tissue that may be changed.
        kind: a name of :data:`braincli.anomalies.kinds.KINDS`.
        spacing: (z, y, x) in mm; y and x are equal.
        radius_mm: smallest and largest radius.

    Raises:
        InputError: there is no room: twenty draws left no visible anomaly.
    """
    for attempt in range(ATTEMPTS):
        generator = seeded(seed, case_id, kind, number, attempt)
        anomaly = _attempt(image, free, kinds.KINDS[kind], spacing, radius_mm, generator)
        if anomaly is not None:
            return anomaly
    raise InputError(f"{case_id}: no room for an anomaly.", "Ask for fewer or smaller ones (--count, --radius-mm).")


def _attempt(
    image: np.ndarray,
    free: np.ndarray,
    kind: Kind,
    spacing: tuple[float, float, float],
    radius_mm: tuple[float, float],
    generator: torch.Generator,
) -> Anomaly | None:
    area = free.sum(axis=(1, 2))
    if not area.any():
        return None
    roomy = np.flatnonzero(area >= ROOM * area.max())
    middle = int(roomy[int(torch.randint(len(roomy), (1,), generator=generator))])
    height, width = image.shape[2:]
    shape = (1, image.shape[1], height, width)
    radius = (radius_mm[0] / spacing[1], radius_mm[1] / spacing[1])
    first, second = (kind.draw(shape, generator, radius) for _ in range(2))
    stretch = float(0.8 + 0.5 * torch.rand(1, generator=generator))
    shift = [int(torch.randint(length // 8, length // 4, (1,), generator=generator)) for length in (height, width)]

    whole = torch.from_numpy(image)
    room = torch.from_numpy(free[middle])[None, None]
    _, alpha = kind.apply(whole[middle : middle + 1], room, _donor(whole[middle : middle + 1], shift), first)
    strongest = float(alpha.max())
    inside = (alpha[0, 0] > 0.5 * strongest).numpy()
    disc_mm = math.sqrt(_largest(inside) / math.pi) * spacing[1]
    if strongest <= 0 or disc_mm < radius_mm[0] / 2 or _depth(inside).max() * spacing[1] < SOLID * disc_mm:
        return None  # cut off by other lesions or by the brain's edge
    half_mm = max(stretch * disc_mm, 1.6 * spacing[0])
    offset = (np.arange(len(image)) - middle) * spacing[0] / half_mm
    touched = np.flatnonzero(np.abs(offset) < 1)
    u = torch.from_numpy(offset[touched].astype(np.float32))

    part = whole[touched]
    allowed = room & torch.from_numpy(free[touched])[:, None]
    drawn = kinds.blended(first, second, u * math.pi / 4, (height, width))
    made, where = kind.apply(part, room.expand(len(part), -1, -1, -1), _donor(part, shift), drawn)
    weight = _ellipsoid(inside, (alpha[0, 0] > FAINT * strongest).numpy(), u) * allowed
    changed = part + weight * (made - part)
    mask = weight * where > 0.5 * strongest
    if not float((changed - part).abs().amax(dim=1, keepdim=True)[mask].mean()) > VISIBLE:
        return None
    result, extent = image.copy(), np.zeros((len(image), height, width), np.float32)
    result[touched] = changed.clamp(0, 1).numpy()
    extent[touched] = (weight * where / strongest)[:, 0].clamp(0, 1).numpy()
    row, column = np.argwhere(inside).mean(axis=0)
    return Anomaly(result, extent, (middle, float(row), float(column)), half_mm, described(first))


def _donor(part: Tensor, shift: list[int]) -> Tensor:
    """Foreign tissue: the other hemisphere, moved, as with one case there is no other brain."""
    return part.flip(3).roll(shift, dims=(2, 3))


def _ellipsoid(inside: np.ndarray, touched: np.ndarray, u: Tensor) -> Tensor:
    """(S, 1, H, W) in [0, 1]: what is left of the central slice's anomaly at the heights ``u`` (S,) in [-1, 1].

    All of it at 0, where ``touched`` holds its faint edge too; then the deeper parts of ``inside`` alone.
    """
    depth = _depth(inside)
    low, high = float(depth[touched | inside].min()), float(depth.max())
    soft = 1 - low / 2  # a wide edge fades, a sharp one moves inwards
    needed = (high + soft) * (1 - (1 - u**2).sqrt()) + low * (1 - u**2) ** 4
    return ((torch.from_numpy(depth.astype(np.float32)) - needed[:, None, None]) / soft + 1).clamp(0, 1)[:, None]


def _largest(inside: np.ndarray) -> int:
    """Pixels of the largest component."""
    from scipy.ndimage import label

    return int(np.bincount(label(inside)[0].ravel())[1:].max(initial=0))


def _depth(inside: np.ndarray) -> np.ndarray:
    """(H, W) pixels to the outline, positive inside."""
    from scipy.ndimage import distance_transform_edt

    return np.where(inside, distance_transform_edt(inside) - 0.5, 0.5 - distance_transform_edt(~inside))


def described(drawn: Any) -> dict[str, Any]:
    """The drawn parameters of the first row as JSON-able content; noise fields are left out."""
    if not is_dataclass(drawn):
        return {}
    content: dict[str, Any] = {}
    for field in fields(drawn):
        value = getattr(drawn, field.name)
        if isinstance(value, Tensor):
            if value[0].numel() <= FEW:
                content[field.name] = _rounded(value[0].tolist())
        elif nested := described(value):
            content[field.name] = nested
    return content


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return round(value, 4) if isinstance(value, float) else value
