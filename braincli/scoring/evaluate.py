"""Scores cases: reads the files of a pair, brings them to one grid, computes every figure."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from braincli.config import ScoreConfig
from braincli.errors import BraincliError, InputError
from braincli.imaging.names import legible
from braincli.imaging.volume import Volume
from braincli.runtime.cohort import Jobs, stream
from braincli.runtime.progress import Reporter
from braincli.scoring import curves, metrics
from braincli.scoring.matching import Matching, Pair
from braincli.scoring.reading import Read, load_mask, missing, read_pair
from braincli.scoring.slices import SliceScore, of_case

NEED_GB = 1.0  # of one process; measured: docs/cohorts.md
EMPTY = {(False, False): "both", (False, True): "reference", (True, False): "prediction"}  # by what is in them
WORST = dict.fromkeys(("dsc", "iou", "precision", "recall", "lesion_recall", "lesion_precision"), 0.0)


@dataclass(frozen=True)
class CaseScore:
    """Figures of one case.

    Attributes:
        values: figure by name (see ``report.METRICS``); None where the data do not define it.
        penalties: what an undefined figure counts as in the mean with penalty.
        empty: which mask is empty: ``both``, ``reference``, ``prediction`` or an empty string.
        domain: voxels of specificity, AUPRC, AUROC and best DSC: ``whole volume`` or ``brain mask``.
        facts: counts and volumes behind the figures.
        error: why the case has no mask that could be scored; then figures of masks are undefined, and those of its map
            there where it has one.
        slices: figures of its axial slices with lesion, where they were asked for.
    """

    case: str
    reference: str
    prediction: str = ""
    anomaly: str = ""
    values: dict[str, float | None] = field(default_factory=dict)
    penalties: dict[str, float] = field(default_factory=dict)
    empty: str = ""
    domain: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: str = ""
    slices: tuple[SliceScore, ...] = ()


@dataclass(frozen=True)
class Voxels:
    """What one case adds to the pooled figures; small enough to come from another process."""

    everywhere: metrics.Confusion
    inside: metrics.Confusion
    maps: tuple[curves.Histogram, curves.Histogram] | None


@dataclass
class Pool:
    """Voxels of all cases together."""

    everywhere: metrics.Confusion = metrics.NOTHING
    inside: metrics.Confusion = metrics.NOTHING
    maps: curves.PooledCurve | None = None

    def add(self, voxels: Voxels) -> None:
        """Add one case."""
        self.everywhere, self.inside = self.everywhere.plus(voxels.everywhere), self.inside.plus(voxels.inside)
        if voxels.maps is not None:
            self.maps = self.maps or curves.PooledCurve()
            self.maps.add_histograms(*voxels.maps)

    def figures(self) -> dict[str, float | None]:
        """Figures over the voxels of all cases; ``best_...`` are chosen on the references."""
        figures = _overlap(self.everywhere, self.inside)
        if self.maps is not None:
            curve = self.maps.curve()
            best, common = curve.best_dice(), self.maps.best_common_dice()
            figures |= {"auprc": curve.auprc(), "auroc": curve.auroc()}
            figures |= {"best_dsc": best[0], "best_dsc_threshold": best[1]} if best else {}
            figures |= {"best_mean_dsc_one_threshold": common[0], "best_common_threshold": common[1]} if common else {}
        return figures


@dataclass(frozen=True)
class Scored:
    """All cases of a run, and their pooled figures."""

    cases: tuple[CaseScore, ...]
    pooled: dict[str, float | None]
    unmatched: tuple[str, ...] = ()


def score_all(matching: Matching, config: ScoreConfig, reporter: Reporter) -> Scored:
    """Score every pair; a case that fails becomes an error row and does not stop the others.

    Raises:
        InputError: ``config.labels`` has a label that no reference holds.
        BraincliError: there is only one pair, and it fails.
    """
    binary = config.labels is not None and _binary_predictions(matching, config)
    work = partial(_score, config=config, binary=binary)
    outcomes = stream(matching.pairs, work, reporter, title="score", jobs=Jobs(config.jobs, NEED_GB))
    cases, pool = [], Pool()
    for pair, outcome in zip(matching.pairs, outcomes, strict=True):  # in order, as sums of floats depend on it
        if outcome.result is None:
            cases.append(_failed(pair, outcome.error, config))
            continue
        case, voxels = outcome.result
        for text in case.warnings:
            reporter.warn(f"{pair.case}: {text}")
        cases.append(case)
        pool.add(voxels)
    return Scored(tuple(cases), pool.figures(), tuple(legible(path.name) for path in matching.unmatched))


def _binary_predictions(matching: Matching, config: ScoreConfig) -> bool:
    """Whether the predictions of a run tell lesion from no lesion and nothing more, while references have labels.

    Every prediction then holds one value at most: 1, or one that no reference uses (255).

    Raises:
        InputError: a label was chosen that no reference holds.
    """
    references = _labels_of([pair.reference for pair in matching.pairs], config)
    predictions = [_labels_of([path], config) for pair in matching.pairs for path in pair.predictions]
    assert config.labels is not None
    absent = [label for label in config.labels if label not in references]
    if absent and references:
        hint = "BraTS calls enhancing tumour 4 until 2021 and 3 since 2023." if {3, 4} & {*absent} else ""
        raise InputError(
            f"--labels: no reference holds label {absent[0]}; the labels that occur are "
            f"{', '.join(map(str, sorted(references)))}.",
            hint or "Choose among those.",
        )
    values = set().union(*predictions)
    return len(values) == 1 and (values == {1} or not values & references)


def _labels_of(paths: Iterable[Path], config: ScoreConfig) -> set[int]:
    """Labels above 0 in ``paths``; files that cannot be read fail later, each with its case."""
    labels: set[int] = set()
    for path in paths:
        with suppress(BraincliError):
            labels |= {int(label) for label in np.unique(load_mask(path, config).data)}
    return labels - {0}


def _score(pair: Pair, config: ScoreConfig, *, binary: bool) -> tuple[CaseScore, Voxels]:
    """Figures of one pair on the reference's grid, and what it adds to those of all.

    Args:
        binary: the prediction means "lesion", whichever labels were chosen of the reference.

    A case that has an anomaly map and no mask (``detect`` refuses to mark more than half of a brain) keeps the figures
    of its map: they would else be better without it.

    Raises:
        InputError: neither prediction nor map, several that fit, an unusable file, or grids that differ.
    """
    read = read_pair(pair, config, binary=binary)
    ref, pred, domain = read.ref, read.pred, read.domain
    everywhere = inside = metrics.NOTHING
    values: dict[str, float | None] = {}
    facts: dict[str, Any] = {"reference_ml": np.count_nonzero(ref) * read.reference.voxel_ml}
    if pred is not None:
        everywhere = metrics.confusion(pred=pred, ref=ref)
        inside = everywhere if domain is None else metrics.confusion(pred=pred, ref=ref, domain=domain)
        values, facts = _mask_figures(read.reference, pred, ref, everywhere, inside, config)
    maps = None
    if read.score is not None:
        maps = curves.histograms(score=read.score, ref=ref, domain=domain)
        of_map, facts["best_dsc_threshold"] = _map_figures(read.score, ref, domain)
        values |= of_map
    case = CaseScore(
        case=pair.case,
        reference=legible(pair.reference.name),
        prediction=read.prediction,
        anomaly=read.anomaly,
        values=values,
        penalties={name: worst for name, worst in _worst(read.reference).items() if values.get(name) is None},
        empty="" if pred is None else EMPTY.get((bool(ref.any()), bool(pred.any())), ""),
        domain="whole volume" if domain is None else "brain mask",
        facts=facts,
        slices=_slices(read, config) if config.slices and pred is not None else (),
        warnings=(*read.warnings, *_outside(ref, domain)),
        error=f"{missing(pair)} Its anomaly map is scored." if pred is None else "",
    )
    return case, Voxels(everywhere, inside, maps)


def _mask_figures(
    reference: Volume,
    pred: np.ndarray,
    ref: np.ndarray,
    everywhere: metrics.Confusion,
    inside: metrics.Confusion,
    config: ScoreConfig,
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Figures of a mask, and the facts behind them."""
    lesions = metrics.lesions(pred=pred, ref=ref, connectivity=config.connectivity)
    ml = reference.voxel_ml
    values = _overlap(everywhere, inside) | {
        "hd95_mm": metrics.hd95(pred=pred, ref=ref, spacing=reference.spacing, definition=config.hd_definition),
        "volume_error_ml": (everywhere.fp - everywhere.fn) * ml,
        "lesion_recall": lesions.recall,
        "lesion_precision": lesions.precision,
    }
    return values, everywhere._asdict() | {
        "reference_ml": (everywhere.tp + everywhere.fn) * ml,
        "prediction_ml": (everywhere.tp + everywhere.fp) * ml,
        "reference_lesions": lesions.reference,
        "predicted_lesions": lesions.predicted,
    }


