"""Bias fields of prepared scans: how much brighter one side of the brain is than the other."""

from __future__ import annotations

import numpy as np

from braincli.imaging.box import percentiles
from braincli.imaging.volume import Volume

COARSE_MM = 4.0
TREND, BOWL = 1.8, 2.7  # 140 stripped scans: at most 1.7 with a linear trend, 2.5 with a quadratic one
NEGATIVE = 0.01  # share of the voxels: with more, values are z-scores, and nothing multiplies them
ROUNDS = 6
SPREAD = 2.0  # standard deviations: what lies further off (lesions, vessels, fluid) does not count
FEW = 1000


def shading(volume: Volume, brain: np.ndarray) -> float | None:
    """The factor by which a scan brightens across the brain, where that is more than tissue explains; else None.

    A polynomial is fitted to the logarithm of the intensities on a grid of 4 mm, again and again without what lies far
    from it.

    Args:
        brain: (X, Y, Z) bool.
    """
    size = np.count_nonzero(brain)
    if not size or (volume.data.min() < 0 and np.count_nonzero(brain & (volume.data < 0)) / size > NEGATIVE):
        return None
    steps = [max(1, round(COARSE_MM / size)) for size in volume.spacing]
    sparse = tuple(slice(step // 2, None, step) for step in steps)
    data = volume.data[sparse]
    inside = brain[sparse] & (data > 0)
    if inside.sum() < FEW:
        return None
    places = (np.argwhere(inside) * np.array(steps) * volume.spacing).T
    places = (places - places.mean(axis=1, keepdims=True)) / places.std(axis=1).max()
    values = np.log(data[inside].astype(np.float64))
    linear = np.vstack([np.ones(places.shape[1]), places])
    for terms, limit in ((linear, TREND), (np.vstack([linear, places**2]), BOWL)):
        if (factor := _range(terms, values)) > limit:
            return factor
    return None


def _range(terms: np.ndarray, values: np.ndarray) -> float:
    """Factor between the bright and the dark end of the field that ``terms`` (K, N) make of log ``values`` (N,)."""
    near = np.ones(len(values), bool)
    for _ in range(ROUNDS):
        counted = terms * near
        weights = np.linalg.lstsq(counted @ terms.T, counted @ values, rcond=None)[0]
        field = weights @ terms
        rest = values - field
        rest -= percentiles(rest, (50,))[0]
        distance = np.abs(rest)
        near = distance <= SPREAD * 1.4826 * percentiles(distance, (50,))[0]
    low, high = percentiles(field, (2.5, 97.5))
    return float(np.exp(high - low))
