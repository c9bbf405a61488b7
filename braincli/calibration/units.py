"""What thresholds are measured in during the search: the map itself, or the map by the root of a case's own level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from braincli.calibration.evidence import Evidence

FAINT = 0.5  # root of a level, as a share of the strongest case's
TINY = 1e-6  # level of a map that is all but empty


@dataclass(frozen=True)
class Units:
    """For K weight vectors.

    Attributes:
        tops: (K,) the largest threshold.
        scales: (cases, K) what a threshold is multiplied by for a case.
        lowest: (K,) the scale from which on a threshold rises.
        told: (K,) bool, for which vectors there are such units.
    """

    tops: np.ndarray
    scales: np.ndarray
    lowest: np.ndarray
    told: np.ndarray


def still(evidence: Sequence[Evidence], vectors: np.ndarray, bins: Sequence[Evidence]) -> Units:
    """Thresholds that are the same for all cases."""
    shape = (len(evidence), len(vectors))
    tops, one = np.full(len(vectors), highest(bins)), np.ones(len(vectors))
    return Units(tops, np.ones(shape), one, one > 0)


def rising(evidence: Sequence[Evidence], vectors: np.ndarray, bins: Sequence[Evidence]) -> Units:
    """Thresholds that rise with the root of a case's level (:func:`braincli.detection.maps.rise`).

    They rise from the faintest case on. Few cases may all be strong: then they fall, for fainter ones than any of them,
    to FAINT of the strongest one's, and no further: a map that is faint all over may be that of a healthy brain. There
    are none for vectors with which the map of a case is all but empty.
    """
    known = {e.case.id: e.levels(vectors) for e in (*evidence, *bins)}
    levels = np.array([known[e.case.id][0] for e in evidence])
    tops = np.max([most / np.sqrt(np.maximum(level, TINY)) for level, most in known.values()], axis=0)
    told: np.ndarray = levels.min(axis=0) > TINY
    scales = np.sqrt(np.maximum(levels, TINY))
    lowest = np.minimum(scales.min(axis=0), FAINT * scales.max(axis=0))
    return Units(np.where(tops > 0, tops, 1.0), scales, lowest, told)


def highest(evidence: Sequence[Evidence]) -> float:
    """The largest value of all maps (1 where they are 0 everywhere)."""
    return max((float(e.maps.max()) for e in evidence), default=1.0) or 1.0
