"""Options of ``translate`` and ``explain``."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from braincli import choices
from braincli.config import Device, Options, Run, first_and_last

ENDLESS = {"more": math.inf, "less": -math.inf}


def _goal(text: str) -> str:
    """``text`` where it is a number, ``more`` or ``less``."""
    if text not in ENDLESS:
        try:
            known = math.isfinite(float(text))
        except ValueError:
            known = False
        if not known:
            raise ValueError("is neither a number nor more nor less")
    return text


def _as_text(value: object) -> object:
    """Numbers as text, as TOML and Python give them."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return value


class _OfOneModel(Options):
    """What both need: a model, how prepared cases are read, and how outputs are written."""

    model: str | None = None
    run: Run | None = None  # which of repeated scans of one contrast; None: such a case fails
    volume: int | None = Field(default=None, ge=0)  # of 4-D files
    prefer: choices.Form = "sform"  # where both are set and disagree
    already_stripped: bool = False  # what the scans show is not looked at
    slices: Annotated[tuple[int, int], BeforeValidator(first_and_last)] | None = None  # None: all that the model sees
    figure: bool = True
    batch: int | None = Field(default=None, ge=1)  # slices per network call; None: what suits the device
    on_oom: choices.OnOom = "halve"
    precision: choices.Precision = "auto"
    overwrite: bool = False
    resume: bool = False
    threads: int | None = Field(default=None, ge=1)
    device: Device = "auto"


class TranslateConfig(_OfOneModel):
    """Prepared cases -> the same at another number, or with a lesion in a mask."""

    to: tuple[Annotated[str, BeforeValidator(_as_text), AfterValidator(_goal)], ...] = ()  # each is a translation
    level: int | None = Field(default=None, ge=0, le=1000)  # L, how far it is noised; None: the model's
    scale: float | None = Field(default=None, ge=0)  # c, how hard the guide pulls; None: the model's

    @property
    def numbers(self) -> dict[str, float]:
        """What :attr:`to` says, by its text; ``more`` and ``less`` are infinite."""
        return {text: ENDLESS.get(text, 0.0) or float(text) for text in self.to}


class ExplainConfig(_OfOneModel):
    """Prepared cases -> what in them a classifier looks at."""

    of_class: str | None = None  # of classifiers of whole volumes; None: the likeliest
