"""What a trained model says of itself, as ``model.json`` holds it: typed and within limits, read without any network.

The options of the method are checked where its class is loaded: :class:`braincli.model.info.ModelInfo`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.spec import MapOptions, SliceSpec

FORMAT = 2  # of earlier ones, see braincli.model.earlier
WORTHLESS = 0.3  # DSC: a calibration for fewer contrasts that is below marks more that is healthy than ill
WEIGHT_SUM_TOLERANCE = 1e-3  # weights are stored with four decimals

Count = Annotated[int, Field(ge=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Line = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]  # shown on terminals
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Facts(_Part):
    """What is not known is left out of the file."""

    @model_serializer(mode="wrap")
    def _known(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}


class Healthy(_Part):
    """What a calibration marks in healthy slices of one case, and how the map lies there."""

    slices: Count
    brain_ml: NotNegative
    mask_ml: NotNegative
    map_mean: float
    map_p99: float


class HealthyBound(_Facts):
    """How much healthy people allow a calibration to mark, and what that cost.

    Attributes:
        limit_ml: what is marked in a healthy person, at most, as a mean over ``images`` (by id the SHA-256 of each).
        mean_ml: what the calibration marks in them; mean_ml_cross_fit: in one half of them with values that the other
            half bounded.
        threshold_without, dsc_without: threshold and mean DSC without the bound, where it had to be raised.
    """

    limit_ml: NotNegative
    images: dict[str, list[str]] = {}
    mean_ml: NotNegative = 0.0
    mean_ml_cross_fit: NotNegative | None = None
    threshold_without: NotNegative | None = None
    dsc_without: Share | None = None


class Provenance(_Facts):
    """Where a calibration comes from, and how good it is.

    Attributes:
        objective: what was fitted: ``mean DSC``, ``mean lesion-wise F1`` or ``healthy-quantile``.
        contrasts: those of the cases, where all lacked the same.
        cases, images: what it was fitted on: ids, and by id the SHA-256 of each image. No test set may hold them.
        false_positive_rate, healthy_slices: of ``healthy-quantile``: share of healthy brain above the threshold, and
            how many slices that was fitted on.
        dsc_fitted: mean DSC on those very cases (optimistic).
        cross_fit, dsc_cross_fit: DSC by case with values fitted on the other half of the cases, and its mean.
        lesion_f1_fitted, lesion_f1_cross_fit: the same of the lesion-wise F1, where that was the objective.
        figures: others by name, measured as ``dsc_cross_fit`` was: AUPRC, HD95 and what is marked in healthy slices.
        healthy: false positives by case.
        bound: what healthy people bounded; None where none did.
        left_out: why cases of the cohort could not be used, by case.
    """

    objective: str = ""
    contrasts: list[Contrast] | None = None
    cases: list[str] = []
    images: dict[str, list[str]] = {}
    false_positive_rate: Share | None = None
    healthy_slices: Count | None = None
    dsc_fitted: Share | None = None
    cross_fit: dict[str, Share] | None = None
    dsc_cross_fit: Share | None = None
    lesion_f1_fitted: Share | None = None
    lesion_f1_cross_fit: Share | None = None
    figures: dict[str, NotNegative] = {}
    healthy: dict[str, Healthy] = {}
    bound: HealthyBound | None = None
    left_out: dict[str, str] = {}


class Calibration(_Part):
    """What turns residuals into a mask, and where it comes from.

    ``weights`` over contrasts sum to 1 (none for methods that give a score instead of a restoration, and where the
    map is suspicion alone); ``threshold`` is in units of the anomaly map. ``rises_from``: level of a case's own map
    from which on its threshold is higher, see :func:`braincli.detection.maps.rise`; None: it is the same for all.
    """

    weights: dict[Contrast, Share]
    threshold: NotNegative
    rises_from: Annotated[float, Field(gt=0)] | None = None
    min_lesion_mm3: NotNegative = 0.0
    provenance: Provenance = Provenance()

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A threshold that does not rise is written as it was before any did."""
        return {name: value for name, value in handler(self).items() if name != "rises_from" or value is not None}

    @property
    def dsc(self) -> float | None:
        """The mean DSC that it reached: cross-fitted if it was, else on the cases it was fitted on."""
        return self.provenance.dsc_fitted if self.provenance.dsc_cross_fit is None else self.provenance.dsc_cross_fit

    @field_validator("weights")
    @classmethod
    def _whole(cls, weights: dict[Contrast, float]) -> dict[Contrast, float]:
        if weights and not math.isclose(total := sum(weights.values()), 1, abs_tol=WEIGHT_SUM_TOLERANCE):
            raise ValueError(f"the weights of the contrasts sum to {total:g}, not to 1")
        return weights


