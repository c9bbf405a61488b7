"""How much a method suspects, measured against what healthy tissue at the same place of a brain is suspected of.

Near ventricles, vessels and the skull base healthy tissue looks more like a lesion than elsewhere. A normal map holds
how much more, as log odds: by Bayes' rule they are subtracted, as evidence that says nothing. Places are shares of the
brain's box, so that no scan has to be registered to an atlas; a brain that the field of view cuts is placed wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST = 1e-6  # of a probability, and of what is left to 1


def log_odds(probability: np.ndarray) -> np.ndarray:
    """ln p / (1 - p), float32, of probabilities that are at least LEAST away from 0 and 1 (else these are taken)."""
    p = np.clip(probability, LEAST, 1 - LEAST).astype(np.float32)
    odds: np.ndarray = np.log(p / (1 - p))
    return odds


def probability(odds: np.ndarray) -> np.ndarray:
    """The inverse of :func:`log_odds`."""
    p: np.ndarray = 1 / (1 + np.exp(-odds))
    return p


def places(brain: np.ndarray, grid: Sequence[int]) -> list[np.ndarray]:
    """Where the planes, rows and columns of ``brain`` (S, H, W) bool, not empty, lie among the cells of ``grid``.

    Returns:
        (S,), (H,) and (W,) coordinates: the brain's box goes from -0.5 to a cell's number - 0.5; what lies beyond is
        moved to its edge.
    """
    found = []
    for axis, cells in enumerate(grid):
        there = np.flatnonzero(brain.any(axis=tuple({0, 1, 2} - {axis})))
        low, high = there[0] - 0.5, there[-1] + 0.5
        share = (np.arange(brain.shape[axis]) - low) / (high - low)
        found.append(share.clip(0, 1) * cells - 0.5)
    return found


def normally(normal: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """(S, H, W) float32 log odds of the map ``normal`` (z, y, x), linear between its cells, where ``brain`` is."""
    from scipy.ndimage import map_coordinates

    where = np.meshgrid(*places(brain, normal.shape), indexing="ij")
    return np.asarray(map_coordinates(normal.astype(np.float32), where, order=1, mode="nearest"))


def beyond_normal(suspicion: np.ndarray, brain: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """``suspicion`` (S, 1, H, W) in [0, 1] less what the map ``normal`` (z, y, x) says of healthy tissue there.

    Args:
        brain: (S, 1, H, W) bool; elsewhere the result is 0.
    """
    return probability(log_odds(suspicion) - normally(normal, brain[:, 0])[:, None]) * brain
