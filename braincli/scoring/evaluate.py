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
from braincli.imaging import volume
from braincli.imaging.checks.geometry import corner_distance
from braincli.imaging.names import legible
from braincli.imaging.reading import volume_of
from braincli.imaging.volume import Volume
from braincli.runtime.cohort import Jobs, stream
from braincli.runtime.progress import Reporter
from braincli.scoring import curves, metrics
from braincli.scoring.matching import Matching, Pair
from braincli.scoring.slices import SliceScore, of_case

NEED_GB = 1.0  # of one process; measured: docs/cohorts.md
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
        error: why the case could not be scored; then every figure is undefined.
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
            labels |= {int(label) for label in np.unique(_load_mask(path, config).data)}
    return labels - {0}


def _score(pair: Pair, config: ScoreConfig, *, binary: bool) -> tuple[CaseScore, Voxels]:
    """Figures of one pair on the reference's grid, and what it adds to those of all.

    Args:
        binary: the prediction means "lesion", whichever labels were chosen of the reference.

    Raises:
        InputError: no prediction, several that fit, an unusable file, or grids that differ.
    """
    read = _read(pair, config, binary=binary)
    ref, pred, domain = read.ref, read.pred, read.domain
    everywhere = metrics.confusion(pred=pred, ref=ref)
    inside = everywhere if domain is None else metrics.confusion(pred=pred, ref=ref, domain=domain)
    lesions = metrics.lesions(pred=pred, ref=ref, connectivity=config.connectivity)
    ml, spacing = read.reference.voxel_ml, read.reference.spacing
    values = _overlap(everywhere, inside) | {
        "hd95_mm": metrics.hd95(pred=pred, ref=ref, spacing=spacing, definition=config.hd_definition),
        "volume_error_ml": (everywhere.fp - everywhere.fn) * ml,
        "lesion_recall": lesions.recall,
        "lesion_precision": lesions.precision,
    }
    facts: dict[str, Any] = everywhere._asdict() | {
        "reference_ml": (everywhere.tp + everywhere.fn) * ml,
        "prediction_ml": (everywhere.tp + everywhere.fp) * ml,
        "reference_lesions": lesions.reference,
        "predicted_lesions": lesions.predicted,
    }
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
        empty={(0, 0): "both", (0, 1): "reference", (1, 0): "prediction"}.get((int(ref.any()), int(pred.any())), ""),
        domain="whole volume" if domain is None else "brain mask",
        facts=facts,
        slices=_slices(read, config) if config.slices else (),
        warnings=(*read.warnings, *_outside(ref, domain)),
    )
    return case, Voxels(everywhere, inside, maps)


def _slices(read: _Read, config: ScoreConfig) -> tuple[SliceScore, ...]:
    """Figures of the slices of one case."""
    reference = read.reference
    return of_case(
        pred=read.pred,
        ref=read.ref,
        affine=reference.affine,
        spacing=reference.spacing,
        definition=config.hd_definition,
    )


@dataclass(frozen=True)
class _Read:
    """The files of a pair as arrays (X, Y, Z) on the reference's grid: bool masks, float32 scores."""

    reference: Volume
    ref: np.ndarray
    pred: np.ndarray
    domain: np.ndarray | None
    score: np.ndarray | None
    prediction: str
    anomaly: str
    warnings: tuple[str, ...]


def _read(pair: Pair, config: ScoreConfig, *, binary: bool) -> _Read:
    """Read what :func:`_score` needs."""
    reference = _load_mask(pair.reference, config)
    if not pair.predictions:
        raise InputError(f"No prediction for {legible(pair.reference.name)}.", f"Its name must begin with {pair.case}.")
    path = _choose(pair.predictions, reference, "prediction")
    mask, warnings = _on_grid(_load_mask(path, config), reference, config)
    domain = score = None
    anomaly = ""
    if pair.brains:
        brain_path = _choose(pair.brains, reference, "brain mask")
        brain, more = _on_grid(_load_mask(brain_path, config), reference, config)
        domain, warnings = brain.data > 0, warnings + more
    if pair.anomalies:
        source = _choose(pair.anomalies, reference, "anomaly map")
        anomaly_map, more = _on_grid(_load_map(source, config), reference, config, labels=False)
        score, anomaly, warnings = anomaly_map.data, legible(source.name), warnings + more
    pred = mask.data > 0 if binary else _lesion(mask, config)
    return _Read(reference, _lesion(reference, config), pred, domain, score, legible(path.name), anomaly, warnings)


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


