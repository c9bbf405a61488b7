"""Contrast weights, threshold and smallest lesion, fitted on cases that the model has not seen.

All weight vectors on the simplex at step 0.1 (286 for four contrasts) are tried with every threshold; the mean DSC
over cases decides. DSC at all thresholds comes from two histograms per case and weight vector, so nothing is
segmented during the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from braincli import files
from braincli.cases import CONTRASTS, Case, Contrast
from braincli.detection.maps import CONNECTED, fuse, renormalise, segment, smooth
from braincli.detection.restore import restore
from braincli.errors import InputError
from braincli.modelfolder import Calibration, LoadedModel
from braincli.progress import Reporter
from braincli.slices import Slices, SliceSpec, load_case
from braincli.volume import load, mask_on_grid_of, reorient

BINS = 500
TOLERANCE = 0.01  # of mean DSC
PAPER_WEIGHTS = {Contrast.T1: 0.07, Contrast.T1CE: 0.19, Contrast.T2: 0.30, Contrast.FLAIR: 0.44}  # TSGM, Sec. III
SMALLEST_MM3 = (0.0, 50.0, 200.0, 500.0, 1000.0, 2000.0)


@dataclass(frozen=True)
class Evidence:
    """What calibration needs of one case: smoothed residuals (C, S, H, W), lesion (S, H, W) and full-size lesion."""

    case: Case
    slices: Slices
    maps: np.ndarray
    lesion: np.ndarray
    reference: np.ndarray  # (X, Y, Z) bool on the RAS grid
    curves: dict[float, np.ndarray] = field(default_factory=dict)  # DSC curves of all candidates, by step

    @property
    def voxel_mm3(self) -> float:
        return self.slices.ras.voxel_ml * 1000


def gather(cases: Sequence[Case], model: LoadedModel, *, seed: int, batch: int, reporter: Reporter) -> list[Evidence]:
    """Restore ``cases`` and keep what the search needs.

    Raises:
        InputError: a case was trained on (by id or image hash), or none has a lesion.
    """
    trained = model.info.training.get("cases", {})
    hashes = {digest for found in trained.values() for digest in found}
    spec = SliceSpec.model_validate(model.info.slices)
    found = []
    for case in cases:
        if case.lesion is None:
            raise InputError(f"{case.id} has no lesion mask.", "Put <case>_seg.nii.gz beside the scans.")
        if case.id in trained or hashes.intersection(map(files.sha256, case.images.values())):
            raise InputError(
                f"{case.id} was trained on.", "Calibrate on other cases: residuals of seen ones are smaller."
            )
        slices, share = load_case(case, spec, stride=model.method.stride)
        result = restore(slices, model, case_id=case.id, seed=seed, batch=batch, reporter=reporter)
        maps = smooth(result.residual, slices.brain, slices.spacing, model.info.map)
        mask, _ = mask_on_grid_of(load(case.lesion, labels=True), slices.grid)
        assert share is not None
        found.append(Evidence(case, slices, maps, share > 0.5, reorient(mask).data > 0))
    if not any(evidence.reference.any() for evidence in found):
        raise InputError("No case has a lesion.", "Calibration by DSC needs lesions.")
    return found


def simplex(step: float = 0.1) -> np.ndarray:
    """(286, 4) weight vectors at step 0.1: non-negative, summing to 1."""
    parts = round(1 / step)
    grid = [v for v in product(range(parts + 1), repeat=len(CONTRASTS)) if sum(v) == parts]
    return np.array(grid, dtype=np.float32) / parts


def calibrate(evidence: Sequence[Evidence], *, step: float = 0.1) -> Calibration:
    """The weights, threshold and smallest lesion with the highest mean DSC over ``evidence`` (weights within
    TOLERANCE of it count as equal; the ones nearest the paper's are taken)."""
    candidates = simplex(step)
    curves = np.mean([_dsc_curves(e, step) for e in evidence], axis=0)
    # few cases do not tell neighbouring weights apart: of the vectors that are as good, the one nearest the paper's
    good = np.flatnonzero(curves.max(axis=1) >= curves.max() - TOLERANCE)
    prior = np.array([PAPER_WEIGHTS[c] for c in CONTRASTS])
    best = good[((candidates[good] - prior) ** 2).sum(axis=1).argmin()]
    cut = int(curves[best].argmax())
    weights = {c: round(float(w), 4) for c, w in zip(CONTRASTS, candidates[best], strict=True)}
    threshold = float(_edges()[cut])
    by_size = np.mean([_dsc_by_size(e, weights, threshold) for e in evidence], axis=0)
    sizes = dict(zip(SMALLEST_MM3, by_size.tolist(), strict=True))
    smallest = max(sizes, key=lambda size: (sizes[size], -size))
    return Calibration(
        weights=weights, threshold=threshold, min_lesion_mm3=smallest,
        provenance={
            "objective": "mean DSC", "cases": [e.case.id for e in evidence], "dsc_fitted": round(sizes[smallest], 4),
        },
    )  # fmt: skip


def cross_fit(evidence: Sequence[Evidence]) -> dict[str, float]:
    """DSC per case, each from a calibration on the other half of the cases (halves in order of id)."""
    ordered = sorted(evidence, key=lambda e: e.case.id)
    middle = len(ordered) // 2
    if middle == 0:
        raise InputError("Cross-fitting needs at least two cases.")
    result = {}
    for fitted, reported in ((ordered[:middle], ordered[middle:]), (ordered[middle:], ordered[:middle])):
        found = calibrate(fitted)
        for e in reported:
            result[e.case.id] = case_dsc(e, found.weights, found.threshold, found.min_lesion_mm3)
    return result


def case_dsc(e: Evidence, weights: dict[Contrast, float], threshold: float, smallest: float) -> float:
    """DSC on the scan's own grid, exactly as ``detect`` would segment it; 1 where both masks are empty."""
    mask = segment(anomaly(e, weights), threshold, e.voxel_mm3, smallest)
    total = int(mask.sum()) + int(e.reference.sum())
    return 2 * int((mask & e.reference).sum()) / total if total else 1.0


def anomaly(e: Evidence, weights: dict[Contrast, float]) -> np.ndarray:
    """(X, Y, Z) anomaly map on the RAS grid, as ``detect`` would make it."""
    fused = fuse(e.maps, renormalise(weights, e.slices.contrasts))
    return reorient(e.slices.to_volume(fused)).data


def _dsc_by_size(e: Evidence, weights: dict[Contrast, float], threshold: float) -> list[float]:
    """:func:`case_dsc` for each of SMALLEST_MM3, from one labelling."""
    from scipy.ndimage import label

    mask = anomaly(e, weights) > threshold
    labels, count = label(mask, structure=CONNECTED)
    voxels = np.bincount(labels.ravel(), minlength=count + 1)
    hits = np.bincount(labels[e.reference], minlength=count + 1)
    voxels[0] = hits[0] = 0
    truth = int(e.reference.sum())
    found = []
    for smallest in SMALLEST_MM3:
        kept = voxels * e.voxel_mm3 >= smallest
        total = int(voxels[kept].sum()) + truth
        found.append(2 * int(hits[kept].sum()) / total if total else 1.0)
    return found


def _edges() -> np.ndarray:
    """(BINS,) thresholds: finer near 0, where restorations leave their residuals."""
    return np.linspace(0, 1, BINS, endpoint=False) ** 2


def _dsc_curves(e: Evidence, step: float) -> np.ndarray:
    """(candidates, BINS) DSC on the canvas at every threshold of :func:`_edges`; computed once per case.

    Weight on a contrast that the case lacks goes to the others in proportion, as in detection.
    """
    if step in e.curves:
        return e.curves[step]
    inside = e.slices.brain[:, 0]
    values = e.maps[:, inside]  # (C, n)
    sick = e.lesion[inside]
    positives = int(e.lesion.sum())
    candidates = simplex(step)
    curves = np.empty((len(candidates), BINS))
    for row, vector in enumerate(candidates):
        weights = renormalise(dict(zip(CONTRASTS, vector.tolist(), strict=True)), e.slices.contrasts)
        fused = np.array([weights.get(c, 0.0) for c in CONTRASTS], dtype=np.float32) @ values
        bins = np.minimum(np.sqrt(fused, out=fused) * BINS, BINS - 1).astype(np.int16)
        true = _at_least(np.bincount(bins[sick], minlength=BINS))
        total = _at_least(np.bincount(bins, minlength=BINS)) + positives
        curves[row] = np.where(total > 0, 2 * true / np.maximum(total, 1), 1.0)
    e.curves[step] = curves
    return curves


def _at_least(counts: np.ndarray) -> np.ndarray:
    return counts[::-1].cumsum()[::-1]
