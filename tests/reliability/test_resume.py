"""``detect --resume`` and ``preprocess --resume`` after every kind of change: only the truly same is skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import phantoms
import pytest

from reliability.shell import GRID, PREPARED, SHAPE, Ended, braincli, contents

pytestmark = pytest.mark.slow  # processes of their own, minutes in all


@pytest.fixture(scope="module", params=["detect", "preprocess"])
def first(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, models: Path) -> tuple[str, Path]:
    """A command and the folder in which it ran once."""
    root = tmp_path_factory.mktemp("first")
    phantoms.write_case(root / "a", "a", ("t2", "flair"), shape=SHAPE, matrix=GRID)
    ended = run(request.param, root, models)
    assert ended.code == 0, ended.words
    return request.param, root


def run(command: str, root: Path, models: Path, *more: str) -> Ended:
    options = {"detect": ("-m", "threshold", "--no-figure", "--no-report", "--anomaly-map"), "preprocess": PREPARED}[
        command
    ]
    options += () if "--threads" in more else ("--threads", "1")
    return braincli(command, root / "a", "-o", root / "out", *options, "--json", *more, models=models)


def status(ended: Ended) -> str:
    cases = ended.report["cases"] if isinstance(ended.report, dict) else ended.report
    return cases[0].get("status") or ("skipped" if cases[0]["resumed"] else "done")


def swap_inputs(root: Path) -> None:
    flair, t2 = root / "a" / "a_flair.nii.gz", root / "a" / "a_t2.nii.gz"
    one, other = flair.read_bytes(), t2.read_bytes()
    flair.write_bytes(other)
    t2.write_bytes(one)


def change_one_byte(root: Path) -> None:
    path = root / "a" / "a_flair.nii.gz"
    content = bytearray(phantoms.unpacked(path))
    content[-len(content) // 2] ^= 1
    phantoms.pack(path, bytes(content))


def damage_output(root: Path) -> None:
    path = next(path for path in sorted((root / "out").rglob("*.nii.gz")) if "lesion" not in path.name)
    path.write_bytes(path.read_bytes()[:-30])


def lose_output(root: Path) -> None:
    sorted((root / "out").rglob("*.nii.gz"))[0].unlink()


def record(root: Path) -> Path:
    return next(path for path in sorted((root / "out").rglob("*.json")) if "record" in path.name)


def damage_record(root: Path) -> None:
    record(root).write_text('{"outputs": 3')


CHANGES: dict[str, Callable[[Path], None]] = {
    "inputs swapped": swap_inputs, "one byte of an input": change_one_byte, "output damaged": damage_output,
    "output lost": lose_output,
}  # fmt: skip


def test_unchanged_is_skipped(first: tuple[str, Path], tmp_path: Path, models: Path) -> None:
    command, source = first
    root = shutil.copytree(source, tmp_path / "again")
    before = contents(root / "out")
    ended = run(command, root, models, "--resume")
    assert (ended.code, status(ended)) == (0, "skipped") and contents(root / "out") == before


@pytest.mark.parametrize("change", CHANGES)
def test_changed_is_never_skipped(change: str, first: tuple[str, Path], tmp_path: Path, models: Path) -> None:
    command, source = first
    root = shutil.copytree(source, tmp_path / "resumed")
    CHANGES[change](root)
    before = contents(root / "out")
    ended = run(command, root, models, "--resume")
    if ended.code:  # a refusal is as good as doing it anew, if it names the way out and leaves everything as it was
        assert ended.code in (2, 3) and "--overwrite" in ended.words, ended.words
        assert contents(root / "out") == before
        ended = run(command, root, models, "--overwrite")
    assert (ended.code, status(ended)) == (0, "done"), ended.words
    afresh = tmp_path / "afresh"
    shutil.copytree(root / "a", afresh / "a")
    assert run(command, afresh, models).code == 0
    assert contents(root / "out") == contents(afresh / "out")


def test_another_option_is_never_skipped(first: tuple[str, Path], tmp_path: Path, models: Path) -> None:
    command, source = first
    root = shutil.copytree(source, tmp_path / "resumed")
    option = ("--threshold", "0.5") if command == "detect" else ("--skip", "normalise")
    ended = run(command, root, models, "--resume", *option)
    assert "--overwrite" in ended.words if ended.code else status(ended) == "done", ended.words


def test_other_threads_are_another_run_where_they_may_change_the_map(
    first: tuple[str, Path], tmp_path: Path, models: Path
) -> None:
    """preprocess computes every image on one thread; a network's sums depend on how many there are."""
    command, source = first
    root = shutil.copytree(source, tmp_path / "resumed")
    before = contents(root / "out")
    ended = run(command, root, models, "--resume", "--threads", "2")
    if command == "detect":
        assert ended.code == 2 and "--overwrite" in ended.words, ended.words
    else:
        assert (ended.code, status(ended)) == (0, "skipped"), ended.words
    assert contents(root / "out") == before


@pytest.mark.parametrize("lost", [False, True])
def test_without_a_sound_record_nothing_is_overwritten_unasked(
    lost: bool, first: tuple[str, Path], tmp_path: Path, models: Path
) -> None:
    """Whose files these are cannot be told any more: refused, naming --overwrite; never a traceback, never a skip."""
    command, source = first
    root = shutil.copytree(source, tmp_path / "resumed")
    if lost:
        record(root).unlink()
    else:
        damage_record(root)
    before = contents(root / "out")
    ended = run(command, root, models, "--resume")
    assert ended.code in (0, 2, 3, 6)
    if ended.code:
        assert "--overwrite" in ended.words and contents(root / "out") == before
    else:
        assert status(ended) == "done" and contents(root / "out") == before
