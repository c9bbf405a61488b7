"""Figures of validation cases of which nothing was fitted on the case that it is reported for."""

from __future__ import annotations

from collections.abc import Sequence
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
        """Figures on the scan's own grid, as :mod:`braincli.scoring.evaluate` defines them; None where undefined.

        AUPRC and ``best_dsc`` (threshold chosen on the case itself) count the brain's voxels. ``healthy_fp_ml`` is mask
        in slices two or more away from the reference, ``healthy_brain_ml`` the brain there.
        """
        e = self.evidence
        counts = metrics.confusion(pred=self.mask, ref=e.reference)
        curve = curves.curve(score=self.anomaly, ref=e.reference, domain=e.slices.brain_volume)
        best, healthy = curve.best_dice(), false_positives(e, self.calibration)
        return {
            "dsc": metrics.dice(counts),
            "best_dsc": best[0] if best else None,
            "auprc": curve.auprc(),
            "hd95_mm": metrics.hd95(pred=self.mask, ref=e.reference, spacing=e.slices.ras.spacing),
            "precision": metrics.precision(counts),
            "recall": metrics.recall(counts),
            "healthy_fp_ml": healthy.mask_ml if healthy else None,
            "healthy_brain_ml": healthy.brain_ml if healthy else None,
        }


def cross_fitted(evidence: Sequence[Evidence], recipe: Recipe = Recipe()) -> list[CrossFitted]:
    """Each case in order of id, with the calibration on the other half of the cases (halves in order of id).

    Args:
        recipe: what is fitted; by default weights, threshold and smallest lesion of the highest mean DSC.

    Raises:
        InputError: one case only, or a half without lesion.
    """
    fitted = cross_calibrate(evidence, recipe)
    cases = []
    for e in sorted(evidence, key=lambda e: e.case.id):
        calibration = fitted[e.case.id]
        cases.append(CrossFitted(e, calibration, e.anomaly(calibration.weights), e.mask(calibration)))
    return cases
