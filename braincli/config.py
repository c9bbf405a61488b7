"""Every option of every command, typed. Precedence: flag > environment > file > default.

A configuration is a pydantic model with ``extra="forbid"``; :func:`load` reads TOML, applies ``--set key=value``
and names the valid keys where one is unknown.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from braincli.errors import UsageError
from braincli.imaging.cases import Contrast

Device = str  # auto | cpu | cuda | cuda:N | mps
Run = Annotated[str, Field(pattern=r"^(first|last|[1-9][0-9]*)$")]  # of scans repeated as run-1, run-2 ...
C = TypeVar("C", bound=BaseModel)


class Options(BaseModel):
    """Base of all option sets: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class PreprocessConfig(Options):
    """Raw scans -> co-registered, SRI24, skull-stripped, bias-corrected, percentile-normalised."""

    skip: frozenset[Literal["coregister", "atlas", "brain", "n4", "normalise"]] = frozenset()
    run: Run | None = None  # which of repeated scans of one contrast; None: such a case fails
    volume: int | None = Field(default=None, ge=0)  # of 4-D files
    prefer: Literal["sform", "qform"] = "sform"  # where both are set and disagree
    already_stripped: bool = False
    assume_skull: bool = False
    brain_mask: Path | None = None
    reference: Contrast | None = None
    transform: Literal["rigid", "affine"] = "affine"
    space: Literal["sri24", "native"] = "sri24"
    bet_mode: Literal["fast", "accurate"] = "fast"
    bet_backend: Literal["minimal", "hd-bet"] = "minimal"
    percentiles: tuple[float, float] = (1.0, 99.0)
    keep_intermediates: bool = False
    strict_qc: bool = False
    overwrite: bool = False
    resume: bool = False
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    device: Device = "auto"


class DetectConfig(Options):
    """Case -> mask on its own grid, with the optional maps."""

    model: str = "tsgm"
    preprocess: bool = False
    run: Run | None = None  # which of repeated scans of one contrast; None: such a case fails
    volume: int | None = Field(default=None, ge=0)  # of 4-D files
    prefer: Literal["sform", "qform"] = "sform"  # where both are set and disagree
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
    batch: int = Field(default=16, ge=1)
    on_oom: Literal["halve", "cpu", "fail"] = "halve"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    overwrite: bool = False
    resume: bool = False
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    device: Device = "auto"


class ScoreConfig(Options):
    """Predictions against references."""

    hd_definition: Literal["max-directed", "pooled"] = "max-directed"
    empty: Literal["penalty", "null"] = "penalty"
    labels: tuple[int, ...] | None = None  # None: every label above 0 is lesion
    bootstrap: int = Field(default=10_000, ge=0)
    permutations: int = Field(default=10_000, ge=0)
    connectivity: Literal[6, 18, 26] = 26
    volume: int | None = Field(default=None, ge=0)  # of 4-D files
    prefer: Literal["sform", "qform"] = "sform"  # where both are set and disagree
    resample_labels: bool = False  # bring a prediction on another grid to the reference's, nearest neighbour
    seed: int = 0


def _minutes(value: object) -> object:
    """``HH:MM:SS`` as minutes; anything else as it is."""
    match = re.fullmatch(r"(\d+):([0-5]?\d):([0-5]?\d)", value) if isinstance(value, str) else None
    return int(match[1]) * 60 + int(match[2]) + int(match[3]) / 60 if match else value


