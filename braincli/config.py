"""Every option of every command, typed. Precedence: flag > environment > file > default.

A configuration is a pydantic model with ``extra="forbid"``; :mod:`braincli.parsing` makes it of files and flags.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from braincli import choices
from braincli.imaging.cases import Contrast
from braincli.imaging.dicom.study import series_by_contrast
from braincli.parsing import load as load
from braincli.parsing import parse as parse
from braincli.parsing import to_toml as to_toml
from braincli.spec import PIXEL_MM


def _text(value: object) -> object:
    """A whole number as text, as TOML gives ``run = 2``."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _one_run(value: str) -> str:
    if not re.fullmatch(r"first|last|[1-9][0-9]*", value):
        raise ValueError("is none of: first, last, or a number from 1")
    return value


def _number(value: object) -> object:
    """Digits, as a flag gives them, as the number."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _lower(value: object) -> object:
    """``SRI24`` as ``sri24``."""
    return value.lower() if isinstance(value, str) else value


def _parts(value: object) -> object:
    """``a,b`` as its parts; anything else as it is."""
    return tuple(part.strip().lower() for part in value.split(",")) if isinstance(value, str) else value


Device = str  # auto | cpu | cuda | cuda:N | mps
Run = Annotated[str, AfterValidator(_one_run), BeforeValidator(_text)]  # of run-1, run-2 ...
Series = Annotated[dict[Contrast, str], BeforeValidator(series_by_contrast)]  # of a study of DICOM; "none": without
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # what every generator takes


class Options(BaseModel):
    """Base of all option sets: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class PreprocessConfig(Options):
    """Raw scans -> co-registered, SRI24, skull-stripped, bias-corrected, percentile-normalised."""

    skip: frozenset[choices.Step] = frozenset()
    run: Run | None = None  # which of repeated scans of one contrast; None: such a case fails
    series: Series = {}
    volume: int | None = Field(default=None, ge=0)  # of 4-D files
    prefer: choices.Form = "sform"  # where both are set and disagree
    already_stripped: bool = False
    assume_skull: bool = False
    brain_mask: Path | None = None
    reference: Contrast | None = None
    transform: choices.Transform = "affine"
    space: Annotated[choices.Space, BeforeValidator(_lower)] = "sri24"
    bet_mode: choices.BetMode = "fast"
    bet_backend: choices.BetBackend = "minimal"
    normalisation: choices.Normalisation = "percentile"  # inside the brain
    percentiles: tuple[float, float] = (1.0, 99.0)  # of percentile
    keep_intermediates: bool = False
    strict_qc: bool = False
    precision: choices.Precision = "auto"
    overwrite: bool = False
    resume: bool = False
    jobs: int = Field(default=1, ge=1)  # processes; never more than fit into memory
    part_id: int | None = Field(default=None, ge=0)  # of num_parts parts of the cohort; None: all of it
    num_parts: int | None = Field(default=None, ge=1)
    seed: Seed = 0
    threads: int | None = Field(default=None, ge=1)
    device: Device = "auto"

    @field_validator("percentiles")
    @classmethod
    def _ordered(cls, percentiles: tuple[float, float], others: ValidationInfo) -> tuple[float, float]:
        if not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError("must be between 0 and 100, the lower first")
        normalisation = others.data.get("normalisation", "percentile")
        if percentiles != (1.0, 99.0) and normalisation != "percentile":
            raise ValueError(f"are for normalisation percentile, not {normalisation}")
        return percentiles


