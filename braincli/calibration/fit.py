"""Contrast weights, threshold and smallest lesion, fitted on cases that the model has not seen.

Objective ``dsc``: all weight vectors on the simplex at step 0.1 (286 for four contrasts), and finer ones around the
best, are tried with every threshold; the mean DSC over cases decides. Objective ``lesion-f1``: with these weights, the
threshold and the smallest lesion of the highest mean lesion-wise F1. Objective ``healthy-quantile`` needs no masks: the
threshold is what a chosen share of healthy brain exceeds. Healthy people bound what the first two mark
(:mod:`.cut`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from braincli.calibration import units
from braincli.calibration.aims import DSC, LESION_F1, Aim
from braincli.calibration.cut import aimed, bounded, mean_healthy_ml
from braincli.calibration.evidence import Evidence, hashes
from braincli.calibration.search import around, edges, present_only, simplex
from braincli.errors import InputError
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.model.info import Calibration, Healthy, Provenance

TOLERANCE = 0.01  # of mean DSC
SCORE = np.ones((1, 1), dtype=np.float32)  # the only weight vector of methods that give a score


@dataclass(frozen=True)
class Recipe:
    """What is fitted.

    Attributes:
        aim: the figure whose mean is to be high.
        healthy: healthy people, restored with the contrasts of the cases; none: nothing bounds the fit.
        limit_ml: what is marked in them at most, as a mean.
        rising: whether the threshold rises with a case's own map, see :func:`braincli.detection.maps.rise`.
        suspicion: whether suspicion alone may be the map, where the method gives some.
    """

    aim: Aim = DSC
    healthy: tuple[Evidence, ...] = ()
    limit_ml: float = 2.0
    rising: bool = False
    suspicion: bool = True

    def fit(self, evidence: Sequence[Evidence], *, bins: Sequence[Evidence] = ()) -> Calibration:
        """The calibration on ``evidence``, with the figures that it reaches there; ``bins``: see :func:`calibrate`.

        Where suspicion alone reaches more than residuals weighed by it (by TOLERANCE), it is the map: then there are no
        weights.
        """
        fit = self._fit(evidence, bins)
        alone, those = ([one for e in part if (one := e.by_suspicion())] for part in (evidence, bins))
        if self.suspicion and len(alone) == len(evidence):
            other = self._fit(alone, those)
            if self._reached(other) > self._reached(fit) + TOLERANCE:
                return other
        return fit

    def _reached(self, fit: Calibration) -> float:
        """The mean of the figure that was aimed at, on the cases of the fit."""
        facts = fit.provenance
        return float((facts.lesion_f1_fitted if self.aim is LESION_F1 else facts.dsc_fitted) or 0)

    def _fit(self, evidence: Sequence[Evidence], bins: Sequence[Evidence]) -> Calibration:
        """One kind of map."""
        fit = calibrate(evidence, bins=bins, rising=self.rising)
        if self.aim is not DSC:
            fit = aimed(fit, evidence, self.aim)
        if self.healthy:
            alone = [one for e in self.healthy if not fit.weights and (one := e.by_suspicion())]
            fit = bounded(fit, evidence, self.aim, alone or self.healthy, self.limit_ml)
        reached = {"dsc_fitted": float(np.mean([case_dsc(e, fit) for e in evidence]))}
        if self.aim is LESION_F1:
            reached["lesion_f1_fitted"] = float(np.mean([case_lesion_f1(e, fit) for e in evidence]))
        rounded = {name: round(value, 4) for name, value in reached.items()}
        return fit.model_copy(update={"provenance": fit.provenance.model_copy(update=rounded)})

    def halves(self) -> tuple[Recipe, Recipe]:
        """The same with every other healthy person; both have all where there is but one."""
        if len(self.healthy) < 2:
            return self, self
        return replace(self, healthy=self.healthy[::2]), replace(self, healthy=self.healthy[1::2])


def calibrate(evidence: Sequence[Evidence], *, bins: Sequence[Evidence] = (), rising: bool = False) -> Calibration:
    """The weights, threshold and smallest lesion with the highest mean DSC over ``evidence``.

    Weights within TOLERANCE of the highest count as equal (few cases do not tell neighbouring weights apart); of them,
    the ones nearest those of the model's map options are taken. A score has no weights, and a contrast that no case has
    weighs nothing.

    Args:
        bins: cases that the bins of the search are to hold, by default those of ``evidence``. Nothing else is taken of
            them; halves of one cohort share their bins, so that no histogram is counted twice.
        rising: the threshold rises with a case's own map, from the level of the faintest of ``evidence`` on.
    """
    held = {c for e in evidence for c in e.slices.contrasts}
    vectors = SCORE if evidence[0].scored else simplex(0.1, held)
    best, *_ = _best(evidence, vectors, bins or evidence, rising)
    if len(vectors) > 1:
        vectors = np.unique(np.concatenate([vectors, around(vectors[best], contrasts=held)]), axis=0)
    best, threshold, rises_from = _best(evidence, vectors, bins or evidence, rising)
    weights = {} if evidence[0].scored else _named(vectors[best])
    fit = Calibration(weights=weights, threshold=threshold, rises_from=rises_from)
    by_size = np.mean([DSC.by_size(e, e.mask(fit)) for e in evidence], axis=0)
    sizes = dict(zip(DSC.sizes, by_size.tolist(), strict=True))
    smallest = max(sizes, key=lambda size: (sizes[size], -size))
    provenance = Provenance(objective=DSC.name, **_cases(evidence), dsc_fitted=round(sizes[smallest], 4))
    return fit.model_copy(update={"min_lesion_mm3": smallest, "provenance": provenance})


def healthy_quantile(evidence: Sequence[Evidence], rate: float, known: Calibration | None) -> Calibration:
    """The threshold that a share ``rate`` of healthy brain exceeds (pooled over cases); no masks are needed.

    Weights are those of ``known``, or of the model's map options; the smallest lesion is that of ``known``, or 0.
    Slices less than two slices away from a known lesion are left out.

    Raises:
        InputError: no healthy slice.
    """
    weights: dict[Contrast, float] = {}
    by_suspicion = known is not None and not known.weights and evidence[0].alone is not None
    if not (evidence[0].scored or by_suspicion):
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


def cross_fit(evidence: Sequence[Evidence], recipe: Recipe = Recipe()) -> dict[str, float]:
    """DSC per case, each with the calibration of :func:`cross_calibrate`."""
    fits = cross_calibrate(evidence, recipe)
    return {e.case.id: case_dsc(e, fits[e.case.id]) for e in sorted(evidence, key=lambda e: e.case.id)}


def cross_calibrate(evidence: Sequence[Evidence], recipe: Recipe = Recipe()) -> dict[str, Calibration]:
    """For each case, by id, a calibration on the other half of the cases (halves in order of id).

    Healthy people of ``recipe`` are halved as well: each half bounds one of the two calibrations.

    Raises:
        InputError: one case only, or a half without lesion.
    """
    if len(evidence) < 2:
        raise InputError("Cross-fitting needs at least two cases.")
    if not has_halves(evidence):
        raise InputError("Cross-fitting needs a lesion in each half of the cases.")
    first, second = _halves(evidence)
    result: dict[str, Calibration] = {}
    for part, (fitted, reported) in zip(recipe.halves(), ((first, second), (second, first)), strict=True):
        result |= dict.fromkeys((e.case.id for e in reported), part.fit(fitted, bins=evidence))
    return result


def has_halves(evidence: Sequence[Evidence]) -> bool:
    """Whether each half of the cases has a lesion."""
    return all(any(e.reference.any() for e in half) for half in _halves(evidence))


def _halves(evidence: Sequence[Evidence]) -> tuple[list[Evidence], list[Evidence]]:
    """The first and the second half, in order of id."""
    ordered = sorted(evidence, key=lambda e: e.case.id)
    middle = len(ordered) // 2
    return ordered[:middle], ordered[middle:]


def crossed(
    evidence: Sequence[Evidence], recipe: Recipe, fit: Calibration, fits: Mapping[str, Calibration]
) -> dict[str, Any]:
    """Cross-fitted figures of ``fit``, as fields of :class:`braincli.model.info.Provenance`.

    Args:
        fits: what :func:`cross_calibrate` gives.
    """
    ordered = sorted(evidence, key=lambda e: e.case.id)
    scores = {e.case.id: round(case_dsc(e, fits[e.case.id]), 4) for e in ordered}
    facts: dict[str, Any] = {"cross_fit": scores, "dsc_cross_fit": round(float(np.mean(list(scores.values()))), 4)}
    if recipe.aim is LESION_F1:
        facts["lesion_f1_cross_fit"] = round(float(np.mean([case_lesion_f1(e, fits[e.case.id]) for e in ordered])), 4)
    if fit.provenance.bound and len(recipe.healthy) > 1:
        ids = [e.case.id for e in ordered]
        others = [part.healthy for part in recipe.halves()][::-1]  # those that did not bound this half's calibration
        marked = [
            mean_healthy_ml(healthy, fits[case])
            for healthy, case in zip(others, (ids[-1], ids[0]), strict=True)
        ]  # fmt: skip
        facts["bound"] = fit.provenance.bound.model_copy(update={"mean_ml_cross_fit": round(float(np.mean(marked)), 3)})
    return facts


def case_dsc(e: Evidence, fit: Calibration) -> float:
    """DSC on the scan's own grid; 1 where both masks are empty."""
    return float(DSC.figure(e, e.mask(fit), (0.0,))[0])


