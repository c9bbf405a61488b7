"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad a finding is."""

    NOTE = 20
    WARNING = 30
    ERROR = 40


@dataclass(frozen=True)
class Problem:
    """One finding. ``message`` names the file and what is wrong, ``hint`` what to do; ``code`` is stable."""

    level: Level
    code: str
    message: str
    hint: str = ""


class Refused(Exception):
    """Nothing more can be read from the file; carries the :class:`Problem` that says why."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(Level.ERROR, code, message, hint)
