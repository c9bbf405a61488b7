"""Which contrasts of a scan a model looks at, with which weights and threshold: those that it was calibrated for."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from braincli.config import DetectConfig
from braincli.detection.maps import renormalise
from braincli.errors import InputError, ModelError
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.model.info import WORTHLESS, Calibration, ModelInfo, subset


@dataclass(frozen=True)
class Choice:
    """What turns the residuals of a scan into a mask.

    Attributes:
        contrasts: those given to the network, in order; no others.
        weights: of these, summing to 1; none where the map is a score or suspicion alone. They mean nothing where the
            method gives a score.
        threshold: of the anomaly map. rises_from: see :func:`braincli.detection.maps.rise`; None where the user named
            the threshold.
        min_lesion_mm3: the smallest lesion.
        warnings: what the user should know, in words.
    """

    contrasts: tuple[Contrast, ...]
    weights: dict[Contrast, float]
    threshold: float
    rises_from: float | None
    min_lesion_mm3: float
    warnings: list[str]


def choose(info: ModelInfo, contrasts: Collection[Contrast], config: DetectConfig) -> Choice:
    """The calibrated set of contrasts that keeps most weight (:meth:`ModelInfo.best_for`), and what it was fitted to.

    A scan without such a set is judged by all that it has if the user names a threshold or says ``uncalibrated``: with
    the values fitted to just these contrasts, however bad, or else the weights of all contrasts, renormalised.
    ``config.threshold`` and ``config.min_lesion_mm3`` replace the model's.

    Raises:
        InputError: the model was not calibrated for what the scan has.
        ModelError: the model was not calibrated at all, and the user gives no threshold.
    """
    used = info.best_for(contrasts)
    if used is not None:
        calibration = info.calibration_for(used)
        warnings = _about_parts(info, contrasts, used)
    else:
        _refuse(info, contrasts, config)
        used = tuple(c for c in CONTRASTS if c in contrasts)
        calibration = info.calibration_for(used) or info.calibration
        warnings = [_uncalibrated(info, used)]
    if calibration is None and config.threshold is None:
        raise ModelError(
            f"The model {info.name} is not calibrated: it has no threshold.",
            "Run braincli calibrate on cases with masks, or give --threshold.",
        )
    weights = calibration.weights if calibration else info.fusion
    weights = renormalise(weights, used) if weights else {}
    threshold, smallest = _limits(calibration, config)
    rises_from = calibration.rises_from if calibration and config.threshold is None else None
    return Choice(used, weights, threshold, rises_from, smallest, warnings)


def _limits(calibration: Calibration | None, config: DetectConfig) -> tuple[float, float]:
    threshold, smallest = (calibration.threshold, calibration.min_lesion_mm3) if calibration else (0.0, 0.0)
    return (
        threshold if config.threshold is None else config.threshold,
        smallest if config.min_lesion_mm3 is None else config.min_lesion_mm3,
    )


def _about_parts(info: ModelInfo, contrasts: Collection[Contrast], used: tuple[Contrast, ...]) -> list[str]:
    warnings = []
    if missing := _names(c for c in info.contrasts if c not in contrasts):
        warnings.append(f"missing: {missing}; weights and threshold are those calibrated for {subset(used)}")
    if unused := _names(c for c in CONTRASTS if c in contrasts and c not in used):
        warnings.append(f"not looked at: {unused}; {info.name} is calibrated for {subset(used)}, not with it")
    return warnings


def _uncalibrated(info: ModelInfo, used: tuple[Contrast, ...]) -> str:
    if info.calibration is None and not info.subsets:
        return f"{info.name} is not calibrated; the contrasts have the weights of its map options"
    if (own := info.calibration_for(used)) is not None:
        return f"{info.name} is calibrated for {subset(used)} with a DSC of {own.dsc or 0:.2f} only"
    text = f"{info.name} is not calibrated for {subset(used)}; the threshold is not theirs"
    return text + (", their weights were renormalised" if info.calibration and info.calibration.weights else "")


def _refuse(info: ModelInfo, contrasts: Collection[Contrast], config: DetectConfig) -> None:
    """Raise where a calibrated model meets contrasts that it is not calibrated for, and the user did not ask for it."""
    if config.uncalibrated or config.threshold is not None or not (info.calibration or info.subsets):
        return
    readable = ", ".join(subset(those) for those in info.calibrated()) or "nothing yet"
    own = info.calibration_for(contrasts)
    bad = f" (what was fitted reached a DSC of {own.dsc or 0:.2f}, below {WORTHLESS:g})" if own else ""
    raise InputError(
        f"The model {info.name} is not calibrated for scans with {_names(contrasts)} alone{bad}.",
        f"It reads: {readable}. Add the contrasts that are missing, choose another model (braincli models), or go on "
        "with --uncalibrated.",
    )


def _names(contrasts: Iterable[Contrast]) -> str:
    return ", ".join(contrast.upper() for contrast in contrasts)