def case_lesion_f1(e: Evidence, fit: Calibration) -> float:
    """Lesion-wise F1 on the scan's own grid, see :func:`braincli.calibration.aims.lesion_f1`."""
    return float(LESION_F1.figure(e, e.mask(fit), (0.0,))[0])


def false_positives(e: Evidence, anomaly: np.ndarray, mask: np.ndarray) -> Healthy | None:
    """What ``mask`` marks in healthy slices, and how the map lies there; None where every slice is near a lesion.

    Args:
        anomaly, mask: (X, Y, Z) on the RAS grid.
    """
    healthy = e.healthy_slices()
    if not healthy.any():
        return None
    planes = e.slices.shown_planes(healthy)
    brain, ml = e.slices.brain_volume[:, :, planes], e.voxel_mm3 / 1000
    values = anomaly[:, :, planes][brain]
    return Healthy(
        slices=int(healthy.sum()), brain_ml=round(float(brain.sum() * ml), 1),
        mask_ml=round(float(mask[:, :, planes].sum() * ml), 2), map_mean=round(float(values.mean()), 4),
        map_p99=round(float(np.percentile(values, 99)), 4),
    )  # fmt: skip


def _best(
    evidence: Sequence[Evidence], vectors: np.ndarray, bins: Sequence[Evidence], rising: bool
) -> tuple[int, float, float | None]:
    """Row of ``vectors``, threshold, and the level that it rises from."""
    measured = units.rising(evidence, vectors, bins) if rising else units.still(evidence, vectors, bins)
    if not measured.told.any():
        return _best(evidence, vectors, bins, rising=False)
    pairs = zip(evidence, measured.scales, strict=True)
    curves = np.mean([e.dsc(vectors, measured.tops * scale) for e, scale in pairs], axis=0)
    curves[~measured.told] = -1.0
    good = np.flatnonzero(curves.max(axis=1) >= curves.max() - TOLERANCE)
    best = int(good[0])
    if not evidence[0].scored:
        held = [CONTRASTS[index] for index in np.flatnonzero(vectors.any(axis=0))]
        prior = present_only(np.array([[evidence[0].prior[c] for c in CONTRASTS]], dtype=np.float32), held)
        best = int(good[((vectors[good] - prior) ** 2).sum(axis=1).argmin()])
    lowest = float(measured.lowest[best])
    threshold = float(edges(measured.tops[best])[int(curves[best].argmax())]) * lowest
    return best, threshold, lowest**2 if rising else None


def _named(vector: np.ndarray) -> dict[Contrast, float]:
    return {c: round(float(w), 4) for c, w in zip(CONTRASTS, vector, strict=True)}


def _cases(evidence: Sequence[Evidence]) -> dict[str, Any]:
    """Ids and image hashes: what a later test set must not hold."""
    images = hashes(evidence)
    return {"cases": list(images), "images": images}
