"""A glioma: necrotic core, enhancing rim, oedema that spreads in white matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braincli.phantom.fields import smooth_noise

SOLID_MM = 13.0  # mean radius of the solid part
RIM_MM = 4.5  # thickness of its enhancing rim
OEDEMA_MM = 27.0  # how far from the centre oedema reaches in white matter
PUSH_MM = 5.0  # how far the tumour displaces its surroundings
DEPTH_MM = 20.0  # the centre's least distance from the surface and from the midline


@dataclass(frozen=True)
class Tumour:
    """Memberships in [0, 1], each (X, Y, Z) float32; together at most 1."""

    oedema: np.ndarray
    rim: np.ndarray
    necrosis: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        """(X, Y, Z) float32 membership of the whole tumour; the reference mask is where it exceeds 0.5."""
        return self.oedema + self.rim + self.necrosis


def place_tumour(wm: np.ndarray, inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(3,) voxel position: deep in the white matter of one hemisphere, above the base of the brain."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    depth = distance_transform_edt(inside)
    x, _, z = np.indices(wm.shape, sparse=True)
    aside = np.abs(x - np.average(np.arange(wm.shape[0]), weights=inside.sum(axis=(1, 2)))) > DEPTH_MM
    level = (z > 0.5 * wm.shape[2]) & (z < 0.68 * wm.shape[2])
    fit = np.argwhere((gaussian_filter(wm, 4) > 0.6) & (depth > DEPTH_MM * 0.8) & aside & level)
    return np.asarray(fit[rng.integers(len(fit))], dtype=np.float32)


def mass_effect(shape: tuple[int, ...], centre: np.ndarray) -> np.ndarray:
    """(3, X, Y, Z) voxels to add to pull-back positions: tissue around the tumour is pushed outwards."""
    offset = np.indices(shape, dtype=np.float32) - centre.reshape(3, 1, 1, 1)
    distance = np.sqrt((offset**2).sum(axis=0)) + 1e-3
    push = PUSH_MM * np.minimum(distance / SOLID_MM, 1) * np.exp(-np.maximum(distance - SOLID_MM, 0) / 18)
    return np.asarray(-offset / distance * push, dtype=np.float32)


def grow_tumour(
    wm: np.ndarray, csf: np.ndarray, inside: np.ndarray, centre: np.ndarray, rng: np.random.Generator
) -> Tumour:
    """Grow the tumour at ``centre``.

    The distance from the centre is bent by noise; for the oedema grey matter counts as farther away, so that
    it spreads in fingers along white matter and spares cortex and ventricles.
    """
    from scipy.ndimage import gaussian_filter, label

    coarse, fine = smooth_noise(wm.shape, 14.0, rng), smooth_noise(wm.shape, 6.0, rng)
    stretch = rng.uniform(0.8, 1.25, 3).reshape(3, 1, 1, 1)
    offset = (np.indices(wm.shape, dtype=np.float32) - centre.reshape(3, 1, 1, 1)) * stretch
    distance = np.sqrt((offset**2).sum(axis=0))
    free = inside * (1 - np.clip(2 * gaussian_filter(csf, 0.7), 0, 1))
    solid = _edge(SOLID_MM - distance + 2.2 * coarse + 1.0 * fine) * inside
    core = _edge(SOLID_MM - RIM_MM - distance + 2.6 * coarse + 1.6 * fine) * solid
    grey = 1 - gaussian_filter(wm, 1.5)
    reach = OEDEMA_MM - distance + 3.0 * coarse + 1.5 * fine - 16 * grey
    spread = np.maximum(_edge(reach / 1.5) * free, solid)
    parts, _ = label(spread > 0.5)
    spread = spread * gaussian_filter((parts == parts[tuple(centre.astype(int))]).astype(np.float32), 0.7)
    spread = np.maximum(spread, solid)
    return Tumour(*(np.asarray(part, dtype=np.float32) for part in (spread - solid, solid - core, core)))


def _edge(depth: np.ndarray) -> np.ndarray:
    """Membership from depth below the surface in mm: a soft border of about 2 mm."""
    return 1 / (1 + np.exp(-np.clip(depth / 0.6, -30, 30)))
