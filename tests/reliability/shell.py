"""The shell command, and the small cohorts that it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import phantoms
import warm

from reliability.kills import settled

ROOT = Path(__file__).resolve().parents[2]
SHAPE, GRID = (40, 48, 10), phantoms.affine("LPS", (3.5, 3.5, 8.0))
TINY = ("--method", "unet", "--preset", "tiny", "--steps", "main=1", "--device", "cpu", "--threads", "1")
PREPARED = ("--already-stripped", "--space", "native", "--skip", "coregister", "--skip", "n4")


class Ended(NamedTuple):
    """Exit code, stdout and stderr."""

    code: int
    out: str
    words: str

    @property
    def report(self) -> Any:
        """What ``--json`` gave."""
        return json.loads(self.out)


def start(
    *arguments: object, models: Path | None = None, command: str = f"{sys.executable} -m braincli"
) -> subprocess.Popen[str]:
    """``braincli`` with ``arguments``, running in a process of its own."""
    places = {"BRAINCLI_MODELS": str(models)} if models else {}
    return subprocess.Popen(
        [*command.split(), *map(os.fspath, map(_text, arguments))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="surrogateescape",
        env={**os.environ, **places, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> Ended:
    """Wait for it."""
    out, words = process.communicate(timeout=300)
    assert "Traceback" not in words, words
    return Ended(process.returncode, out, words)


def braincli(*arguments: object, models: Path | None = None) -> Ended:
    """``braincli`` with ``arguments``, to its end."""
    return end(start(*arguments, models=models, command=warm.command()))


def cohort(folder: Path, names: str = "ab", contrasts: tuple[str, ...] = ("flair",)) -> Path:
    """One case per letter below ``folder``."""
    for name in names:
        phantoms.write_case(folder / name, name, contrasts, shape=SHAPE, matrix=GRID)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every volume and every weight below ``folder``, by path."""
    files = [path for path in sorted(folder.rglob("*")) if path.name.endswith((".nii.gz", ".safetensors"))]
    return {str(path.relative_to(folder)): settled(path) for path in files if not path.name.startswith(".")}


def _text(argument: object) -> Any:
    return argument if isinstance(argument, str | os.PathLike) else str(argument)