class DetectConfig(Options):
    """Case -> mask on its own grid, with the optional maps."""

    model: str = "tsgm"
    preprocess: bool = False
    run: Run | None = None  # which of repeated scans of one contrast; None: such a case fails
    series: Series = {}
    dicom_seg: bool = False  # a DICOM SEG beside every mask on a series of DICOM
    volume: int | None = Field(default=None, ge=0)  # of 4-D files
    prefer: choices.Form = "sform"  # where both are set and disagree
    already_stripped: bool = False  # what the scans show is not looked at
    assume_skull: bool = False
    n4: bool = False  # correct the bias field of prepared scans, too
    uncalibrated: bool = False  # go on with contrasts that the model was not calibrated for
    threshold: float | None = Field(default=None, ge=0)
    min_lesion_mm3: float | None = Field(default=None, ge=0)
    min_lesion_voxels: int = Field(default=0, ge=0)  # of the scan's own grid
    samples: int = Field(default=1, ge=1)
    uncertainty: Path | None = None  # of one case; folders get <case>_uncertainty.nii.gz with samples > 1
    anomaly_map: bool = False
    restored: bool = False
    residual: bool = False
    figure: bool = True
    report: bool = True  # pages to look at; folders only
    batch: int | None = Field(default=None, ge=1)  # slices per network call; None: what suits the device
    on_oom: choices.OnOom = "halve"
    precision: choices.Precision = "auto"
    overwrite: bool = False
    resume: bool = False
    jobs: int = Field(default=1, ge=1)  # processes; never more than fit into memory
    part_id: int | None = Field(default=None, ge=0)  # of num_parts parts of the cohort; None: all of it
    num_parts: int | None = Field(default=None, ge=1)
    seed: Seed = 0
    threads: int | None = Field(default=None, ge=1)
    device: Device = "auto"


class ScoreConfig(Options):
    """Predictions against references."""

    hd_definition: choices.Hausdorff = "max-directed"
    empty: choices.Empty = "penalty"
    labels: Annotated[tuple[int, ...], BeforeValidator(_parts)] | None = None  # None: every label above 0 is lesion
    bootstrap: int = Field(default=10_000, ge=0)
    permutations: int = Field(default=10_000, ge=0)
    connectivity: Annotated[choices.Connectivity, BeforeValidator(_number)] = 26
    volume: int | None = Field(default=None, ge=0)  # of 4-D files
    prefer: choices.Form = "sform"  # where both are set and disagree
    slices: bool = False  # axial slices with lesion, too
    healthy: bool = False  # restorations against healthy scans: L1
    model: str | None = None  # whose masks, where the folder holds those of several
    resample_labels: bool = False  # bring a prediction on another grid to the reference's, nearest neighbour
    jobs: int = Field(default=1, ge=1)  # processes; never more than fit into memory
    overwrite: bool = False
    seed: Seed = 0


def _minutes(value: object) -> object:
    """``HH:MM:SS`` as minutes; anything else as it is."""
    match = re.fullmatch(r"(\d+):([0-5]?\d):([0-5]?\d)", value) if isinstance(value, str) else None
    return int(match[1]) * 60 + int(match[2]) + int(match[3]) / 60 if match else value


class CheckConfig(Options):
    """What the gatekeeper looks at."""

    volume: int | None = Field(default=None, ge=0)  # of 4-D files
    prefer: choices.Form = "sform"  # where both are set and disagree
    phi: bool = False  # list what headers tell about the patient


class DemoConfig(Options):
    """The main job on a generated patient."""

    model: str = "tsgm"
    overwrite: bool = False
    seed: Seed = 0
    threads: int | None = Field(default=None, ge=1)
    device: Device = "auto"


def _canvas(value: object) -> object:
    """``256x256`` or ``256`` as (rows, columns)."""
    if not isinstance(value, str | int):
        return value
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", str(value).strip())
    if not match:
        raise ValueError("is not ROWSxCOLUMNS, such as 256x256")
    return int(match[1]), int(match[2] or match[1])


def first_and_last(value: object) -> object:
    """``80:128`` as (first, last); ``all`` as it is."""
    if not isinstance(value, str) or value == "all":
        return value
    match = re.fullmatch(r"(\d+):(\d+)", value.strip())
    if not match or int(match[1]) > int(match[2]):
        raise ValueError("is neither FIRST:LAST, such as 80:128, nor all")
    return int(match[1]), int(match[2])


