"""What can go wrong, and the exit code that each kind gives.

A :class:`BraincliError` is a user's problem: the command line prints its message and hint, without a
traceback. Anything else that escapes is a bug of ours (exit code 1).
"""

from __future__ import annotations

from typing import Any, ClassVar


class BraincliError(Exception):
    """A problem that the user can mend.

    Args:
        message: what is wrong, naming the file (base name) or option.
        hint: what to do about it; may be empty.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.outcomes: list[Any] = []  # of a cohort: a runtime.cohort.Outcome per case, the successes too

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class InternalError(BraincliError):
    """A bug of ours, met while other cases were still to be worked through."""


class UsageError(BraincliError):
    """Options that contradict each other, an unknown key, an output that exists."""

    exit_code = 2


class InputError(BraincliError):
    """A scan, mask or folder that cannot be used."""

    exit_code = 3


class ModelError(BraincliError):
    """A model or weights file that is missing, damaged or does not fit."""

    exit_code = 4


class ResourceError(BraincliError):
    """Out of memory, disk or time."""

    exit_code = 5


class CohortError(BraincliError):
    """The cohort was worked through, but some cases failed (they are listed)."""

    exit_code = 6


class QualityError(BraincliError):
    """A quality figure lies outside its limits and ``--strict-qc`` was given, or a mask is no finding."""

    exit_code = 7


EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "internal error (please report it)",
    2: "usage or configuration",
    3: "unusable input",
    4: "model or weights",
    5: "out of memory, disk or time",
    6: "cohort finished, but some cases failed",
    7: "quality limits exceeded: with --strict-qc, or a mask of more than half of the brain",
    130: "interrupted",
    143: "terminated",
}
