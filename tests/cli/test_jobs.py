"""--jobs and parts by the shell command: the same files, tables and codes as one process gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from phantoms import affine, write_case
from tinymodels import write_models
from typer.testing import CliRunner, Result

from braincli.cli import app
from braincli.runtime.files import sha256

pytestmark = pytest.mark.slow  # processes of their own, minutes in all

SHAPE, GRID = (40, 48, 16), affine("LPS", (3.0, 3.0, 4.0))
DETECT = ["-m", "threshold", "--no-figure", "--no-report", "--threads", "1", "--anomaly-map"]
NATIVE = ["--already-stripped", "--space", "native", "--skip", "n4", "--threads", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases ``p1`` ... and a damaged one, ``q``."""
    root = tmp_path_factory.mktemp("place")
    write_models(root / "models")
    for name in ("p1", "p2", "p3", "q"):
        case = write_case(root / "in" / name, name, ["flair", "t1"], shape=SHAPE, matrix=GRID)
    (case / "q_flair.nii.gz").write_bytes(b"no scan")
    return root


@pytest.fixture(autouse=True)
def models(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINCLI_MODELS", str(place / "models"))


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file but the records, which tell times."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith("_record.json")]
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def table(command: str, result: Result) -> list[dict[str, Any]]:
    """What --json says of the cases."""
    content = json.loads(result.stdout)
    rows: list[dict[str, Any]] = content["cases"] if command == "detect" else content
    return rows


@pytest.mark.parametrize(("command", "options"), [("detect", DETECT), ("preprocess", NATIVE)])
def test_two_processes_write_what_one_writes(command: str, options: list[str], place: Path, tmp_path: Path) -> None:
    one, two = (run(command, place / "in", "-o", tmp_path / jobs, "--jobs", jobs, *options, "--json") for jobs in "12")
    assert (one.exit_code, two.exit_code) == (6, 6), two.output
    assert contents(tmp_path / "1") and contents(tmp_path / "1") == contents(tmp_path / "2")
    assert {path.name for path in tmp_path.rglob(".*")} <= {".bidsignore"}, "temporary and lock files"
    a, b = (table(command, result) for result in (one, two))
    assert [row | {"seconds": 0} for row in a] == [row | {"seconds": 0} for row in b]
    assert "q failed: " in two.stderr and "q_flair.nii.gz" in two.stderr
    assert "p1: " in two.stderr  # steps of workers bear the case's name
    resumed = run(command, place / "in", "-o", tmp_path / "2", *options, "--resume", "--json", "--jobs", "1")
    done = [row.get("status") == "skipped" or row.get("resumed", False) for row in table(command, resumed)]
    assert done == [True, True, True, False], "the number of jobs is no other run"


def test_score_gives_the_same_table_and_pooled_figures(place: Path, tmp_path: Path) -> None:
    assert run("detect", place / "in", "-o", tmp_path / "out", *DETECT, "-q").exit_code == 6
    for jobs in "12":
        words = ["score", tmp_path / "out", place / "in", "-o", tmp_path / jobs, "--jobs", jobs]
        result = run(*words, "--bootstrap", "0", "-q")
        assert result.exit_code == 6 and "q" in result.stderr, result.output
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    scores = json.loads((tmp_path / "2" / "scores.json").read_text())
    assert scores["pooled"]["best_mean_dsc_one_threshold"] > 0 and scores["failed"] == ["q"]


@pytest.mark.parametrize(("command", "options"), [("detect", DETECT), ("preprocess", NATIVE)])
def test_parts_make_up_the_whole(command: str, options: list[str], place: Path, tmp_path: Path) -> None:
    codes, said = [], ""
    for number in range(5):
        words = [command, place / "in", "-o", tmp_path / "out", "--part-id", number, "--num-parts", 5]
        result = run(*words, *options)
        codes.append(result.exit_code)
        said += result.stderr
    assert codes == [0, 0, 0, 6, 0]  # a part of a cohort is a cohort, also where it is one case
    assert "part 0 of 5: 1 of 4 cases" in said and "part 4 of 5: 0 of 4 cases; nothing to do" in said
    assert run(command, place / "in", "-o", tmp_path / "all", *options).exit_code == 6
    assert contents(tmp_path / "out") == contents(tmp_path / "all")
    result = run(command, place / "in", "-o", tmp_path / "all", "--part-id", 5, "--num-parts", 5)
    assert result.exit_code == 2 and "Parts are 0 to 4." in result.stderr
