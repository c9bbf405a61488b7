"""Commands that are killed at the k-th change of the disk: ``python kills.py detect|preprocess|train [EVERY] [PART]``.

Every command runs in a forked child, in which the functions that sync, move or remove files end the process as
SIGKILL does: nothing is cleaned up, no exception handler runs. Prints what went wrong as JSON lists of lines.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import phantoms
import tinymodels

KILLED = 137
FATAL = ("fsync", "replace", "rename", "unlink", "remove", "rmdir")
SHAPE, GRID = (40, 48, 10), phantoms.affine("LPS", (3.5, 3.5, 8.0))
FOREIGN = b"not yours"


@dataclass(frozen=True)
class Scenario:
    """A command in a fresh folder: ``prepare(root)`` makes its inputs, ``foreign`` are the user's own files there."""

    prepare: Callable[[Path], None]
    command: tuple[str, ...]
    foreign: tuple[str, ...]


def _cases(root: Path, contrasts: tuple[str, ...] = ("flair",)) -> None:
    for name in "ab":
        phantoms.write_case(root / "in" / name, name, contrasts, shape=SHAPE, matrix=GRID)


def _with_model(root: Path) -> None:
    _cases(root)
    tinymodels.write_models(root / "models")


QUICK = ("--no-figure", "--no-report", "--threads", "1")
SCENARIOS = {
    "detect": Scenario(
        _with_model,
        ("detect", "in", "-o", "out", "-m", "models/threshold", "--anomaly-map", *QUICK),
        ("out/notes.txt", "out/a/drawn.nii.gz", "out/a/.keep", "in/a/mine.json"),
    ),
    "preprocess": Scenario(
        lambda root: _cases(root, ("t1", "flair")),
        (
            "preprocess", "in", "-o", "out", "--already-stripped", "--space", "native", "--skip", "coregister",
            "--skip", "n4", "--threads", "1",
        ),
        ("out/notes.txt", "out/a/drawn.nii.gz", "out/b/.keep", "in/a/mine.json"),
    ),
    "train": Scenario(
        _cases,
        (
            "train", "--data", "in", "-o", "out", "--method", "unet", "--preset", "tiny", "--steps", "main=1",
            "--device", "cpu", "--threads", "1",
        ),
        ("notes.txt", "snapshots/mine.png", "work/mine.npy", "in/a/mine.json"),
    ),
}  # fmt: skip


@contextmanager
def killed_at(moment: int) -> Iterator[None]:
    """End the process at the ``moment``-th call (from 0) that syncs, moves or removes a file."""
    calls = count()

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(calls) == moment:
                os._exit(KILLED)
            return function(*arguments, **options)

        return call

    originals = {name: getattr(os, name) for name in FATAL}  # pathlib, shutil and tempfile reach for these
    for name, function in originals.items():
        setattr(os, name, mortal(function))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(os, name, function)


def run(root: Path, command: tuple[str, ...], moment: int = -1) -> tuple[int, str]:
    """Exit code and words of ``braincli`` in ``root``, in a child of this process."""
    words = root / ".." / f"{root.name}.words"
    child = os.fork()
    if not child:
        code = 99
        try:
            from braincli.cli import app

            os.chdir(root)
            with words.open("w") as out, redirect_stderr(out), redirect_stdout(io.StringIO()), killed_at(moment):
                try:
                    app([*command])
                except SystemExit as end:
                    code = end.code if isinstance(end.code, int) else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), words.read_text()


def settled(path: Path) -> bytes:
    """Content of a file; of safetensors with their header in order (its library writes it in a random one)."""
    content = path.read_bytes()
    if path.suffix != ".safetensors":
        return content
    end = 8 + int.from_bytes(content[:8], "little")
    return json.dumps(json.loads(content[8:end]), sort_keys=True).encode() + content[end:]


