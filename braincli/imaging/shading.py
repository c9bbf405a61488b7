"""Bias fields of prepared scans: how much brighter one side of the brain is than the other."""

from __future__ import annotations

import numpy as np

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
    if not size or np.count_nonzero(brain & (volume.data < 0)) / size > NEGATIVE:
        return None
    steps = [max(1, round(COARSE_MM / size)) for size in volume.spacing]
    sparse = tuple(slice(step // 2, None, step) for step in steps)
    data = volume.data[sparse]
    inside = brain[sparse] & (data > 0)
    if inside.sum() < FEW:
        return None
    places = np.argwhere(inside) * np.array(steps) * volume.spacing
    places = (places - places.mean(axis=0)) / places.std(axis=0).max()
    values = np.log(data[inside].astype(np.float64))
    linear = np.column_stack([np.ones(len(places)), places])
    for terms, limit in ((linear, TREND), (np.column_stack([linear, places**2]), BOWL)):
        if (factor := _range(terms, values)) > limit:
            return factor
    return None


def _range(terms: np.ndarray, values: np.ndarray) -> float:
    """Factor between the bright and the dark end of the field that ``terms`` make of log ``values``."""
    near = np.ones(len(values), bool)
    for _ in range(ROUNDS):
        kept = terms[near]
        weights = np.linalg.lstsq(kept.T @ kept, kept.T @ values[near], rcond=None)[0]
        rest = values - terms @ weights
        rest -= np.median(rest)
        near = np.abs(rest) <= SPREAD * 1.4826 * np.median(np.abs(rest))
    low, high = np.percentile(terms @ weights, (2.5, 97.5))
    return float(np.exp(high - low))
