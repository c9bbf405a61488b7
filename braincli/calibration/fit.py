"""Contrast weights, threshold and smallest lesion, fitted on cases that the model has not seen.

Objective ``dsc``: all weight vectors on the simplex at step 0.1 (286 for four contrasts), and finer ones around the
best, are tried with every threshold; the mean DSC over cases decides. Objective ``healthy-quantile`` needs no masks:
the threshold is what a chosen share of healthy brain exceeds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from braincli.calibration.evidence import Evidence, gather
from braincli.calibration.search import around, edges, simplex
from braincli.config import CalibrateConfig
from braincli.detection.maps import CONNECTED, renormalise
from braincli.errors import InputError, UsageError
from braincli.imaging.cases import CONTRASTS, Case, Contrast
from braincli.model.folder import LoadedModel, write_info
from braincli.model.info import Calibration, Healthy, ModelInfo, Provenance, subset
from braincli.runtime import device, files
from braincli.runtime.cohort import short
from braincli.runtime.progress import Reporter

TOLERANCE = 0.01  # of mean DSC
SMALLEST_MM3 = (0.0, 50.0, 200.0, 500.0, 1000.0, 2000.0)
SCORE = np.ones((1, 1), dtype=np.float32)  # the only weight vector of methods that give a score


def calibrate_model(
    model: LoadedModel,
    cases: Sequence[Case],
    config: CalibrateConfig,
    reporter: Reporter,
    *,
    healthy: Sequence[Case] = (),
) -> Calibration:
    """Fit ``model`` on ``cases``, count what it then marks in healthy tissue, and store both in its ``model.json``.

    With ``config.contrasts``, what is fitted is for scans that have no others, and is stored beside the rest.

    Args:
        healthy: cases of healthy people, in which false positives are counted too; nothing is fitted on them.

    Raises:
        InputError: see :func:`braincli.calibration.evidence.gather`; or a case lies in both cohorts.
        UsageError: cross-fitting without masks.
    """
    by_masks = config.objective == "dsc"
    if config.cross_fit and not by_masks:
        raise UsageError("Cross-fitting compares with masks.", "Leave out --cross-fit, or use --objective dsc.")
    cases, healthy = (
        [case if case.problem else only(case, config.contrasts) for case in these] for these in (cases, healthy)
    )
    if twice := sorted({case.id for case in cases} & {case.id for case in healthy}):
        raise InputError(f"{twice[0]} lies in both cohorts.", "False positives are counted on cases of their own.")
    dtype = device.precision(model.device, config.precision)

    def restored(these: Sequence[Case], masks: bool) -> list[Evidence]:
        outcomes = gather(
            these, model, seed=config.seed, batch=config.batch, reporter=reporter, masks=masks, dtype=dtype
        )  # fmt: skip
        left_out.update({outcome.id: short(outcome.error) for outcome in outcomes if outcome.error is not None})
        return [outcome.result for outcome in outcomes if outcome.result is not None]

    left_out: dict[str, str] = {}
    evidence, well = restored(cases, by_masks), restored(healthy, False)
    return conclude(model, evidence, config, healthy=well, left_out=left_out)


def only(case: Case, contrasts: Collection[Contrast]) -> Case:
    """``case`` with these contrasts alone (all of its own if none are named).

    Raises:
        InputError: it lacks one of them.
    """
    if lacking := [c.upper() for c in contrasts if c not in case.images]:
        raise InputError(f"{case.id} has no {lacking[0]}.", "Name --contrasts that every case has.")
    return replace(case, images={c: path for c, path in case.images.items() if c in contrasts or not contrasts})


def conclude(
    model: LoadedModel,
    evidence: Sequence[Evidence],
    config: CalibrateConfig,
    *,
    healthy: Sequence[Evidence] = (),
    left_out: Mapping[str, str] | None = None,
) -> Calibration:
    """What :func:`calibrate_model` does once the cases are restored; ``left_out``: why others could not be used."""
    shared = shared_contrasts(evidence)
    if config.objective == "dsc":
        fit = calibrate(evidence)
    else:
        known = model.info.calibration_for(shared) or model.info.calibration
        fit = healthy_quantile(evidence, config.false_positive_rate, known)
    more: dict[str, Any] = {}
    if shared and shared != model.info.contrasts:
        more["contrasts"] = list(shared)
    if config.cross_fit:
        scores = cross_fit(evidence)
        mean = sum(scores.values()) / len(scores)
        more |= {"cross_fit": {k: round(v, 4) for k, v in scores.items()}, "dsc_cross_fit": round(mean, 4)}
    marked = {e.case.id: false_positives(e, fit) for e in [*evidence, *healthy]}
    if left_out:
        more["left_out"] = dict(left_out)
    more["healthy"] = {case: facts for case, facts in marked.items() if facts}
    fit = fit.model_copy(update={"provenance": fit.provenance.model_copy(update=more)})
    if config.contrasts and fit.weights:
        fit = fit.model_copy(update={"weights": renormalise(fit.weights, config.contrasts)})
    if not config.dry_run:
        write_info(model.folder, _with(model.info, fit, config.contrasts))
    return fit


def shared_contrasts(evidence: Sequence[Evidence]) -> tuple[Contrast, ...]:
    """The contrasts of the cases, where all have the same; else none."""
    kinds = {e.slices.contrasts for e in evidence}
    return kinds.pop() if len(kinds) == 1 else ()


def _with(info: ModelInfo, fit: Calibration, contrasts: Collection[Contrast]) -> ModelInfo:
    """``info`` with ``fit`` as its calibration, or as that of a subset of its contrasts."""
    if contrasts and set(contrasts) != set(info.contrasts):
        return info.model_copy(update={"subsets": info.subsets | {subset(contrasts): fit}})
    figures = dict(info.figures)
    figures.pop("DSC (cross-fitted)", None)  # of the values that are replaced
    if (crossed := fit.provenance.dsc_cross_fit) is not None:
        figures["DSC (cross-fitted)"] = crossed
    return info.model_copy(update={"calibration": fit, "figures": figures})


def calibrate(evidence: Sequence[Evidence], *, top: float | None = None) -> Calibration:
    """The weights, threshold and smallest lesion with the highest mean DSC over ``evidence``.

    Weights within TOLERANCE of the highest count as equal (few cases do not tell neighbouring weights apart); of them,
    the ones nearest those of the model's map options are taken. A score has no weights.

    Args:
        top: the largest value of the maps, if known; thresholds are tried below it.
    """
    top = top or highest(evidence)
    vectors = SCORE if evidence[0].scored else simplex(0.1)
    best, cut = _best(evidence, vectors, top)
    if not evidence[0].scored:
        vectors = np.unique(np.concatenate([vectors, around(vectors[best])]), axis=0)
        best, cut = _best(evidence, vectors, top)
    weights = {} if evidence[0].scored else _named(vectors[best])
    threshold = float(edges(top)[cut])
    by_size = np.mean([_dsc_by_size(e, weights, threshold) for e in evidence], axis=0)
    sizes = dict(zip(SMALLEST_MM3, by_size.tolist(), strict=True))
    smallest = max(sizes, key=lambda size: (sizes[size], -size))
    provenance = Provenance(objective="mean DSC", **_cases(evidence), dsc_fitted=round(sizes[smallest], 4))
    return Calibration(weights=weights, threshold=threshold, min_lesion_mm3=smallest, provenance=provenance)


def healthy_quantile(evidence: Sequence[Evidence], rate: float, known: Calibration | None) -> Calibration:
    """The threshold that a share ``rate`` of healthy brain exceeds (pooled over cases); no masks are needed.

    Weights are those of ``known``, or of the model's map options; the smallest lesion is that of ``known``, or 0.
    Slices less than two slices away from a known lesion are left out.

    Raises:
        InputError: no healthy slice.
    """
    weights: dict[Contrast, float] = {}
    if not evidence[0].scored:
        weights = dict(known.weights) if known and known.weights else dict(evidence[0].prior)
    values, slices = [], 0
    for e in evidence:
        healthy = e.healthy_slices()
        slices += int(healthy.sum())
        values.append(e.fused(weights)[healthy][e.slices.brain[healthy, 0]])
    if not slices:
        raise InputError("No case has a slice without lesion.", "Give healthy cases.")
    threshold = float(np.quantile(np.concatenate(values), 1 - rate))
    provenance = Provenance(
        objective="healthy-quantile", **_cases(evidence), false_positive_rate=rate, healthy_slices=slices
    )
    smallest = known.min_lesion_mm3 if known else 0.0
    return Calibration(weights=weights, threshold=threshold, min_lesion_mm3=smallest, provenance=provenance)


def cross_fit(evidence: Sequence[Evidence]) -> dict[str, float]:
    """DSC per case, each with the calibration of :func:`cross_calibrate`."""
    fits = cross_calibrate(evidence)
    return {e.case.id: case_dsc(e, fits[e.case.id]) for e in sorted(evidence, key=lambda e: e.case.id)}


def cross_calibrate(evidence: Sequence[Evidence]) -> dict[str, Calibration]:
    """For each case, by id, a calibration on the other half of the cases (halves in order of id).

    Raises:
        InputError: one case only, or a half without lesion.
    """
    ordered = sorted(evidence, key=lambda e: e.case.id)
    middle = len(ordered) // 2
    if middle == 0:
        raise InputError("Cross-fitting needs at least two cases.")
    result: dict[str, Calibration] = {}
    top = highest(ordered)  # sets the bins of the search, nothing else
    for fitted, reported in ((ordered[:middle], ordered[middle:]), (ordered[middle:], ordered[:middle])):
        if not any(e.reference.any() for e in fitted):
            raise InputError("Cross-fitting needs a lesion in each half of the cases.")
        result |= dict.fromkeys((e.case.id for e in reported), calibrate(fitted, top=top))
    return result


def case_dsc(e: Evidence, fit: Calibration) -> float:
    """DSC on the scan's own grid; 1 where both masks are empty."""
    mask = e.mask(fit)
    total = int(mask.sum()) + int(e.reference.sum())
    return 2 * int((mask & e.reference).sum()) / total if total else 1.0