class TrainConfig(Options):
    """Cohort -> trained model folder."""

    method: str = "tsgm"
    run: Run | None = None  # which of repeated scans of one contrast; None: such a case fails
    preset: str = "compact"
    init: str | None = None  # model (name or folder) whose weights and options to begin with, instead of the preset's
    store: Path | None = None  # slices to share between trainings on the same cases; made if not there
    # how slices are cut; where these four say nothing, the preset does
    pixel_mm: float | None = Field(default=None, ge=PIXEL_MM[0], le=PIXEL_MM[1])
    canvas: Annotated[tuple[int, int], BeforeValidator(_canvas)] | None = None  # rows, columns
    slice_mm: float | Literal["own"] | None = None  # distance of slices; own: the scan's
    slices: Annotated[tuple[int, int] | Literal["all"], BeforeValidator(first_and_last)] | None = None  # looked at
    steps: dict[str, Annotated[int, Field(ge=0)]] = {}  # per stage; empty: the preset's own
    batch: int | None = Field(default=None, ge=1)  # slices per step, of all processes together
    shards: int | None = Field(default=None, ge=1)  # parts of a batch, computed one by one; None: one per process
    max_time: Annotated[float, Field(gt=0), BeforeValidator(_minutes)] | None = None  # minutes, or HH:MM:SS
    compute_minutes: float | None = Field(default=None, gt=0)  # CPU time of all stages together
    snapshot_every: int | None = Field(default=None, ge=1)
    validate_every: int | None = Field(default=None, ge=1)  # steps; None: a fiftieth of the stage's
    precision: choices.TrainingPrecision = "auto"
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    keep_checkpoints: int = Field(default=2, ge=1)
    resume: bool = False
    overwrite: bool = False
    dry_run: bool = False
    seed: Seed = 0
    threads: int | None = Field(default=None, ge=1)
    device: Device = "auto"
    settings: dict[str, Any] = {}  # overrides of the method's own Config


class CalibrateConfig(Options):
    """Contrast weights, threshold and smallest lesion from a cohort that the model has not seen."""

    model: str = "tsgm"
    run: Run | None = None  # which of repeated scans of one contrast; None: such a case fails
    objective: choices.Objective = "dsc"
    fusion: choices.Fusion = "fitted"  # where the weights of the contrasts come from
    false_positive_rate: float = Field(default=0.01, gt=0, lt=1)  # share of healthy brain, for healthy-quantile
    contrasts: Annotated[
        tuple[Contrast, ...], BeforeValidator(_parts)
    ] = ()  # for scans that have these alone; empty: for those that have all
    healthy_ml: float = Field(default=2.0, ge=0)  # marked in healthy cases at most, as a mean
    rising: bool = True  # the threshold rises with a case's own map, where that is stronger than any seen was faint
    cross_fit: bool = False
    dry_run: bool = False  # report only
    batch: int | None = Field(default=None, ge=1)  # slices per network call; None: what suits the device
    precision: choices.Precision = "auto"
    seed: Seed = 0
    threads: int | None = Field(default=None, ge=1)
    device: Device = "auto"


class SplitConfig(Options):
    """A cohort -> manifests of its parts."""

    folds: int | None = Field(default=None, ge=2)  # cross-validation; None: one validation part
    validation: float = Field(default=0.0, ge=0)  # of the patients: a share below 1, or a number
    test: float = Field(default=0.0, ge=0)
    contrasts: Annotated[tuple[Contrast, ...], BeforeValidator(_parts)] = ()  # those that the parts keep; empty: all
    group: choices.Group | None = None  # what all cases are, where nothing says so
    patient: re.Pattern[str] | None = None  # its first group in a case's id names the patient
    run: Run | None = None  # which of repeated scans of one contrast; None: such a case fails
    overwrite: bool = False
    seed: Seed = 0


class SynthConfig(Options):
    """Prepared scans -> the same with planted anomalies, and their masks; or a data set that is drawn from nothing."""

    kind: choices.Kind = "growth"
    images: tuple[int, int, int] = (2000, 200, 200)  # of each class, to train, validate and test; kind ellipses
    run: Run | None = None  # which of repeated scans of one contrast; None: such a case fails
    count: int = Field(default=1, ge=1)  # anomalies per case
    radius_mm: tuple[float, float] = (6.0, 20.0)
    margin_mm: float = Field(default=10.0, ge=0)  # distance from lesions that the case already has
    pixel_mm: float = Field(default=1.0, gt=0)  # in-plane grid that anomalies are drawn on
    overwrite: bool = False
    seed: Seed = 0
    threads: int | None = Field(default=None, ge=1)

    @field_validator("radius_mm")
    @classmethod
    def _ordered(cls, radius: tuple[float, float]) -> tuple[float, float]:
        if not 0 < radius[0] <= radius[1]:
            raise ValueError("must be above 0, the smallest radius first")
        return radius
