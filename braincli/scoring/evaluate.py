"""Scores cases: reads the files of a pair, brings them to one grid, computes every figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from braincli.config import ScoreConfig
from braincli.errors import BraincliError, InputError
from braincli.imaging import volume
from braincli.imaging.volume import Volume
from braincli.runtime.progress import Reporter
from braincli.scoring import curves, metrics
from braincli.scoring.matching import Matching, Pair

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

    def add(self, read: _Read, everywhere: metrics.Confusion, inside: metrics.Confusion) -> None:
        """Add one case."""
        self.everywhere, self.inside = self.everywhere.plus(everywhere), self.inside.plus(inside)
        if read.score is not None:
            self.maps = self.maps or curves.PooledCurve()
            self.maps.add(score=read.score, ref=read.ref, domain=read.domain)

    def figures(self) -> dict[str, float | None]:
        """Figures over the voxels of all cases; ``best_...`` are chosen on the references."""
        found = _overlap(self.everywhere, self.inside)
        if self.maps is not None:
            curve = self.maps.curve()
            best, common = curve.best_dice(), self.maps.best_common_dice()
            found |= {"auprc": curve.auprc(), "auroc": curve.auroc()}
            found |= {"best_dsc": best[0], "best_dsc_threshold": best[1]} if best else {}
            found |= {"best_mean_dsc_one_threshold": common[0], "best_common_threshold": common[1]} if common else {}
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
    read = _read(pair, config)
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
    if read.score is not None:
        found, facts["best_dsc_threshold"] = _map_figures(read.score, ref, domain)
        values |= found
    if pool is not None:  # last, so that a case that fails adds nothing
        pool.add(read, everywhere, inside)
    return CaseScore(
        case=pair.case,
        reference=pair.reference.name,
        prediction=read.prediction,
        anomaly=read.anomaly,
        values=values,
        penalties={name: worst for name, worst in _worst(read.reference).items() if values.get(name) is None},
        empty={(0, 0): "both", (0, 1): "reference", (1, 0): "prediction"}.get((int(ref.any()), int(pred.any())), ""),
        domain="whole volume" if domain is None else "brain mask",
        facts=facts,
        warnings=(*read.warnings, *_outside(ref, domain)),
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


def _read(pair: Pair, config: ScoreConfig) -> _Read:
    """Read what :func:`score_case` needs."""
    reference = _load_mask(pair.reference)
    if not pair.predictions:
        raise InputError(f"No prediction for {pair.reference.name}.", f"Its name must begin with {pair.case}.")
    path = _choose(pair.predictions, reference, "prediction")
    mask, warnings = _on_grid(_load_mask(path), reference, config)
    domain = score = None
    anomaly = ""
    if pair.brains:
        brain, more = _on_grid(_load_mask(_choose(pair.brains, reference, "brain mask")), reference, config)
        domain, warnings = brain.data > 0, warnings + more
    if pair.anomalies:
        source = _choose(pair.anomalies, reference, "anomaly map")
        found, more = _on_grid(_load_map(source), reference, config, labels=False)
        score, anomaly, warnings = found.data, source.name, warnings + more
    ref, pred = _lesion(reference, config), _lesion(mask, config)
    return _Read(reference, ref, pred, domain, score, path.name, anomaly, warnings)


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
        found, problem = volume.mask_on_grid_of(moving, reference)
    except InputError as error:
        if not config.resample_labels:
            hint = "Score on the reference's grid, or add --resample-labels (nearest neighbour)."
            raise InputError(error.message, hint) from None
        found = volume.resample(moving, reference, labels=labels)
        return found, (f"{error.message} Resampled, as asked.",)
    return found, (problem.message,) if problem else ()


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


def _choose(paths: tuple[Path, ...], reference: Volume, what: str) -> Path:
    """The only file, or the only one whose header has the grid of ``reference``.

    Raises:
        InputError: none or several have it.
    """
    if len(paths) == 1:
        return paths[0]
    fitting = [path for path in paths if _header_fits(path, reference)]
    if len(fitting) != 1:
        names = ", ".join(path.name for path in paths)
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
    return tuple(image.shape[:3]) == reference.shape and np.allclose(image.affine, reference.affine, atol=1e-2)


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
