"""DSC of many contrast weights at many thresholds, from histograms: nothing is segmented during the search."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import product

import numpy as np

from braincli.detection.maps import level, share_out
from braincli.imaging.cases import CONTRASTS, Contrast

BINS = 500
BLOCK = 8  # weight vectors at a time


def simplex(step: float = 0.1, contrasts: Collection[Contrast] = CONTRASTS) -> np.ndarray:
    """(K, 4) weight vectors at ``step``: non-negative, summing to 1, 0 for all but ``contrasts``.

    At step 0.1 there are 286 of four contrasts, 66 of three, 11 of two and one of a single one.
    """
    parts = round(1 / step)
    choices = [range(parts + 1) if c in contrasts else range(1) for c in CONTRASTS]
    grid = [v for v in product(*choices) if sum(v) == parts]
    return np.array(grid, dtype=np.float32) / parts


def around(
    vector: np.ndarray, step: float = 0.05, reach: float = 0.1, contrasts: Collection[Contrast] = CONTRASTS
) -> np.ndarray:
    """The vectors of ``simplex(step)`` of which no weight is further than ``reach`` from ``vector``'s."""
    grid = simplex(step, contrasts)
    return grid[(np.abs(grid - vector) < reach + step / 2).all(axis=1)]


def edges(top: float = 1.0) -> np.ndarray:
    """(BINS,) thresholds in [0, ``top``): finer near 0, where restorations leave their residuals."""
    return top * np.linspace(0, 1, BINS, endpoint=False) ** 2


def present_only(vectors: np.ndarray, contrasts: Sequence[Contrast]) -> np.ndarray:
    """``vectors`` (K, 4) with the weight of absent contrasts given to the others in proportion, as in detection."""
    there = np.array([c in contrasts for c in CONTRASTS])
    kept = vectors * there
    total = kept.sum(axis=1, keepdims=True)
    return np.where(total > 0, kept / np.where(total > 0, total, 1), there / there.sum()).astype(np.float32)


def fused_blocks(
    values: np.ndarray, vectors: np.ndarray, counts: np.ndarray | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Maps (k, n) of the weight ``vectors`` (K, C), some at a time, and which they are; see :func:`dsc_curves`."""
    for begin in range(0, len(vectors), BLOCK):
        block = vectors[begin : begin + BLOCK].astype(np.float32)
        fused = block @ values
        if counts is not None:
            fused *= share_out(block, counts)
        yield slice(begin, begin + len(block)), fused


def levels(values: np.ndarray, vectors: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """(2, K) level (:func:`braincli.detection.maps.level`) and largest value of the map of each weight vector."""
    found = [np.stack([level(fused), fused.max(axis=1)]) for _, fused in fused_blocks(values, vectors, counts)]
    return np.concatenate(found, axis=1)


def dsc_curves(
    values: np.ndarray,
    sick: np.ndarray,
    positives: int,
    vectors: np.ndarray,
    tops: np.ndarray,
    counts: np.ndarray | None = None,
) -> np.ndarray:
    """(K, BINS) DSC of each weight vector at every threshold of :func:`edges`.

    Args:
        values: (C, n) float32 >= 0, filtered residuals of the brain's pixels; (1, n) for a score.
        sick: (n,) bool.
        positives: lesion pixels, those outside the brain too.
        vectors: (K, C).
        tops: (K,), the largest threshold of each vector.
        counts: (C, n) bool, where each contrast's weight counts, as in :func:`.maps.fuse`; None: all over.
    """
    order = np.argsort(~sick, kind="stable")
    split = int(sick.sum())
    tally = np.empty((2, len(vectors), BINS), dtype=np.int64)
    for rows, fused in fused_blocks(values[:, order], vectors, None if counts is None else counts[:, order]):
        fused /= tops[rows, None].astype(np.float32)
        np.sqrt(fused, out=fused)
        fused *= BINS
        for row, bins in enumerate(np.minimum(fused, BINS - 1, out=fused), start=rows.start):
            keys = bins.astype(np.intp)
            for kind, part in enumerate((keys[:split], keys[split:])):
                tally[kind, row] = np.bincount(part, minlength=BINS)
    ill, well = tally[..., ::-1].cumsum(axis=-1)[..., ::-1]
    total = well + ill + positives
    return np.where(total > 0, 2 * ill / np.maximum(total, 1), 1.0)
