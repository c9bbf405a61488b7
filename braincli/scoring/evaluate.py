"""Scores cases: reads the files of a pair, brings them to one grid, computes every figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from braincli import volume
from braincli.config import ScoreConfig
from braincli.errors import BraincliError, InputError
from braincli.progress import Reporter
from braincli.scoring import curves, metrics
from braincli.scoring.matching import Matching, Pair
from braincli.volume import Volume

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


@dataclass
class Pool:
    """Voxels of all cases together."""

    everywhere: metrics.Confusion = metrics.NOTHING
    inside: metrics.Confusion = metrics.NOTHING
    maps: curves.PooledCurve | None = None

    def figures(self) -> dict[str, float | None]:
        """Figures over the voxels of all cases; ``best_...`` are chosen on the references."""
        found = _overlap(self.everywhere, self.inside)
        if self.maps is not None:
            curve = self.maps.curve()
            best, common = curve.best_dice(), self.maps.best_common_dice()
            found |= {"auprc": curve.auprc(), "auroc": curve.auroc()}
            found |= {"best_dsc": best[0], "best_dsc_threshold": best[1]} if best else {}
            found |= (
                {"best_mean_dsc_one_threshold": common[0], "best_common_threshold": common[1]}
                if common
                else {}
            )
        return found


@dataclass(frozen=True)
class Scored:
    """All cases of a run, and their pooled figures."""

    cases: tuple[CaseScore, ...]
    pooled: dict[str, float | None]
    unmatched: tuple[str, ...] = ()


def score_all(matching: Matching, config: ScoreConfig, reporter: Reporter) -> Scored:
    """Score every pair; a case that fails becomes an error row and does not stop the others.

    Raises:
        BraincliError: there is only one pair, and it fails.
    """
    pool, cases = Pool(), []
    alone = len(matching.pairs) == 1
    with reporter.step("score", total=len(matching.pairs)) as step:
        for pair in matching.pairs:
            try:
                cases.append(score_case(pair, config, pool))
            except BraincliError as error:
                if alone:
                    raise
                reporter.warn(f"{pair.case}: {error}")
                cases.append(_failed(pair, error))
            for text in cases[-1].warnings:
                reporter.warn(f"{pair.case}: {text}")
            step.advance(note=pair.case)
    return Scored(tuple(cases), pool.figures(), tuple(path.name for path in matching.unmatched))


def score_case(pair: Pair, config: ScoreConfig, pool: Pool | None = None) -> CaseScore:
    """Figures of one pair on the reference's grid, added to ``pool`` where one is given.

    Raises:
        InputError: no prediction, several that fit, an unusable file, or grids that differ.
    """
    reference = _load_mask(pair.reference)
    if not pair.predictions:
        raise InputError(
            f"No prediction for {pair.reference.name}.", f"Its name must begin with {pair.case}."
        )
    prediction_path = _choose(pair.predictions, reference, "prediction", config)
    prediction = _load_mask(prediction_path)
    ref, pred = _lesion(reference, config), _lesion(_on_grid(prediction, reference, config), config)
    domain = None
    if pair.brains:
        brain = _load_mask(_choose(pair.brains, reference, "brain mask", config))
        domain = _on_grid(brain, reference, config).data > 0
    everywhere = metrics.confusion(pred=pred, ref=ref)
    inside = everywhere if domain is None else metrics.confusion(pred=pred, ref=ref, domain=domain)
    lesions = metrics.lesions(pred=pred, ref=ref, connectivity=config.connectivity)
    values = _overlap(everywhere, inside) | {
        "hd95_mm": metrics.hd95(
            pred=pred, ref=ref, spacing=reference.spacing, definition=config.hd_definition
        ),
        "volume_error_ml": (everywhere.fp - everywhere.fn) * reference.voxel_ml,
        "lesion_recall": lesions.recall,
        "lesion_precision": lesions.precision,
    }
    facts: dict[str, Any] = everywhere._asdict() | {
        "reference_ml": float(np.count_nonzero(ref)) * reference.voxel_ml,
        "prediction_ml": float(np.count_nonzero(pred)) * reference.voxel_ml,
        "reference_lesions": lesions.reference,
        "predicted_lesions": lesions.predicted,
    }
    anomaly_path = _choose(pair.anomalies, reference, "anomaly map", config) if pair.anomalies else None
    if anomaly_path is not None:
        anomaly = _on_grid(_load_map(anomaly_path), reference, config, labels=False)
        found, threshold = _map_figures(anomaly.data, ref, domain)
        values |= found
        facts |= {"best_dsc_threshold": threshold}
    if pool is not None:  # last, so that a case that fails adds nothing
        pool.everywhere, pool.inside = pool.everywhere.plus(everywhere), pool.inside.plus(inside)
        if anomaly_path is not None:
            pool.maps = pool.maps or curves.PooledCurve()
            pool.maps.add(score=anomaly.data, ref=ref, domain=domain)
    return CaseScore(
        case=pair.case,
        reference=pair.reference.name,
        prediction=prediction_path.name,
        anomaly=anomaly_path.name if anomaly_path else "",
        values=values,
        penalties={name: worst for name, worst in _worst(reference).items() if values.get(name) is None},
        empty={(0, 0): "both", (0, 1): "reference", (1, 0): "prediction"}.get(
            (int(ref.any()), int(pred.any())), ""
        ),
        domain="whole volume" if domain is None else "brain mask",
        facts=facts,
        warnings=(*_moved(prediction, reference), *_outside(ref, domain)),
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


def _lesion(labels: Volume, config: ScoreConfig) -> np.ndarray:
    """Bool mask of the labels that count as lesion."""
    return labels.data > 0 if config.labels is None else np.isin(labels.data, config.labels)


def _on_grid(moving: Volume, reference: Volume, config: ScoreConfig, *, labels: bool = True) -> Volume:
    """``moving`` voxel by voxel on ``reference``: as it is, with axes turned, or as the options allow.

    Raises:
        InputError: the grids differ and no option says what to do.
    """
    problem = volume.same_grid(moving, reference)
    if problem is None:
        return moving
    if config.ignore_origin and _same_but_origin(moving.shape, moving.affine, reference):
        return reference.with_data(moving.data)
    try:
        return volume.onto_grid_of(moving, reference)
    except InputError:
        if config.resample_labels:
            return volume.resample(moving, reference, labels=labels)
    hint = "Score on the reference's grid, or add --resample-labels (nearest neighbour)."
    if _same_but_origin(moving.shape, moving.affine, reference):
        hint = (
            "If only a header is wrong (as in masks of BraTS 2017), --ignore-origin compares voxel by voxel."
        )
    raise InputError(problem.message, hint)


def _same_but_origin(shape: tuple[int, ...], affine: np.ndarray, reference: Volume) -> bool:
    """Whether size, spacing and axes are those of ``reference``, wherever the origin is."""
    near = np.allclose(affine[:3, :3], reference.affine[:3, :3], atol=1e-3)
    return shape == reference.shape and bool(near)


def _load_mask(path: Path) -> Volume:
    """Labels of a file.

    Raises:
        InputError: unusable, or no label image.
    """
    loaded = volume.load(path, labels=True)
    if any(problem.code == "fractional-labels" for problem in loaded.problems):
        raise InputError(
            f"{path.name} is no mask: it has fractions.",
            "Score a mask; an anomaly map goes to --anomaly-map.",
        )
    return loaded


def _load_map(path: Path) -> Volume:
    """Scores of a file; unlike a scan, an anomaly map may be constant (nothing found)."""
    try:
        return volume.load(path)
    except InputError:
        flat = volume.load(path, labels=True)  # says again whatever else is wrong
        if flat.data.min() != flat.data.max():
            raise
        return flat


def _choose(paths: tuple[Path, ...], reference: Volume, what: str, config: ScoreConfig) -> Path:
    """The only file, or the only one whose header has the grid of ``reference``.

    Raises:
        InputError: none or several have it.
    """
    if len(paths) == 1:
        return paths[0]
    fitting = [path for path in paths if _header_fits(path, reference, config)]
    if len(fitting) != 1:
        names = ", ".join(path.name for path in paths)
        many = "several lie" if fitting else "none lies"
        raise InputError(
            f"Which {what} to score? Of {names}, {many} on the reference's grid.", "Name the file itself."
        )
    return fitting[0]


def _header_fits(path: Path, reference: Volume, config: ScoreConfig) -> bool:
    """Whether a file's header promises the grid of ``reference``."""
    import nibabel

    try:
        image: Any = nibabel.load(path)
    except (
        Exception
    ):  # an unreadable file does not fit; if it is chosen all the same, the gatekeeper says why
        return False
    near = config.ignore_origin or np.allclose(image.affine, reference.affine, atol=1e-2)
    return bool(near) and _same_but_origin(tuple(image.shape[:3]), image.affine, reference)