class TrainConfig(Options):
    """Cohort -> trained model folder."""

    method: str = "tsgm"
    preset: str = "compact"
    init: str | None = None  # model (name or folder) whose weights and options to begin with, instead of the preset's
    store: Path | None = None  # slices to share between trainings on the same cases; made if not there
    steps: dict[str, Annotated[int, Field(ge=0)]] = {}  # per stage; empty: the preset's own
    batch: int | None = Field(default=None, ge=1)  # slices per step, of all processes together
    shards: int | None = Field(default=None, ge=1)  # parts of a batch, computed one by one; None: one per process
    max_time: Annotated[float, Field(gt=0), BeforeValidator(_minutes)] | None = None  # minutes, or HH:MM:SS
    compute_minutes: float | None = Field(default=None, gt=0)  # CPU time of all stages together
    snapshot_every: int | None = Field(default=None, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    keep_checkpoints: int = Field(default=2, ge=1)
    resume: bool = False
    overwrite: bool = False
    dry_run: bool = False
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    device: Device = "auto"
    settings: dict[str, Any] = {}  # overrides of the method's own Config


class CalibrateConfig(Options):
    """Contrast weights, threshold and smallest lesion from a cohort that the model has not seen."""

    model: str = "tsgm"
    objective: Literal["dsc", "healthy-quantile"] = "dsc"
    false_positive_rate: float = Field(default=0.01, gt=0, lt=1)  # share of healthy brain, for healthy-quantile
    contrasts: tuple[Contrast, ...] = ()  # for scans that have these alone; empty: for those that have all
    cross_fit: bool = False
    write: bool = True
    batch: int = Field(default=16, ge=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    device: Device = "auto"


class SynthConfig(Options):
    """Prepared scans -> the same with planted anomalies, and their masks."""

    kind: Literal["draem", "pii", "growth", "coarse", "sink"] = "growth"
    count: int = Field(default=1, ge=1)  # anomalies per case
    radius_mm: tuple[float, float] = (6.0, 20.0)
    margin_mm: float = Field(default=10.0, ge=0)  # distance from lesions that the case already has
    pixel_mm: float = Field(default=1.0, gt=0)  # in-plane grid that anomalies are drawn on
    overwrite: bool = False
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)

    @field_validator("radius_mm")
    @classmethod
    def _ordered(cls, radius: tuple[float, float]) -> tuple[float, float]:
        if not 0 < radius[0] <= radius[1]:
            raise ValueError("the smallest radius comes first, and is above 0")
        return radius


def parse(kind: type[C], values: dict[str, Any]) -> C:
    """Validate ``values`` as ``kind``.

    Raises:
        UsageError: an unknown key (the valid ones are listed, the closest first) or a value out of range.
    """
    unknown = sorted(set(values) - set(kind.model_fields))
    if unknown:
        close = get_close_matches(unknown[0], kind.model_fields, n=1)
        guess = f"Did you mean {close[0]}? " if close else ""
        raise UsageError(f"Unknown option {unknown[0]!r}.", f"{guess}Valid: {', '.join(sorted(kind.model_fields))}.")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{name}: {first['msg']}, got {first['input']!r}.") from None


def load(
    kind: type[C], file: Path | None = None, assignments: Iterable[str] = (), flags: dict[str, Any] | None = None
) -> C:
    """Merge a TOML file, ``key=value`` assignments and flags (later wins; flags that are None count as not given)."""
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"Cannot read the configuration {file.name}: {error}.") from None
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment!r} is not key=value.")
        _assign(values, key.strip(), text.strip())
    values.update({key: value for key, value in (flags or {}).items() if value is not None})
    return parse(kind, values)


def to_toml(values: Mapping[str, Any], table: str = "") -> str:
    """``values`` (scalars, lists of scalars, nested mappings) as TOML that :func:`load` reads; None is left out."""
    plain = {key: value for key, value in values.items() if value is not None and not isinstance(value, Mapping)}
    lines = [f"[{table}]"] if table else []
    # JSON writes strings, lists and booleans as TOML does; str() also knows nan and inf
    lines += [f"{key} = {value if type(value) is float else json.dumps(value)}" for key, value in plain.items()]
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    below = [to_toml(value, f"{table}.{key}" if table else key) for key, value in tables.items()]
    return "\n".join(["\n".join(lines) + "\n", *below] if lines else below)


def _assign(values: dict[str, Any], key: str, text: str) -> None:
    """Set a dotted ``key``; the text is read as a TOML value, or taken as a string where it is none."""
    *parents, leaf = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    try:
        values[leaf] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        values[leaf] = text
