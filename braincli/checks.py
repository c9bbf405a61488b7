"""The gatekeeper: a battery of small checks that every input passes before any other tool sees it."""

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