def _worst(reference: Volume) -> dict[str, float]:
    """What each undefined figure counts as in a mean with penalty; HD95: the diagonal of the image in mm."""
    return WORST | {"hd95_mm": float(np.linalg.norm(np.multiply(reference.shape, reference.spacing)))}


def _moved(prediction: Volume, reference: Volume) -> tuple[str, ...]:
    """A warning if the prediction was brought to the reference's grid by more than turning axes."""
    if volume.same_grid(prediction, reference) is None:
        return ()
    try:
        volume.onto_grid_of(prediction, reference)
        return ()
    except InputError as error:
        return (f"{error.message} Scored all the same, as asked.",)


def _outside(ref: np.ndarray, domain: np.ndarray | None) -> tuple[str, ...]:
    """A warning if the brain mask cuts off part of the reference."""
    total = np.count_nonzero(ref)
    lost = 0 if domain is None else np.count_nonzero(ref & ~domain)
    if not lost:
        return ()
    return (
        f"{100 * lost / total:.1f} % of the reference lies outside the brain mask; map figures leave it out",
    )


def _failed(pair: Pair, error: BraincliError) -> CaseScore:
    """Error row: counts with the worst figures in the mean with penalty."""
    try:
        penalties = _worst(_load_mask(pair.reference))
    except BraincliError:
        penalties = dict(WORST)
    return CaseScore(
        case=pair.case,
        reference=pair.reference.name,
        prediction=", ".join(path.name for path in pair.predictions),
        penalties=penalties,
        error=error.message,
    )