def _lesion(labels: Volume, config: ScoreConfig) -> np.ndarray:
    """Bool mask of the labels that count as lesion."""
    return labels.data > 0 if config.labels is None else np.isin(labels.data, config.labels)


def _on_grid(
    moving: Volume, reference: Volume, config: ScoreConfig, *, labels: bool = True
) -> tuple[Volume, tuple[str, ...]]:
    """``moving`` voxel by voxel on ``reference``, with a warning if more than turning axes was needed.

    Raises:
        InputError: the grids differ and resampling was not asked for.
    """
    try:
        return volume.onto_grid_of(moving, reference), ()
    except InputError:
        pass
    try:
        placed, problem = volume.mask_on_grid_of(moving, reference)
    except InputError as error:
        if not config.resample_labels:
            hint = "Score on the reference's grid, or add --resample-labels (nearest neighbour)."
            raise InputError(error.message, hint) from None
        resampled = volume.resample(moving, reference, labels=labels)
        return resampled, (f"{error.message} Resampled, as asked.",)
    return placed, (problem.message,) if problem else ()


def _load_mask(path: Path, config: ScoreConfig) -> Volume:
    """Labels of a file.

    Raises:
        InputError: unusable, or no label image: fractions, NaN or values below 0.
    """
    loaded = _load(path, config, labels=True)
    name, codes = legible(path.name), {problem.code for problem in loaded.problems}
    if "fractional-labels" in codes:
        hint = "Score a mask; an anomaly map goes to --anomaly-map."
        raise InputError(f"{name} is no mask: it has fractions.", hint)
    if "non-finite" in codes:
        raise InputError(f"{name} is no mask: it has NaN or infinite values.", "Write 0 for background.")
    return loaded


def _load_map(path: Path, config: ScoreConfig) -> Volume:
    """Scores of a file; unlike a scan, an anomaly map may be constant (nothing found)."""
    try:
        return _load(path, config, labels=False)
    except InputError:
        flat = _load(path, config, labels=True)  # says again whatever else is wrong
        if flat.data.min() != flat.data.max():
            raise
        return flat


def _load(path: Path, config: ScoreConfig, *, labels: bool) -> Volume:
    return volume.load(path, volume=volume_of(path, config.volume), prefer=config.prefer, labels=labels)


def _choose(paths: tuple[Path, ...], reference: Volume, what: str) -> Path:
    """The only file, or the only one whose header has the grid of ``reference``.

    Raises:
        InputError: none or several have it.
    """
    if len(paths) == 1:
        return paths[0]
    fitting = [path for path in paths if _header_fits(path, reference)]
    if len(fitting) != 1:
        names = ", ".join(legible(path.name) for path in paths)
        many = "several lie" if fitting else "none lies"
        raise InputError(f"Which {what} to score? Of {names}, {many} on the reference's grid.", "Name the file itself.")
    return fitting[0]


def _header_fits(path: Path, reference: Volume) -> bool:
    """Whether a file's header promises the grid of ``reference``."""
    import nibabel

    try:
        image: Any = nibabel.load(path)
    except Exception:  # an unreadable file does not fit; if it is chosen all the same, the gatekeeper says why
        return False
    if tuple(image.shape[:3]) != reference.shape:
        return False
    return corner_distance(image.affine, reference.affine, reference.shape) <= 0.05 * min(reference.spacing)


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
        penalties = _worst(_load_mask(pair.reference, config))
    except BraincliError:
        penalties = dict(WORST)
    return CaseScore(
        case=pair.case,
        reference=legible(pair.reference.name),
        prediction=", ".join(legible(path.name) for path in pair.predictions),
        penalties=penalties,
        error=error.message,
    )
