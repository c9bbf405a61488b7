"""The files of a pair, read and brought to the reference's grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braincli.config import ScoreConfig
from braincli.errors import InputError
from braincli.imaging import volume
from braincli.imaging.checks.geometry import corner_distance
from braincli.imaging.names import legible
from braincli.imaging.reading import volume_of
from braincli.imaging.volume import Volume
from braincli.scoring.matching import Pair


@dataclass(frozen=True)
class Read:
    """The files of a pair as arrays (X, Y, Z) on the reference's grid: bool masks, float32 scores; None: not there."""

    reference: Volume
    ref: np.ndarray
    pred: np.ndarray | None
    domain: np.ndarray | None
    score: np.ndarray | None
    prediction: str
    anomaly: str
    warnings: tuple[str, ...]


def read_pair(pair: Pair, config: ScoreConfig, *, binary: bool) -> Read:
    """Read the files of ``pair``; where there is an anomaly map and no mask, the map alone.

    Raises:
        InputError: neither of them, several that fit, an unusable file, or grids that differ.
    """
    reference = load_mask(pair.reference, config)
    if not (pair.predictions or pair.anomalies):
        raise InputError(missing(pair), f"Its name must begin with {pair.case}.")
    warnings: tuple[str, ...] = ()
    pred, prediction = None, ""
    if pair.predictions:
        path = _choose(pair.predictions, reference, "prediction")
        mask, warnings = _on_grid(load_mask(path, config), reference, config)
        pred, prediction = mask.data > 0 if binary else _lesion(mask, config), legible(path.name)
    domain = score = None
    anomaly = ""
    if pair.brains:
        brain_path = _choose(pair.brains, reference, "brain mask")
        brain, more = _on_grid(load_mask(brain_path, config), reference, config)
        domain, warnings = brain.data > 0, warnings + more
    if pair.anomalies:
        source = _choose(pair.anomalies, reference, "anomaly map")
        anomaly_map, more = _on_grid(_load_map(source, config), reference, config, labels=False)
        score, anomaly, warnings = anomaly_map.data, legible(source.name), warnings + more
    return Read(reference, _lesion(reference, config), pred, domain, score, prediction, anomaly, warnings)


def missing(pair: Pair) -> str:
    """That there is no predicted mask."""
    return f"No prediction for {legible(pair.reference.name)}."


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


def load_mask(path: Path, config: ScoreConfig) -> Volume:
    """Labels of a file.

    Raises:
        InputError: unusable, or no label image: fractions, NaN or values below 0.
    """
    loaded = _load(path, config, labels=True)
    name, codes = legible(path.name), {problem.code for problem in loaded.problems}
    if "fractional-labels" in codes:
        hint = "Score a mask; an anomaly map goes to --anomaly-map."
        raise InputError(f"{name} is no mask: it has fractions.", hint)
    if "scan-as-labels" in codes:
        raise InputError(
            f"{name} is no mask: its values change from voxel to voxel, as those of a scan.", "Score a mask."
        )
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
