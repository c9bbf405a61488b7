"""Dying at every moment at which the disk changes: the k-th fsync, replace or unlink of a run raises."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest


class Killed(BaseException):
    """What nothing catches."""


@contextmanager
def killed_at(moment: int) -> Iterator[None]:
    """Let the ``moment``-th change (from 0) and all after it fail. A lock goes all the same, as with its process."""
    changes = count()

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(subject: Any, *arguments: Any, **options: Any) -> Any:
            if not str(subject).endswith(".lock") and next(changes) >= moment:
                raise Killed
            return function(subject, *arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", mortal(os.fsync))
        patch.setattr(Path, "replace", mortal(Path.replace))
        patch.setattr(Path, "unlink", mortal(Path.unlink))
        yield


def dies(run: Callable[[], object], moment: int) -> bool:
    """Whether ``run`` gets as far as to die at ``moment``."""
    try:
        with killed_at(moment):
            run()
    except Killed:
        return True
    return False


def content(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` but the records (they hold times) and what is hidden."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if not p.name.endswith("_record.json")}
