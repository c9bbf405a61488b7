"""The head of the generated patient: tissue fractions from the atlas, individually deformed, with a tumour.

Everything lies on the atlas grid (240 x 240 x 155, LPS, 1 mm), so that the lesion mask in SRI24 is known too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braincli.phantom.fields import smooth_noise
from braincli.phantom.tumour import Tumour, grow_tumour, mass_effect, place_tumour

SHAPE_MM = 2.5  # standard deviation of the individual deformation
LIQUOR_MM = 3.0  # thickness of the CSF layer around the brain


@dataclass(frozen=True)
class Head:
    """Memberships in [0, 1], each (X, Y, Z) float32 on the atlas grid.

    Attributes:
        csf, gm, wm: sum to 1 inside the brain and to 0 outside.
        liquor: CSF around the brain.
        vessel: vessels and sinuses, which take up contrast agent.
        dura: thin layer around the brain, which enhances slightly.
        outer: what lies outside brain and liquor, as T1 brightness: bone 0, muscle about 0.4, fat 1.
        tumour: lies over all of these.
    """

    csf: np.ndarray
    gm: np.ndarray
    wm: np.ndarray
    liquor: np.ndarray
    vessel: np.ndarray
    dura: np.ndarray
    outer: np.ndarray
    tumour: Tumour


def grow_head(whole: np.ndarray, brain: np.ndarray, rng: np.random.Generator) -> Head:
    """Make an individual with a glioma.

    Args:
        whole: (X, Y, Z) T1 template with skull, in LPS.
        brain: the same template, brain only, 0 elsewhere.
        rng: source of everything random.
    """
    from scipy.ndimage import distance_transform_edt

    means = class_means(brain[brain > 0])
    centre = place_tumour(tissue_fractions(brain, means)[2], brain > 0, rng)
    where = np.indices(whole.shape, dtype=np.float32)
    for axis in range(3):
        where[axis] += SHAPE_MM * smooth_noise(whole.shape, 45.0, rng)
    where += mass_effect(whole.shape, centre)
    whole, share = warp(whole, where), warp((brain > 0).astype(np.float32), where)
    inside = share > 0.5
    brain = np.where(inside, warp(brain, where) / np.maximum(share, 0.5), 0)
    csf, gm, wm = tissue_fractions(brain, means)
    away = distance_transform_edt(~inside).astype(np.float32)
    liquor, dura, outer = surroundings(whole, inside, away)
    return Head(
        csf, gm, wm, liquor, vessels(csf, inside, away, rng), dura, outer,
        grow_tumour(wm, csf, inside, centre, rng),
    )  # fmt: skip


def warp(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """``image`` (X, Y, Z) at voxel positions ``where`` (3, ...), linear, edge values beyond the border."""
    from scipy.ndimage import map_coordinates

    return np.asarray(map_coordinates(image, where, order=1, mode="nearest", output=np.float32))


def class_means(values: np.ndarray) -> np.ndarray:
    """(3,) intensity of CSF, grey and white matter in a T1 brain: one-dimensional k-means on 256 bins.

    The darkest class mixes sulci with cortex, so that pure CSF is taken from its darkest tenth.
    """
    counts, edges = np.histogram(values, 256)
    bins = (edges[1:] + edges[:-1]) / 2
    means = np.quantile(values, [0.05, 0.4, 0.9])
    for _ in range(50):
        label = np.searchsorted((means[1:] + means[:-1]) / 2, bins)
        means = np.array([np.average(bins[label == k], weights=counts[label == k]) for k in range(3)])
    return np.array([np.quantile(values[values < (means[0] + means[1]) / 2], 0.1), means[1], means[2]])


def tissue_fractions(brain: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSF, grey and white matter: T1 intensity between two class means is taken as partial volume.

    Args:
        brain: (X, Y, Z) T1, 0 outside the brain.
        means: (3,) ascending.
    """
    inside = (brain > 0).astype(np.float32)
    csf = np.clip((means[1] - brain) / (means[1] - means[0]), 0, 1).astype(np.float32) * inside
    wm = np.clip((brain - means[1]) / (means[2] - means[1]), 0, 1).astype(np.float32) * inside
    return csf, inside - csf - wm, wm


def surroundings(whole: np.ndarray, inside: np.ndarray, away: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(liquor, dura, outer)`` of :class:`Head`, from the T1 template; ``away`` is mm from the brain."""
    beyond = (~inside).astype(np.float32)
    fat = np.percentile(whole[(away > 8) & (whole > whole[inside].mean())], 60)
    bright = np.clip(whole / fat, 0, 1.3).astype(np.float32)
    liquor = beyond * sigmoid((LIQUOR_MM - away) / 0.7) * np.clip(1.6 - 4 * bright, 0, 1)
    dura = beyond * np.exp(-(((away - LIQUOR_MM) / 1.2) ** 2))
    return liquor.astype(np.float32), dura.astype(np.float32), bright * beyond


def vessels(csf: np.ndarray, inside: np.ndarray, away: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tubes along sulci where two smooth fields vanish together, and the sagittal sinus."""
    from scipy.ndimage import gaussian_filter

    length = 6.5
    first, second = (smooth_noise(csf.shape, length, rng) for _ in range(2))
    tube = np.exp(-(first**2 + second**2) * length**2 / (2 * 1.3**2))
    sulcal = np.clip(4 * gaussian_filter(csf, 1.0), 0, 1)
    middle = np.average(np.arange(csf.shape[0]), weights=inside.sum(axis=(1, 2)))
    across = np.arange(csf.shape[0])[:, None, None] - middle
    above = np.arange(csf.shape[2])[None, None, :] > 0.4 * csf.shape[2]
    sinus = np.exp(-((across / 4) ** 2) - ((away - 3) / 2.5) ** 2) * above * ~inside
    return np.asarray(np.maximum(tube * sulcal * inside, sinus), dtype=np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function."""
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))
