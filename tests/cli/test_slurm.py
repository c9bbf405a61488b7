"""braincli slurm up to the point where a cluster comes in: options, the script, and what is refused before it is sent.

The whole way, on a SLURM that runs, is in ``test_slurm_cluster.py``.
"""

from __future__ import annotations

import json
import shlex
from inspect import signature
from pathlib import Path

import pytest
from phantoms import affine, write_case
from standins import standin
from typer.testing import CliRunner, Result

from braincli.cli import app, detect, preprocess, slurm

SHAPE, GRID = (12, 14, 8), affine("LPS", (8.0, 8.0, 8.0))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three cases, in a folder whose name holds what shells make something of."""
    root = tmp_path / "it's $here"
    for name in ("a", "b", "c c"):
        write_case(root / "in" / name, name.replace(" ", ""), ["flair"], shape=SHAPE, matrix=GRID)
    monkeypatch.setenv("BRAINCLI_MODELS", str(models))
    monkeypatch.delenv("BRAINCLI_NUM_THREADS", raising=False)
    monkeypatch.delenv("BRAINCLI_DEVICE", raising=False)
    monkeypatch.chdir(root)
    return root


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["slurm", *map(str, words)])


def call(script: str) -> list[str]:
    """The words of the command in a script, up to its part."""
    line = next(line for line in script.splitlines() if " -m braincli " in line)
    return shlex.split(line.removesuffix("\\"))[3:]


@pytest.mark.parametrize(("verb", "module"), [("detect", detect), ("preprocess", preprocess)])
def test_all_options_but_those_of_parts_are_there(verb: str, module: object) -> None:
    commands = {command.name: command for command in slurm.app.registered_commands}
    assert set(commands) == {"detect", "preprocess", "resume", "status", "gather"}
    given = set(signature(commands[verb].callback).parameters)  # type: ignore[arg-type]
    own = set(signature(module.command).parameters)  # type: ignore[attr-defined]
    assert own - given == {"part_id", "num_parts"}


def test_a_dry_run_prints_the_script_and_writes_nothing(place: Path) -> None:
    result = run(
        "detect", "in/a", "in/c c", "-o", "out", "-m", "threshold", "--no-figure", "--restored", "--threshold", "0.5",
        "--jobs", "2", "--array", "8%2", "--partition", "short", "--cpus", "4", "--gpus", "1", "--dry-run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "2 parts: there are no more cases." in result.stderr
    assert call(result.stdout) == [
        "detect", "in/a", "in/c c", "--output", "out", "--model", "threshold", "--threshold", "0.5",
        "--restored", "--no-figure", "--jobs", "2", "--resume",
    ]  # fmt: skip
    assert "#SBATCH --array=0-1%2\n" in result.stdout and "#SBATCH --gpus=1\n" in result.stdout
    assert f"\ncd {shlex.quote(str(place))} || exit 2\n" in result.stdout
    assert sorted(path.name for path in place.iterdir()) == ["in"]


def test_pairs_lists_and_paths_reach_the_script() -> None:
    result = run(
        "preprocess", "in", "-o", "-out", "--skip", "n4", "--skip", "atlas", "--percentiles", "2", "98", "--resume",
        "--array", "3", "--dry-run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert call(result.stdout) == [
        "preprocess", "in", "--output", "-out", "--skip", "n4", "--skip", "atlas", "--percentiles", "2", "98",
        "--resume",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--array", "0"], 2, "--array: 0 is no number of parts."),
        (["--array", "0-7"], 2, "--array: 0-7 is no number of parts."),
        (["--array", "2", "--threshold", "low"], 2, "--threshold: low is not a number."),
        (["--array", "2", "-m", "nobody"], 4, "nobody"),
        (["--array", "2", "--sbatch-extra", "qos"], 2, "--sbatch-extra: qos is no option."),
        (["--array", "2", "--samples", "3"], 2, "samples"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(
    words: list[str], code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin(monkeypatch, tmp_path, sbatch=f"touch {tmp_path}/sent; echo 1")
    result = run("detect", "in", "-o", "out", "-m", "threshold", *words)
    assert result.exit_code == code and says in result.stderr, result.output
    assert not (tmp_path / "sent").exists()


def test_an_output_is_needed_and_scans_to_read() -> None:
    assert "Where should the results go?" in run("detect", "in", "--array", "2").stderr
    assert run("detect", "nothing", "-o", "out", "--array", "2").exit_code == 3
    assert run("status", "out").exit_code == 2


def test_from_submission_to_resumption(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a SLURM that gives numbers and forgets; the parts leave what they would."""
    standin(monkeypatch, tmp_path, sbatch="echo 7", squeue="echo Invalid job id >&2; exit 1", sacct="exit 1")
    sent = run("preprocess", "in", "-o", "out", "--array", "2", "--mem", "4G", "--quiet", "--json")
    assert sent.exit_code == 0, sent.output
    assert json.loads(sent.stdout)["job"] == "7" and json.loads(sent.stdout)["cases"] == 3
    first = place / "out" / "code" / "slurm" / "round-1"
    (first / "part-0.exit").write_text("6")
    (first / "part-0.json").write_text(json.dumps([{"case": "a"}, {"case": "cc", "error": "bad", "exit_code": 3}]))
    (first / "part-1.exit").write_text("0")
    (first / "part-1.json").write_text(json.dumps([{"case": "b"}]))
    status = run("status", "out")
    assert status.exit_code == 6 and status.stdout.startswith("2 done, 1 failed\npart 0, task 7_0, "), status.output
    assert not (first.parent / "outcomes.tsv").exists()
    gathered = run("gather", "out", "--json")
    assert gathered.exit_code == 6 and [row["status"] for row in json.loads(gathered.stdout)] == [
        "done",
        "done",
        "failed",
    ]
    assert (first.parent / "outcomes.tsv").read_text().count("\n") == 4

    monkeypatch.chdir(tmp_path)  # resumed from anywhere
    again = run("resume", place / "out", "--mem", "8G", "--time", "1:00:00", "--dry-run")
    assert again.exit_code == 0, again.output
    assert "#SBATCH --array=0\n" in again.stdout and "#SBATCH --mem=8G\n" in again.stdout
    assert "--time=1:00:00" in again.stdout and call(again.stdout) == call((first / "array.sh").read_text())
    assert run("resume", place / "out", "-q").exit_code == 0
    plan = json.loads((first.with_name("round-2") / "round.json").read_text())
    assert plan["submitted"] == [0] and plan["resources"]["mem"] == "4G" and plan["parts"] == [["a", "cc"], ["b"]]

    write_case(place / "in" / "d", "d", ["flair"], shape=SHAPE, matrix=GRID)  # has come since
    assert run("resume", place / "out", "--array", "4", "-q").exit_code == 0
    plan = json.loads((first.with_name("round-3") / "round.json").read_text())
    assert plan["parts"] == [["a"], ["b"], ["cc"], ["d"]] and plan["submitted"] == [2, 3]
