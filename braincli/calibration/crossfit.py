"""Figures of validation cases of which nothing was fitted on the case that it is reported for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from braincli.calibration.evidence import Evidence
from braincli.calibration.fit import Recipe, cross_calibrate, false_positives
from braincli.model.info import Calibration
from braincli.scoring import curves, metrics


@dataclass(frozen=True)
class CrossFitted:
    """A case with the map and the mask that a calibration on other cases makes.

    Attributes:
        anomaly, mask: (X, Y, Z) float32 and bool on the RAS grid.
    """

    evidence: Evidence
    calibration: Calibration
    anomaly: np.ndarray
    mask: np.ndarray

    def figures(self) -> dict[str, float | None]:
        """See :func:`figures`."""
        return figures(self.evidence, self.anomaly, self.mask)


def figures(e: Evidence, anomaly: np.ndarray, mask: np.ndarray) -> dict[str, float | None]:
    """Figures on the scan's own grid, as :mod:`braincli.scoring.evaluate` defines them; None where undefined.

    AUPRC and ``best_dsc`` (threshold chosen on the case itself) count the brain's voxels. ``healthy_fp_ml`` is mask
    in slices two or more away from the reference, ``healthy_brain_ml`` the brain there.

    Args:
        anomaly, mask: (X, Y, Z) float32 and bool on the RAS grid.
    """
    counts = metrics.confusion(pred=mask, ref=e.reference)
    curve = curves.curve(score=anomaly, ref=e.reference, domain=e.slices.brain_volume)
    best, healthy = curve.best_dice(), false_positives(e, anomaly, mask)
    return {
        "dsc": metrics.dice(counts),
        "best_dsc": best[0] if best else None,
        "auprc": curve.auprc(),
        "hd95_mm": metrics.hd95(pred=mask, ref=e.reference, spacing=e.slices.ras.spacing),
        "precision": metrics.precision(counts),
        "recall": metrics.recall(counts),
        "healthy_fp_ml": healthy.mask_ml if healthy else None,
        "healthy_brain_ml": healthy.brain_ml if healthy else None,
    }


# what a model's card reports beside its DSC -> figure of a case
REPORTED = {"AUPRC": "auprc", "HD95 (mm)": "hd95_mm", "healthy FP (ml)": "healthy_fp_ml"}


def reported(evidence: Sequence[Evidence], fits: Mapping[str, Calibration]) -> dict[str, float]:
    """:data:`REPORTED` figures: means over the cases that define them, each with the calibration of the other half.

    Args:
        fits: what :func:`braincli.calibration.fit.cross_calibrate` gives.
    """
    rows = [cross_fitted_case(e, fits[e.case.id]).figures() for e in evidence]
    found = {name: [value for row in rows if (value := row[key]) is not None] for name, key in REPORTED.items()}
    return {name: round(float(np.mean(values)), 4) for name, values in found.items() if values}


def cross_fitted_case(e: Evidence, calibration: Calibration) -> CrossFitted:
    """``e`` with the map and the mask of ``calibration``."""
    return CrossFitted(e, calibration, e.anomaly(calibration.weights), e.mask(calibration))


def cross_fitted(evidence: Sequence[Evidence], recipe: Recipe = Recipe()) -> list[CrossFitted]:
    """Each case in order of id, with the calibration on the other half of the cases (halves in order of id).

    Args:
        recipe: what is fitted; by default weights, threshold and smallest lesion of the highest mean DSC.

    Raises:
        InputError: one case only, or a half without lesion.
    """
    fitted = cross_calibrate(evidence, recipe)
    return [cross_fitted_case(e, fitted[e.case.id]) for e in sorted(evidence, key=lambda e: e.case.id)]