def false_positives(e: Evidence, fit: Calibration) -> Healthy | None:
    """What ``fit`` marks in healthy slices, and how the map lies there; None where every slice is near a lesion."""
    healthy = e.healthy_slices()
    if not healthy.any():
        return None
    planes = e.slices.shown_planes(healthy)
    brain, mask = e.slices.brain_volume[:, :, planes], e.mask(fit)[:, :, planes]
    anomaly = e.anomaly(fit.weights)[:, :, planes][brain]
    ml = e.voxel_mm3 / 1000
    return Healthy(
        slices=int(healthy.sum()), brain_ml=round(float(brain.sum() * ml), 1),
        mask_ml=round(float(mask.sum() * ml), 2), map_mean=round(float(anomaly.mean()), 4),
        map_p99=round(float(np.percentile(anomaly, 99)), 4),
    )  # fmt: skip


def highest(evidence: Sequence[Evidence]) -> float:
    """The largest value of all maps (1 where they are 0 everywhere)."""
    return max((float(e.maps.max()) for e in evidence), default=1.0) or 1.0


def _best(evidence: Sequence[Evidence], vectors: np.ndarray, top: float) -> tuple[int, int]:
    """Row of ``vectors`` and threshold bin."""
    curves = np.mean([e.dsc(vectors, top) for e in evidence], axis=0)
    good = np.flatnonzero(curves.max(axis=1) >= curves.max() - TOLERANCE)
    best = int(good[0])
    prior = np.array([evidence[0].prior[c] for c in CONTRASTS], dtype=np.float32)
    if vectors.shape[1] == len(prior):
        best = int(good[((vectors[good] - prior) ** 2).sum(axis=1).argmin()])
    return best, int(curves[best].argmax())


def _named(vector: np.ndarray) -> dict[Contrast, float]:
    return {c: round(float(w), 4) for c, w in zip(CONTRASTS, vector, strict=True)}


def _cases(evidence: Sequence[Evidence]) -> dict[str, Any]:
    """Ids and image hashes: what a later test set must not hold."""
    images = {e.case.id: [files.sha256(path) for path in e.case.images.values()] for e in evidence}
    return {"cases": list(images), "images": images}


def _dsc_by_size(e: Evidence, weights: dict[Contrast, float], threshold: float) -> list[float]:
    """:func:`case_dsc` for each of SMALLEST_MM3, from one labelling."""
    from scipy.ndimage import label

    mask = e.anomaly(weights) > threshold
    labels, count = label(mask, structure=CONNECTED)
    voxels = np.bincount(labels.ravel(), minlength=count + 1)
    hits = np.bincount(labels[e.reference], minlength=count + 1)
    voxels[0] = hits[0] = 0
    truth = int(e.reference.sum())
    scores = []
    for smallest in SMALLEST_MM3:
        kept = voxels * e.voxel_mm3 >= smallest
        total = int(voxels[kept].sum()) + truth
        scores.append(2 * int(hits[kept].sum()) / total if total else 1.0)
    return scores
