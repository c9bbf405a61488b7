"""Figures per axial slice, as papers of slice-wise methods give them (Wolleb et al. 2022, Table 1; Wang et al. 2023).

Slices whose reference shows a lesion count. Where the prediction shows none ("empty"), DSC and IoU are 0 and there is
no HD95; every mean is also given without such slices, which those papers put into brackets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np

from braincli.scoring import metrics
from braincli.wording import counted

FIGURES = {"dsc": "DSC", "iou": "IoU", "precision": "precision", "recall": "recall", "hd95_mm": "HD95/mm"}


@dataclass(frozen=True)
class SliceScore:
    """Figures of one slice with lesion; ``index`` counts from 0 along the stored array's axial axis."""

    index: int
    dsc: float
    iou: float
    precision: float | None
    recall: float | None
    hd95_mm: float | None
    empty: bool


def of_case(
    *, pred: np.ndarray, ref: np.ndarray, affine: np.ndarray, spacing: Sequence[float], definition: str
) -> tuple[SliceScore, ...]:
    """Scores of the slices of ``ref`` (X, Y, Z) bool that show a lesion, lowest index first.

    Args:
        pred: the same shape.
        affine: (4, 4) voxel -> RAS mm, which tells the axial axis.
        definition: of HD95, see :func:`braincli.scoring.metrics.hd95`; in the plane.
    """
    axis = next(i for i, code in enumerate(nib.aff2axcodes(affine)) if code in ("S", "I"))
    flat = [float(mm) for i, mm in enumerate(spacing) if i != axis]
    pred, ref = (np.moveaxis(mask, axis, 0) for mask in (pred, ref))
    shown = np.flatnonzero(ref.any(axis=(1, 2)))
    return tuple(_score(int(i), pred[i], ref[i], flat, definition) for i in shown)


def summary(slices: Sequence[SliceScore]) -> dict[str, Any]:
    """How many slices and empty predictions, and each figure's mean over all and over those with a prediction."""
    found = [one for one in slices if not one.empty]
    means: dict[str, Any] = {
        name: {"mean": _mean(slices, name), "mean_non_empty": _mean(found, name)} for name in FIGURES
    }
    return {"slices": len(slices), "empty": len(slices) - len(found)} | means


def line(summed: dict[str, Any]) -> str:
    """A summary in a line; figures in brackets leave out slices without prediction."""
    parts = [
        f"{FIGURES[name]} {_text(summed[name]['mean'])} [{_text(summed[name]['mean_non_empty'])}]" for name in FIGURES
    ]
    return f"{counted(summed['slices'], 'slice')} with lesion, {summed['empty']} without prediction: {', '.join(parts)}"


def _score(index: int, pred: np.ndarray, ref: np.ndarray, spacing: list[float], definition: str) -> SliceScore:
    counts = metrics.confusion(pred=pred, ref=ref)
    return SliceScore(
        index=index, dsc=metrics.dice(counts), iou=metrics.iou(counts), precision=metrics.precision(counts),
        recall=metrics.recall(counts), empty=not pred.any(),
        hd95_mm=metrics.hd95(pred=pred, ref=ref, spacing=spacing, definition=definition),  # type: ignore[arg-type]
    )  # fmt: skip


def _mean(slices: Sequence[SliceScore], name: str) -> float | None:
    values = [value for one in slices if (value := getattr(one, name)) is not None]
    return float(np.mean(values)) if values else None


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