def results(root: Path) -> dict[str, bytes]:
    """What must be the same with and without a kill: volumes and weights, by path below ``out``."""
    files = [path for path in sorted((root / "out").rglob("*")) if path.name.endswith((".nii.gz", ".safetensors"))]
    return {str(path.relative_to(root)): settled(path) for path in files if not path.name.startswith(".")}


def prepare(scenario: Scenario, root: Path) -> None:
    """Inputs and the user's own files in a fresh folder."""
    root.mkdir(parents=True)
    scenario.prepare(root)
    for name in scenario.foreign:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(FOREIGN)


def fine(root: Path) -> list[str]:
    """Final names whose gzip stream does not reach its end, as complaints."""
    complaints = []
    for name, content in results(root).items():
        if name.endswith(".gz") and content != FOREIGN:
            try:
                gzip.decompress(content)
            except (OSError, EOFError) as error:
                complaints.append(f"{name} is half-written ({error})")
    return complaints


def touched(scenario: Scenario, root: Path, sound: dict[str, bytes]) -> list[str]:
    """What of the user's own is gone or changed."""
    complaints = [f"the user's {name} is gone" for name in scenario.foreign if not (root / name).is_file()]
    inputs = {str(path): path.read_bytes() for path in (root / "in").rglob("*") if path.is_file()}
    changed = [name for name, content in sound.items() if inputs.get(name) != content]
    return complaints + [f"the input {name} changed" for name in changed]


def after_kill(scenario: Scenario, root: Path, moment: int, expected: dict[str, bytes]) -> tuple[bool, list[str]]:
    """Whether the run was killed at all, and what is wrong then and after ``--resume``."""
    prepare(scenario, root)
    sound = {str(path): path.read_bytes() for path in (root / "in").rglob("*") if path.is_file()}
    code, words = run(root, scenario.command, moment)
    if code != KILLED:
        return False, [f"ended with {code}: {words}"] if code else []
    complaints = fine(root)
    code, words = run(root, (*scenario.command, "--resume"))
    if code:
        complaints.append(f"--resume ended with {code}: {words.strip()}")
    elif results(root) != expected:
        names = {
            name for name in expected.keys() | results(root).keys() if results(root).get(name) != expected.get(name)
        }
        complaints.append(f"--resume gave other results: {', '.join(sorted(names))}")
    left = [path.name for path in (root / "out").rglob(".*") if ".tmp" in path.name or path.name.endswith(".lock")]
    complaints += [f"left behind: {name}" for name in left if not code]
    return True, complaints + touched(scenario, root, sound)


def trial(name: str, scratch: Path, every: int = 1, part: int = 0) -> tuple[int, list[str]]:
    """Number of kills tried, and all complaints about them; ``every``-th moment, from ``part`` on."""
    scenario = SCENARIOS[name]
    prepare(scenario, scratch / "undisturbed")
    code, words = run(scratch / "undisturbed", scenario.command)
    if code:
        return 0, [f"undisturbed, ended with {code}: {words}"]
    expected = results(scratch / "undisturbed")
    complaints: list[str] = []
    for number in count():
        moment = part + number * every
        root = scratch / f"kill{moment}"
        killed, wrong = after_kill(scenario, root, moment, expected)
        complaints += [f"{name}, kill {moment}: {line}" for line in wrong]
        shutil.rmtree(root)
        if not killed:
            return number, complaints
    raise AssertionError


def main() -> None:
    """Print ``{"kills": number, "complaints": lines}``."""
    import torch  # noqa: F401  # once, for all children

    import braincli.api  # noqa: F401

    name, every, part = sys.argv[1], int((sys.argv[2:3] or ["1"])[0]), int((sys.argv[3:4] or ["0"])[0])
    with tempfile.TemporaryDirectory() as scratch:
        kills, complaints = trial(name, Path(scratch), every, part)
    print(json.dumps({"kills": kills, "complaints": complaints}))


if __name__ == "__main__":
    main()
