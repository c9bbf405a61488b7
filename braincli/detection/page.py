"""The page of a case: what was found, what it was found with, and how far that can be trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from braincli.detection.find import Findings
from braincli.detection.lesions import Lesion
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.model.info import ModelInfo
from braincli.preprocessing import quality
from braincli.preprocessing.result import Preprocessed
from braincli.reporting import citations
from braincli.reporting.figures import NAMES
from braincli.reporting.pages import CasePage, LesionRow, QualityRow
from braincli.runtime.provenance import RunRecord
from braincli.wording import counted

TABLE_NOTE = (
    "Numbers are those of the lesions image. Side, height and depth go by the brain mask: height is 0 at the lowest "
    "slice of the brain and 1 at the highest, depth is the mean distance from its surface. Lengths are the longest "
    "within an axial slice and in space. z: standard deviations above the mean of the brain outside the mask."
)


def case_page(
    findings: Findings,
    picture: str,
    viewer: Mapping[str, Any] | None,
    record: RunRecord,
    info: ModelInfo,
    ready: Preprocessed | None = None,
    quality_picture: str = "",
) -> str:
    """The page as HTML.

    Args:
        picture: the drawn case, and ``quality_picture`` that of preprocessing: see
            :func:`braincli.reporting.pages.inline`.
        viewer: see :func:`braincli.reporting.viewer.content`.
        ready: what preprocessing left, of a raw case.
    """
    parts = [
        *citations.parts_of_model(info.method, info.training.cases), *(citations.STEPS.values() if ready else ()),
    ]  # fmt: skip
    return CasePage(
        case=record.case,
        subtitle=f"model {info.name} (method {info.method}, preset {info.preset})",
        summary=list(_summary(findings, record)),
        picture=picture,
        warnings=record.warnings,
        columns=_columns(list(findings.images)),
        lesions=[_row(lesion, list(findings.images)) for lesion in findings.lesions],
        table_note=TABLE_NOTE,
        quality=_quality(ready),
        quality_picture=quality_picture,
        limits=list(_limits(findings, record, info)),
        record=json.dumps(record.as_dict(), indent=1, ensure_ascii=False, default=str),
        citations=citations.about(*parts),
        viewer=viewer,
    ).html()


def _summary(findings: Findings, record: RunRecord) -> Iterator[tuple[str, str]]:
    lesions = findings.lesions
    yield "mask", f"{findings.volume_ml:.1f} ml"
    yield "lesions", f"{len(lesions)}" + (f", the largest {lesions[0].volume_ml:.1f} ml" if lesions else "")
    yield "share of the brain", f"{findings.share:.1%}"
    for name in ("contrasts", "missing", "not looked at"):
        if named := record.facts.get(name):
            yield name, ", ".join(NAMES[Contrast(contrast)] for contrast in named)
    yield "threshold", f"{findings.threshold:.3g}"
    yield "map", str(record.facts.get("map", ""))
    yield "time", f"{sum(record.seconds.values()):.0f} s on {findings.device}"


def _columns(contrasts: Sequence[Contrast]) -> list[str]:
    of_contrasts = [f"{NAMES[contrast]} z" for contrast in CONTRASTS if contrast in contrasts]
    return [
        "volume (ml)", "side", "height", "depth (mm)", "axial (mm)", "longest (mm)", "x, y, z (mm)", "mean score",
        *of_contrasts,
    ]  # fmt: skip


def _row(lesion: Lesion, contrasts: Sequence[Contrast]) -> LesionRow:
    z = [lesion.z.get(str(contrast)) for contrast in CONTRASTS if contrast in contrasts]
    cells = [
        f"{lesion.volume_ml:.2f}", lesion.side or "n/a", _number(lesion.height, ".2f"), _number(lesion.depth_mm, ".0f"),
        _number(lesion.axial_mm, ".0f"), _number(lesion.longest_mm, ".0f"),
        ", ".join(f"{mm:.0f}" for mm in lesion.centroid_mm), _number(lesion.mean_score, ".3f"),
        *(_number(value, "+.1f") for value in z),
    ]  # fmt: skip
    return LesionRow(lesion.lesion, lesion.centroid_mm, cells)


def _number(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def _quality(ready: Preprocessed | None) -> list[QualityRow]:
    """Figures of quality beside their limits."""
    rows = []
    for name, what, value, (low, high) in quality.each(ready.qc if ready else {}):
        limits = f"at least {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"
        words = f"{name.replace('_', ' ')} of {what}" if what else name.replace("_", " ")
        rows.append(QualityRow(words, f"{value:g}", limits, low <= value <= high))
    return rows


def _limits(findings: Findings, record: RunRecord, info: ModelInfo) -> Iterator[str]:
    """What the calibration rests on, and what it cannot report."""
    if smallest := record.facts.get("smallest_lesion"):
        yield smallest
    if record.config.get("threshold") is not None:
        yield f"The threshold {findings.threshold:.3g} was set by hand."
    if findings.weights:
        shares = ", ".join(f"{NAMES[c]} {weight:.2f}" for c, weight in findings.weights.items())
        yield f"Weights of the contrasts: {shares}."
    found = info.calibration_for(tuple(findings.images))
    if found is None:
        yield "The model was not calibrated for these contrasts."
        return
    fitted = found.provenance
    cases = counted(len(fitted.cases), "case")
    yield f"Threshold, weights and smallest lesion were fitted on {cases} ({fitted.objective})."
    if fitted.dsc_cross_fit is not None:
        yield f"Fitted on one half of them and measured on the other, the mean DSC was {fitted.dsc_cross_fit:.2f}."
    elif fitted.dsc_fitted is not None:
        yield f"On those very cases the mean DSC was {fitted.dsc_fitted:.2f}, which is optimistic."
