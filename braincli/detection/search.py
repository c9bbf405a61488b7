"""DSC of many contrast weights at many thresholds, from histograms: nothing is segmented during the search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from braincli.cases import CONTRASTS, Contrast

BINS = 500
BLOCK = 4096  # pixels at a time: the block of fused values stays in the processor's cache


def simplex(step: float = 0.1) -> np.ndarray:
    """(286, 4) weight vectors at step 0.1: non-negative, summing to 1."""
    parts = round(1 / step)
    grid = [v for v in product(range(parts + 1), repeat=len(CONTRASTS)) if sum(v) == parts]
    return np.array(grid, dtype=np.float32) / parts


def around(vector: np.ndarray, step: float = 0.05, reach: float = 0.1) -> np.ndarray:
    """The vectors of ``simplex(step)`` of which no weight is further than ``reach`` from ``vector``'s."""
    grid = simplex(step)
    return grid[(np.abs(grid - vector) < reach + step / 2).all(axis=1)]


def edges(top: float) -> np.ndarray:
    """(BINS,) thresholds in [0, ``top``): finer near 0, where restorations leave their residuals."""
    return top * np.linspace(0, 1, BINS, endpoint=False) ** 2


def present_only(vectors: np.ndarray, contrasts: Sequence[Contrast]) -> np.ndarray:
    """``vectors`` (K, 4) with the weight of absent contrasts given to the others in proportion, as in detection."""
    there = np.array([c in contrasts for c in CONTRASTS])
    kept = vectors * there
    total = kept.sum(axis=1, keepdims=True)
    return np.where(total > 0, kept / np.where(total > 0, total, 1), there / there.sum()).astype(np.float32)


def dsc_curves(values: np.ndarray, sick: np.ndarray, positives: int, vectors: np.ndarray, top: float) -> np.ndarray:
    """(K, BINS) DSC of each weight vector at every threshold of :func:`edges`.

    Args:
        values: (C, n) >= 0, filtered residuals of the brain's pixels; (1, n) for a score.
        sick: (n,) bool.
        positives: lesion pixels, those outside the brain too.
        vectors: (K, C).
        top: the largest value.
    """
    count = len(vectors)
    scaled = (values / top).astype(np.float32)
    found = np.zeros(count * 2 * BINS, dtype=np.int64)
    first = (np.arange(count) * 2 * BINS)[:, None]
    for begin in range(0, scaled.shape[1], BLOCK):
        fused = vectors @ scaled[:, begin : begin + BLOCK]
        np.sqrt(fused, out=fused)
        fused *= BINS
        np.minimum(fused, BINS - 1, out=fused)
        keys = fused.astype(np.int64)
        keys += first + sick[begin : begin + BLOCK] * BINS
        found += np.bincount(keys.ravel(), minlength=len(found))
    well, ill = found.reshape(count, 2, BINS).transpose(1, 0, 2)[..., ::-1].cumsum(axis=-1)[..., ::-1]
    total = well + ill + positives
    return np.where(total > 0, 2 * ill / np.maximum(total, 1), 1.0)
