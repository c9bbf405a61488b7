"""A cohort on a real SLURM: an array of parts of which one is killed and one loses its node, and what is missing again.

The daemons are started here, see ``cluster.py``; nothing of the machine's own SLURM is used.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster
import pytest
from phantoms import affine, write_case
from tinymodels import write_models
from typer.testing import CliRunner, Result

from braincli.cli import app
from braincli.imaging.cases import find_cases

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(cluster.missing()), reason=cluster.missing() or "SLURM is there"),
]

ROOT = Path(__file__).resolve().parents[2]
SHAPE, GRID = (24, 28, 12), affine("LPS", (5.0, 5.0, 6.0))
CASES = ("a", "b", "c", "d", "q")
DETECT = ["-m", "threshold", "--no-figure", "--threads", "1"]


@pytest.fixture(scope="module")
def running() -> Iterator[cluster.Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # pytest's own is too long for a socket
    try:
        with cluster.cluster(folder) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases and a damaged one, ``q``; in parts of three: a and d, b and q, c."""
    root = tmp_path_factory.mktemp("place")
    write_models(root / "models")
    for name in CASES:
        case = write_case(root / "in" / name, name, ["flair"], shape=SHAPE, matrix=GRID)
    (case / "q_flair.nii.gz").write_bytes(b"no scan")
    return root


@pytest.fixture(autouse=True)
def environment(running: cluster.Cluster, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BRAINCLI_MODELS", str(place / "models"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(place)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["slurm", *map(str, words)])


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / "code" / "slurm" / "outcomes.tsv").open() as lines:
        return {line["case"]: line for line in csv.DictReader(lines, dialect="excel-tab")}


def stuck(trouble: Path, part: int) -> str:
    """A shell line with which a part comes no further while ``trouble`` is there; it tells its node and processes."""
    told = f"echo $SLURMD_NODENAME $$ $PPID > {trouble}.new && mv {trouble}.new {trouble}.told"
    return f'[ -e {trouble} ] && [ "$SLURM_ARRAY_TASK_ID" = {part} ] && {told} && exec sleep 600'


def lose_node(running: cluster.Cluster, trouble: Path, node: list[str]) -> None:
    """Let the node of the part that is stuck die, as soon as there is one; ``node`` then holds its name."""
    told, end = trouble.with_name(f"{trouble.name}.told"), time.monotonic() + 300
    while not told.exists():
        assert time.monotonic() < end, "the part does not run"
        time.sleep(0.1)
    name, *pids = told.read_text().split()
    node.append(name)
    trouble.unlink()
    running.lose(name, *map(int, pids))


