"""Threshold and smallest lesion under given weights: by any aim, and within what healthy people allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from braincli.calibration.aims import Aim, healthy_ml
from braincli.calibration.evidence import Evidence, hashes
from braincli.model.info import Calibration, HealthyBound

Figure = Callable[[Evidence, np.ndarray, tuple[float, ...]], np.ndarray]
STEPS = 12  # thresholds that are tried at once
ROUNDS = 2  # each between the neighbours of the best of the round before
LOWEST = 0.3  # of the threshold with the highest mean DSC: where another aim begins to look


def aimed(fit: Calibration, evidence: Sequence[Evidence], aim: Aim) -> Calibration:
    """``fit`` with the threshold and smallest lesion of the highest mean of ``aim``'s figure over ``evidence``."""
    threshold, smallest, _ = _best(fit, LOWEST * fit.threshold, evidence, aim)
    provenance = fit.provenance.model_copy(update={"objective": aim.name})
    return fit.model_copy(update={"threshold": threshold, "min_lesion_mm3": smallest, "provenance": provenance})


def bounded(
    fit: Calibration, evidence: Sequence[Evidence], aim: Aim, healthy: Sequence[Evidence], limit_ml: float
) -> Calibration:
    """``fit``, with a higher threshold or another smallest lesion where it marks more than ``limit_ml`` in the healthy.

    These are the ones with the highest mean of ``aim``'s figure over ``evidence`` that mark no more, as a mean over
    ``healthy`` (their healthy slices). The weights stay. What that cost is stored:
    :class:`braincli.model.info.HealthyBound`.

    Args:
        healthy: healthy people, restored with the contrasts that ``fit`` is for.
    """
    facts: dict[str, Any] = {"limit_ml": limit_ml, "images": hashes(healthy)}
    changed: dict[str, Any] = {}
    marked = mean_healthy_ml(healthy, fit)
    if marked > limit_ml:
        facts |= {"threshold_without": fit.threshold, "dsc_without": fit.provenance.dsc_fitted}
        threshold, smallest, marked = _best(fit, fit.threshold, evidence, aim, healthy, limit_ml)
        changed = {"threshold": threshold, "min_lesion_mm3": smallest}
    bound = HealthyBound(**facts, mean_ml=round(marked, 3))
    return fit.model_copy(update=changed | {"provenance": fit.provenance.model_copy(update={"bound": bound})})


def mean_healthy_ml(healthy: Sequence[Evidence], fit: Calibration) -> float:
    """Mean over cases of what ``fit`` marks in healthy slices, in ml."""
    return float(np.mean([healthy_ml(e, e.mask(fit), (0.0,))[0] for e in healthy]))


def _best(
    fit: Calibration,
    low: float,
    evidence: Sequence[Evidence],
    aim: Aim,
    healthy: Sequence[Evidence] = (),
    limit_ml: float = 0.0,
) -> tuple[float, float, float]:
    """Threshold (from ``low`` on), smallest lesion, and the mean ml that they mark in ``healthy``."""
    high = max(float(e.maps.max()) for e in (*evidence, *healthy))

    def means(figure: Figure, cases: Sequence[Evidence], thresholds: np.ndarray) -> np.ndarray:
        tables = [_table(figure, e, fit, thresholds, aim.sizes) for e in cases]
        return np.mean(tables, axis=0) if tables else np.zeros((len(thresholds), len(aim.sizes)))

    for _ in range(ROUNDS):
        thresholds = np.linspace(np.sqrt(low), np.sqrt(high), STEPS) ** 2
        thresholds[-1] = high  # nothing exceeds the highest value: that is within every limit
        ml = means(healthy_ml, healthy, thresholds)
        figures = np.where(ml <= limit_ml, means(aim.figure, evidence, thresholds), -1.0)
        row, size = np.unravel_index(int(figures.argmax()), figures.shape)
        low, high = thresholds[max(int(row) - 1, 0)], thresholds[min(int(row) + 1, STEPS - 1)]
    return float(thresholds[row]), aim.sizes[int(size)], float(ml[row, size])


def _table(
    figure: Figure, e: Evidence, fit: Calibration, thresholds: np.ndarray, sizes: tuple[float, ...]
) -> np.ndarray:
    """(T, len(sizes)) figures of one case; no other's map is in memory."""
    anomaly, higher = e.anomaly(fit.weights), e.rise(fit)
    return np.stack([figure(e, anomaly > threshold * higher, sizes) for threshold in thresholds])