def _slices(read: Read, config: ScoreConfig) -> tuple[SliceScore, ...]:
    """Figures of the slices of one case."""
    reference = read.reference
    assert read.pred is not None
    return of_case(
        pred=read.pred,
        ref=read.ref,
        affine=reference.affine,
        spacing=reference.spacing,
        definition=config.hd_definition,
    )


def _overlap(c: metrics.Confusion, inside: metrics.Confusion) -> dict[str, float | None]:
    """Figures that follow from voxel counts everywhere and (specificity) inside the domain."""
    return {
        "dsc": metrics.dice(c),
        "iou": metrics.iou(c),
        "precision": metrics.precision(c),
        "recall": metrics.recall(c),
        "specificity": metrics.specificity(inside),
        "volume_error": metrics.volume_error(c),
    }


def _map_figures(
    score: np.ndarray, ref: np.ndarray, domain: np.ndarray | None
) -> tuple[dict[str, float | None], float | None]:
    """AUPRC, AUROC, best-possible DSC, and the threshold of the latter."""
    curve = curves.curve(score=score, ref=ref, domain=domain)
    best = curve.best_dice()
    values = {"auprc": curve.auprc(), "auroc": curve.auroc(), "best_dsc": best[0] if best else None}
    return values, best[1] if best else None


def _worst(reference: Volume) -> dict[str, float]:
    """What each undefined figure counts as in a mean with penalty; HD95: the diagonal of the image in mm."""
    return WORST | {"hd95_mm": float(np.linalg.norm(np.multiply(reference.shape, reference.spacing)))}


def _outside(ref: np.ndarray, domain: np.ndarray | None) -> tuple[str, ...]:
    """A warning if the brain mask cuts off part of the reference."""
    total = np.count_nonzero(ref)
    lost = 0 if domain is None else np.count_nonzero(ref & ~domain)
    if not lost:
        return ()
    return (f"{100 * lost / total:.1f} % of the reference lies outside the brain mask; map figures leave it out",)


def _failed(pair: Pair, error: BraincliError | None, config: ScoreConfig) -> CaseScore:
    """Error row: every figure that has a penalty counts as its worst (or, with ``empty="null"``, as missing)."""
    assert error is not None
    try:
        penalties = _worst(load_mask(pair.reference, config))
    except BraincliError:
        penalties = dict(WORST)
    return CaseScore(
        case=pair.case,
        reference=legible(pair.reference.name),
        prediction=", ".join(legible(path.name) for path in pair.predictions),
        penalties=penalties,
        error=error.message,
    )
