"""Options of ``classify train``, ``classify validate`` and ``classify predict``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from braincli import choices
from braincli.config import Device, Options, Run, Seed


def _parts(value: object) -> object:
    """``a,b`` as its parts; anything else as it is."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class _OfVolumes(Options):
    """What all three need: how prepared cases are read, and what runs the network."""

    run: Run | None = None  # which of repeated scans of one contrast; None: such a case fails
    volume: int | None = Field(default=None, ge=0)  # of 4-D files
    prefer: choices.Form = "sform"  # where both are set and disagree
    already_stripped: bool = False  # what the scans show is not looked at
    precision: choices.TrainingPrecision = "auto"
    overwrite: bool = False
    threads: int | None = Field(default=None, ge=1)
    device: Device = "auto"


class _Trained(_OfVolumes):
    """What trainings need."""

    preset: str = "compact"
    contrast: choices.ContrastName = "t1"  # that is classified
    label: str = Field(default="class", min_length=1)  # column of the manifest with the classes
    site: str = Field(default="site", min_length=1)  # column with the sites
    target: Annotated[tuple[str, ...], BeforeValidator(_parts)] = ()  # sites; empty: those that have every class
    steps: int | None = Field(default=None, ge=1)  # None: the preset's
    seed: Seed = 0
    settings: dict[str, Any] = Field(default={})  # overrides of the method's own options


class TrainClassifierConfig(_Trained):
    """A labelled cohort -> a classifier of volumes."""

    method: str = "l2i"
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    resume: bool = False


class ValidateClassifierConfig(_Trained):
    """A labelled cohort -> how well methods classify sites, or cases, that they were not trained on."""

    method: Annotated[tuple[str, ...], BeforeValidator(_parts)] = ("l2i",)
    folds: int | None = Field(default=None, ge=2)  # parts of every site and class that take turns; None: sites do


class ClassifyConfig(_OfVolumes):
    """Prepared cases -> the class of each."""

    model: str | None = None