class Normal(_Part):
    """What the normal maps (:mod:`braincli.model.normal`) were fitted on.

    Attributes:
        sha256: of their file.
        cases: by id the SHA-256 of each image: none of them may calibrate or test the model.
    """

    sha256: Sha256
    cases: dict[str, list[str]] = {}


class Heritage(_Part):
    """The model that a training began with: its name, its steps by stage, its weight files with their SHA-256."""

    name: str
    steps: dict[str, Count] = {}
    weights: dict[str, Sha256] = {}


class Judged(_Part):
    """The step whose weights a validation found best, and the method's criterion there (lower is better)."""

    step: Count
    value: float


class Training(_Facts):
    """What a model has learnt from.

    Attributes:
        cases: by id the SHA-256 of each image, those of :attr:`init` too: none of them may calibrate or test it.
        slices: how many there were.
        steps: by stage.
        minutes: wall time of the last run. compute_minutes: CPU (on a GPU: wall) time of all runs.
        init: the model that it began with.
        validation: cases that chose among its weights, as ``cases``: none of them may test it.
        best: by stage what they chose; stages that are missing ended with their last weights.
        left: steps by stage that were left when the training stopped before its end; empty: it came to its end.
    """

    cases: dict[str, list[str]] = {}
    slices: Count | None = None
    steps: dict[str, Count] = {}
    minutes: NotNegative | None = None
    compute_minutes: NotNegative | None = None
    init: Heritage | None = None
    validation: dict[str, list[str]] = {}
    best: dict[str, Judged] = {}
    left: dict[str, Count] = {}


def subset(contrasts: Collection[Contrast]) -> str:
    """The key of ``contrasts`` in :attr:`ModelInfo.subsets`."""
    return "+".join(c for c in CONTRASTS if c in contrasts)


class Said(BaseModel):
    """What ``model.json`` says beside the options of the method."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: int = Field(default=FORMAT, ge=1, le=FORMAT)
    braincli: Line = __version__
    name: Line
    method: Line
    preset: Line
    contrasts: tuple[Contrast, ...] = CONTRASTS
    calibration: Calibration | None = None
    subsets: dict[str, Calibration] = {}  # for scans that lack contrasts, by those that they have (``t1+flair``)
    normal: Normal | None = None  # maps of what healthy tissue is suspected of
    training: Training = Training()
    figures: dict[str, float] = {}  # what the card reports
    weights: dict[str, Sha256] = {}  # file name -> SHA-256
    parameters: Count = 0
    licence: Line = "Apache-2.0"
    notice: Line = RESEARCH_USE_ONLY

    @field_validator("contrasts")
    @classmethod
    def _in_order(cls, contrasts: tuple[Contrast, ...]) -> tuple[Contrast, ...]:
        if contrasts != CONTRASTS:  # slices have these channels
            raise ValueError(f"must be {', '.join(CONTRASTS)}, in this order")
        return contrasts

    @field_validator("subsets")
    @classmethod
    def _named_after_contrasts(cls, subsets: dict[str, Calibration]) -> dict[str, Calibration]:
        for name in subsets:
            parts = name.split("+")
            if not name or name != subset([Contrast(part) for part in parts if part in set(CONTRASTS)]):
                raise ValueError(f"{name!r} names no contrasts in order, such as t1+flair")
        return subsets

    @field_validator("weights")
    @classmethod
    def _inside_the_folder(cls, weights: dict[str, str]) -> dict[str, str]:
        for name in weights:
            if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name) or PurePosixPath(name).name != name:
                raise ValueError(f"{name!r} is not the name of a file *.safetensors in the model's folder")
        return weights


class Stored(Said):
    """``model.json`` of format 2 as it lies on disk; ``settings`` are options of the method but slices and map."""

    settings: dict[str, Any] = {}
    slices: SliceSpec = SliceSpec()
    map: MapOptions = MapOptions()