def test_a_killed_part_and_a_lost_node_are_named_and_made_good(
    running: cluster.Cluster, place: Path, tmp_path: Path
) -> None:
    out, trouble = tmp_path / "out", tmp_path / "trouble"
    trouble.touch()
    killed = f'[ -e {out}/code/slurm/round-2 ] || [ "$SLURM_ARRAY_TASK_ID" != 0 ] || kill -9 $$'
    node: list[str] = []
    power = threading.Thread(target=lose_node, args=(running, trouble, node))
    power.start()
    result = run(
        "detect", "in", "-o", out, *DETECT, "--array", "3", "--cpus", "2", "--mem", "1500M", "--wait",
        "--setup", killed, "--setup", stuck(trouble, 2), "--sbatch-extra=--no-requeue",
    )  # fmt: skip
    power.join()
    assert node and result.exit_code == 6, result.output
    assert "Not done: 4 of 5 cases: 1 failed (q); 3 lost (a, c, d)." in result.stderr
    assert f"  c  lost: The part was lost: NODE_FAIL on {node[0]}" in result.stdout
    assert "  a  lost: The part was lost: FAILED on n" in result.stdout
    assert "part 1, task 1_1, code/slurm/round-1/part-1.log:\n  q  failed: " in result.stdout
    lines = table(out)
    assert {case: line["status"] for case, line in lines.items()} == {
        "a": "lost", "b": "done", "c": "lost", "d": "lost", "q": "failed",
    }  # fmt: skip
    assert lines["q"]["exit_code"] == "3" and float(lines["b"]["seconds"]) > 0
    page = (out / "cohort.tsv").read_text()
    assert "c\tfailed" in page and "NODE_FAIL" in page and "b\tdone" in page

    asked = run("status", out, "--json")
    assert asked.exit_code == 6 and [row["status"] for row in json.loads(asked.stdout)].count("lost") == 3

    running.up(node[0])
    again = run("resume", out, "--wait", "--json")
    assert again.exit_code == 6 and "Not done: 1 of 5 cases: 1 failed (q)." in again.stderr, again.output
    assert [row["status"] for row in json.loads(again.stdout)] == ["done"] * 4 + ["failed"]
    assert "#SBATCH --array=0-2\n" in (out / "code" / "slurm" / "round-2" / "array.sh").read_text()

    write_case(place / "in" / "q", "q", ["flair"], shape=SHAPE, matrix=GRID)  # mended
    last = run("resume", out, "--wait", "-q")
    assert last.exit_code == 0 and last.stdout == "5 done\n", last.output
    script = (out / "code" / "slurm" / "round-3" / "array.sh").read_text()
    assert "#SBATCH --array=1\n" in script and "#SBATCH --mem=1500M\n" in script, "only the part that misses a case"
    assert {line["status"] for line in table(out).values()} == {"done"}
    assert "failed" not in (out / "cohort.tsv").read_text() and "q/q_report.html" in (out / "index.html").read_text()
    assert run("resume", out).exit_code == 0 and not (out / "code" / "slurm" / "round-4").exists()
    # the same, to the bit, as from one process
    alone = CliRunner().invoke(app, ["detect", "in", "-o", str(tmp_path / "alone"), *DETECT, "-q"])
    assert alone.exit_code == 0
    for case in CASES:
        name = Path(case, f"{case}_mask.nii.gz")
        assert (out / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_preprocess_and_a_node_that_comes_back(running: cluster.Cluster, place: Path, tmp_path: Path) -> None:
    """SLURM itself sends a part whose node went down to another one; it goes on there, and nothing is lost."""
    out, trouble = tmp_path / "out", tmp_path / "trouble"
    trouble.touch()
    node: list[str] = []
    sent = run(
        "preprocess", "in/a", "in/b", "-o", out, "--already-stripped", "--space", "native", "--skip", "n4",
        "--threads", "1", "--array", "5%2", "--setup", stuck(trouble, 1), "--json",
    )  # fmt: skip
    assert sent.exit_code == 0, sent.output
    content: dict[str, Any] = json.loads(sent.stdout)
    assert (content["parts"], content["cases"]) == ([0, 1], 2) and "2 parts: there are no more cases." in sent.stderr
    going = run("status", out)
    assert going.exit_code == 0 and re.search(r"\d (running|pending)", going.stdout), going.output
    assert "lost" not in going.stdout and "failed" not in going.stdout
    assert "is still at work on out" in run("resume", out).stderr
    early = run("gather", out)
    assert early.exit_code == 6 and "Add --wait." in early.stderr
    lose_node(running, trouble, node)
    try:
        done = run("gather", out, "--wait")
    finally:
        running.up(node[0])
    assert done.exit_code == 0 and done.stdout == "2 done\n", done.output
    assert [case.id for case in find_cases(out)] == ["sub-a", "sub-b"], "what the parts left is no case"


def test_what_the_cluster_refuses_is_said_and_leaves_nothing(place: Path, tmp_path: Path) -> None:
    result = run("detect", "in", "-o", tmp_path / "out", *DETECT, "--array", "2", "--partition", "nowhere")
    assert result.exit_code == 2 and "sbatch refused the job: " in result.stderr and "partition" in result.stderr
    assert not list(tmp_path.rglob("*round*"))
