"""Every option of every command, typed. Precedence: flag > environment > file > default.

A configuration is a pydantic model with ``extra="forbid"``; :func:`load` reads TOML and ``--set key=value``, and names
the valid keys where one is unknown. What is wrong with a value is said in our words, under the name that the user gave
it: ``--radius-mm``, or ``radius_mm in mine.toml``.
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
from pydantic_core import ErrorDetails

from braincli import choices
from braincli.errors import UsageError
from braincli.imaging.cases import Contrast
from braincli.imaging.dicom.study import series_by_contrast
from braincli.spec import PIXEL_MM


def _text(value: object) -> object:
    """A whole number as text, as TOML gives ``run = 2``."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number(value: object) -> object:
    """Digits, as a flag gives them, as the number."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _parts(value: object) -> object:
    """``a,b`` as its parts; anything else as it is."""
    return tuple(part.strip().lower() for part in value.split(",")) if isinstance(value, str) else value


Device = str  # auto | cpu | cuda | cuda:N | mps
Run = Annotated[str, Field(pattern=r"^(first|last|[1-9][0-9]*)$"), BeforeValidator(_text)]  # of run-1, run-2 ...
Series = Annotated[dict[Contrast, str], BeforeValidator(series_by_contrast)]  # of a study of DICOM; "none": without
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # what every generator takes
C = TypeVar("C", bound=BaseModel)


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
    space: choices.Space = "sri24"
    bet_mode: choices.BetMode = "fast"
    bet_backend: choices.BetBackend = "minimal"
    percentiles: tuple[float, float] = (1.0, 99.0)
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
    def _ordered(cls, percentiles: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError("must be between 0 and 100, the lower first")
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
    batch: int = Field(default=16, ge=1)
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


def _first_and_last(value: object) -> object:
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
    slices: Annotated[tuple[int, int] | Literal["all"], BeforeValidator(_first_and_last)] | None = None  # looked at
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
    batch: int = Field(default=16, ge=1)
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
    """Prepared scans -> the same with planted anomalies, and their masks."""

    kind: choices.Kind = "growth"
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


def parse(kind: type[C], values: Mapping[str, Any], names: Mapping[str, str] | None = None) -> C:
    """Validate ``values`` as ``kind``.

    Args:
        names: how the user called a value, e.g. ``--radius-mm``, where it is not the key itself.

    Raises:
        UsageError: an unknown key (the valid ones are listed, the closest first) or a value out of range.
    """
    names = names or {}
    unknown = sorted(set(values) - set(kind.model_fields))
    if unknown:
        guess = "".join(f"Did you mean {key}? " for key in get_close_matches(unknown[0], kind.model_fields, n=1))
        text = f"Unknown option {names.get(unknown[0], repr(unknown[0]))}."
        raise UsageError(text, f"{guess}Valid: {', '.join(sorted(kind.model_fields))}.")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(_complaint(error.errors()[0], names)) from None


def load(
    kind: type[C],
    file: Path | None = None,
    assignments: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
) -> C:
    """Merge a TOML file, ``key=value`` assignments and flags (later wins; flags that are None count as not given).

    Args:
        names: of flags that the user did not give as such, e.g. a variable of the environment.

    Raises:
        UsageError: the file cannot be read, an unknown key, or a value out of range.
    """
    values: dict[str, Any] = {} if file is None else _read(file)
    called = {key: f"{key} in {file.name}" for key in values} if file is not None else {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment!r} is not key=value.")
        _assign(values, key.strip(), text.strip())
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    called |= {key: f"--{key.replace('_', '-')}" for key in given} | dict(names or {})
    return parse(kind, {**values, **given}, called)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise UsageError(f"The configuration {file.name} is not UTF-8.", "Save it as UTF-8.") from None
    except (OSError, ValueError, RecursionError) as error:
        words = getattr(error, "strerror", error)
        raise UsageError(f"Cannot read the configuration {file.name}: {words}.", "It is a TOML file.") from None


WORDS = {  # pydantic's kind of error -> ours; what is in braces is its context
    "greater_than_equal": "is below {ge}",
    "greater_than": "is not above {gt}",
    "less_than_equal": "is above {le}",
    "less_than": "is not below {lt}",
    "literal_error": "is not one of {expected}",
    "enum": "is not one of {expected}",
    "string_pattern_mismatch": "is none of: first, last, or a number from 1",
    "int_parsing": "is not a whole number",
    "int_parsing_size": "is too large",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "string_type": "is not text",
    "path_type": "is not a path",
    "pattern_regex": "is no regular expression",
    "dict_type": "is not a table",
    "tuple_type": "is not a list",
    "frozen_set_type": "is not a list",
    "too_long": "has more than {max_length} values",
    "missing": "lacks a value",
    "value_error": "{error}",
}
TABLES = ("steps", "lesson", "slices", "map")  # whose entries are named with them


def _complaint(error: ErrorDetails, names: Mapping[str, str]) -> str:
    """One sentence: the option under the name that the user knows, what was given, and what is wrong with it."""
    key, *inner = [str(part) for part in error["loc"]] or ["options"]
    name = names.get(key, ".".join([key, *(part for part in inner if part.isidentifier() and key in TABLES)]))
    words = WORDS.get(error["type"], "is not what this option takes").format(**(error.get("ctx") or {}))
    value = error["input"]
    shown = value if isinstance(value, str | int | float | Path) else repr(value)
    return f"{name}: {shown} {words}."


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
        if not isinstance(values, dict):
            raise UsageError(f"{key}: {parent} is not a table.")
    try:
        values[leaf] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        values[leaf] = text
