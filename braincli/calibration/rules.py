"""Weights and thresholds by the papers' rules instead of by the highest mean DSC, to compare with them.

Weights: ``equal``; or ``case-mean``, the mean over cases of each case's best weights (Wang et al. 2023, Sec. III;
theirs are best after Otsu's threshold, these at any). Threshold: ``otsu``, the mean over cases of Otsu's threshold of
the anomaly map inside the brain (Wolleb et al. 2022, Sec. 3: the average over the maps).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from braincli.calibration.evidence import Evidence
from braincli.calibration.fit import case_dsc
from braincli.calibration.search import edges, simplex
from braincli.calibration.units import highest
from braincli.config import CalibrateConfig
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.model.info import Calibration

Fusion = Literal["equal", "case-mean"]


def by_rule(evidence: Sequence[Evidence], fitted: Calibration, config: CalibrateConfig) -> Calibration:
    """``fitted`` with weights and threshold as ``config.fusion`` and ``config.objective`` say; no smallest lesion."""
    top = highest(evidence)
    weights = fitted.weights if config.fusion == "fitted" else weights_by(config.fusion, evidence, top)
    by_otsu = config.objective == "otsu"
    threshold = otsu(evidence, weights) if by_otsu else best_threshold(evidence, weights, top)
    fit = Calibration(weights=weights, threshold=threshold)
    dsc = float(np.mean([case_dsc(e, fit) for e in evidence]))
    facts = {"objective": f"{'Otsu' if by_otsu else 'mean DSC'}, weights {config.fusion}", "dsc_fitted": round(dsc, 4)}
    return fit.model_copy(update={"provenance": fitted.provenance.model_copy(update=facts)})


def weights_by(fusion: Fusion, evidence: Sequence[Evidence], top: float) -> dict[Contrast, float]:
    """Weights of the contrasts that the cases have, none for methods that give a score; they sum to 1.

    Args:
        top: the largest value of the maps; thresholds are tried below it.
    """
    if evidence[0].scored:
        return {}
    held = [c for c in CONTRASTS if any(c in e.slices.contrasts for e in evidence)]
    vectors = simplex(0.1, held)
    if fusion == "equal":
        mean = np.array([c in held for c in CONTRASTS], dtype=np.float64) / len(held)
    else:
        mean = np.mean([vectors[e.dsc(vectors, top).max(axis=1).argmax()] for e in evidence], axis=0)
    return {c: round(float(w), 4) for c, w in zip(CONTRASTS, mean, strict=True)}


def best_threshold(evidence: Sequence[Evidence], weights: Mapping[Contrast, float], top: float) -> float:
    """The threshold with the highest mean DSC for these weights."""
    vector = (
        np.array([[weights.get(c, 0.0) for c in CONTRASTS]], np.float32) if weights else np.ones((1, 1), np.float32)
    )
    curve = np.mean([e.dsc(vector, top)[0] for e in evidence], axis=0)
    return float(edges(top)[int(curve.argmax())])


def otsu(evidence: Sequence[Evidence], weights: Mapping[Contrast, float]) -> float:
    """Mean of the cases' Otsu thresholds; 0 for maps of one value. No masks are needed."""
    from skimage.filters import threshold_otsu

    found = []
    for e in evidence:
        values = e.fused(weights)[e.slices.brain[:, 0]]
        found.append(float(threshold_otsu(values)) if values.size and values.min() < values.max() else 0.0)
    return float(np.mean(found))
