"""What came of a cohort's cases, from what its parts left: every way in which a part can end."""

from __future__ import annotations

import csv
import json
import os
import time
from pathlib import Path

import pytest
from items import Listener
from standins import standin

from braincli.errors import InputError, UsageError
from braincli.runtime import fates
from braincli.runtime.rounds import Round, new_folder, refuse_going, rounds

PARTS = (("a", "d"), ("b", "e"), ("c",))
FORGOTTEN = "echo 'Invalid job id specified' >&2; exit 1"


class Words(Listener):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(autouse=True)
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SLURM that gives numbers to jobs, and has forgotten them all."""
    count = 'n=$(cat "$0.n" 2>/dev/null || echo 11); n=$((n+1)); echo $n > "$0.n"; echo $n'
    standin(monkeypatch, tmp_path, sbatch=count, squeue=FORGOTTEN, sacct="exit 1")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def send(out: Path, *submitted: int, fresh: bool = True, parts: tuple[tuple[str, ...], ...] = PARTS) -> Round:
    return Round(
        new_folder(out), "detect", ("in", "-o", "out"), out.parent, out, parts, submitted, fresh=fresh
    ).submit()  # fmt: skip


def left(each: Round, part: int, code: int | None, *rows: dict[str, object], log: str = "") -> None:
    """What the task of a part leaves."""
    if code is not None:
        (each.folder / f"part-{part}.exit").write_text(f"{code}\n")
    (each.folder / f"part-{part}.json").write_text(json.dumps({"model": "m", "cases": rows}) if rows else "")
    each.log(part).write_text(log)


def record(out: Path, case: str, age: float = 0.0, **content: object) -> None:
    path = out / case / "deep" / f"{case}_record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"command": "detect", "status": "done", "case": case, **content}))
    os.utime(path, times=(time.time() - age,) * 2)


def status(found: list[fates.Fate]) -> dict[str, str]:
    return {fate.case: fate.status for fate in found}


DONE = {"status": "done", "error": "", "seconds": 2.5}


def test_outcomes_that_the_parts_left(out: Path) -> None:
    each = send(out, 0, 1, 2)
    bad = {"case": "d", "status": "failed", "error": "d.nii is\ntruncated.", "exit_code": 3, "seconds": 1.0}
    left(each, 0, 6, {"case": "a", **DONE}, bad)
    left(each, 1, 0, {"case": "b", **DONE}, {"case": "e", **DONE})
    left(each, 2, 0, {"case": "c", **DONE})
    found = fates.fates(rounds(out))
    assert [fate.case for fate in found] == ["a", "b", "c", "d", "e"]
    assert status(found) == {"a": "done", "b": "done", "c": "done", "d": "failed", "e": "done"}
    assert (found[3].exit_code, found[3].task, found[3].part, found[0].seconds) == (3, "12_0", 0, 2.5)
    assert fates.told(found) == (
        "4 done, 1 failed\npart 0, task 12_0, code/slurm/round-1/part-0.log:\n  d  failed: d.nii is truncated."
    )
    error = fates.failure(found, out)
    assert error is not None and error.exit_code == 6
    assert error.message == "Not done: 1 of 5 cases: 1 failed (d)." and f"slurm resume {out}" in error.hint
    with fates.write_table(out, found).open() as lines:
        table = {line["case"]: line for line in csv.DictReader(lines, dialect="excel-tab")}
    assert table["d"]["error"] == "d.nii is truncated." and table["a"]["error"] == "n/a" and len(table) == 5


@pytest.mark.parametrize(
    ("queue", "code", "log", "says"),
    [
        (FORGOTTEN, None, "", "SLURM knows no more of it"),
        ("echo '0|NODE_FAIL|n2|None'", None, "", "NODE_FAIL on n2"),
        ("echo '0|TIMEOUT|n1|TimeLimit'", 143, "x\nslurmstepd: error: *** JOB 3 CANCELLED DUE TO TIME LIMIT ***\ny\n",
         "TIMEOUT on n1, ended by SIGTERM: slurmstepd: error: *** JOB 3 CANCELLED DUE TO TIME LIMIT ***"),
        ("echo '0|FAILED|n1|NonZeroExitCode'", 137, "restoring\n", "ended by SIGKILL (out of memory?): restoring"),
        ("echo '0|FAILED|n1|NonZeroExitCode'", 4, "error: No model x.\n  See models.\n",
         "ended with 4 (model or weights): error: No model x."),
    ],
)  # fmt: skip
def test_a_part_that_left_no_outcome_is_lost_but_for_the_cases_it_had_completed(
    queue: str, code: int | None, log: str, says: str, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(out, "d", age=3600)  # of a run before this submission, perhaps with other options
    each = send(out, 0)
    record(out, "a")
    standin(monkeypatch, tmp_path, squeue=queue)
    left(each, 0, code, log=log)
    found = {fate.case: fate for fate in fates.fates(rounds(out)) if fate.part == 0}
    assert (found["a"].status, found["d"].status) == ("done", "lost") and found["d"].exit_code == code
    assert found["d"].error == f"The part was lost: {says}"


def test_records_of_others_and_of_cases_that_failed_count_for_nothing(out: Path) -> None:
    send(out, 0)
    record(out, "a", command="preprocess")
    record(out, "d", status="failed")
    (out / "junk_record.json").write_text("{")
    assert status(fates.fates(rounds(out)))["a"] == status(fates.fates(rounds(out)))["d"] == "lost"


def test_parts_that_are_at_work(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each = send(out, 0, 1, 2)
    standin(monkeypatch, tmp_path, squeue=r"printf '0|RUNNING|n1|None\n1|PENDING||Priority\n2|PENDING||BeginTime\n'")
    record(out, "a")
    left(each, 2, 143)  # of an attempt that was preempted: it waits again
    found = fates.fates(rounds(out))
    assert status(found) == {"a": "done", "b": "pending", "c": "pending", "d": "running", "e": "pending"}
    error = fates.failure(found, out)
    assert error is not None and error.hint == "Add --wait."
    with pytest.raises(UsageError, match="Job 12 is still at work on out"):
        refuse_going(out)


def test_later_rounds_go_over_earlier_ones(out: Path) -> None:
    first = send(out, 0, 1, 2)
    left(first, 0, 0, {"case": "a", **DONE}, {"case": "d", **DONE})
    left(first, 1, 6, {"case": "b", **DONE}, {"case": "e", "error": "bad", "exit_code": 3})
    second = send(out, 1, 2, fresh=False)
    left(second, 1, None)  # killed: b remains done, e is lost now
    left(second, 2, 0, {"case": "c", **DONE})
    found = fates.fates(rounds(out))
    assert status(found) == {"a": "done", "b": "done", "c": "done", "d": "done", "e": "lost"}
    third = send(out, 0, fresh=False, parts=(("a", "b", "c", "d", "f"),))  # e is gone, f is new, one part in all
    left(third, 0, 0, *({"case": case, **DONE} for case in "abcd"))
    found = fates.fates(rounds(out))
    assert status(found) == {"a": "done", "b": "done", "c": "done", "d": "done", "f": "lost"}
    assert [fate.task for fate in found] == ["12_0", "12_1", "13_2", "12_0", "14_0"], "who did it, not who skipped it"
    assert found[-1].error == "It was no longer in the cohort."
    fourth = send(out, 0, fresh=True)
    assert [each.folder.name for each in rounds(out)] == ["round-4"], "a new submission begins anew"
    assert status(fates.fates(rounds(out)))["a"] == "lost" and fourth.job == "15"


def test_what_slurm_has_forgotten_is_remembered(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each = send(out, 0, 1)
    standin(monkeypatch, tmp_path, squeue=r"printf '0|NODE_FAIL|n2|None\n1|RUNNING|n1|None\n'")
    each.states()
    standin(monkeypatch, tmp_path, squeue=FORGOTTEN)
    assert {part: state.word for part, state in each.states().items()} == {0: "NODE_FAIL"}


def test_waiting_outlasts_a_controller_that_restarts(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each, words = send(out, 0, 1), Words()
    monkeypatch.setattr(fates, "FIRST_PAUSE_S", 0.01)
    answers = [
        r"printf '0|RUNNING|n1|None\n1|PENDING||Priority\n'", "echo 'Unable to contact' >&2; exit 1",
        r"printf '0|COMPLETED|n1|None\n1|RUNNING|n1|None\n'", r"printf '0|COMPLETED|n1|None\n1|TIMEOUT|n1|TimeLimit\n'",
    ]  # fmt: skip
    for number, answer in enumerate(answers, 1):
        (tmp_path / f"answer{number}").write_text(answer)
    step = f"n=$(cat {tmp_path}/n 2>/dev/null || echo 0); n=$((n+1)); echo $n > {tmp_path}/n; . {tmp_path}/answer$n"
    standin(monkeypatch, tmp_path, squeue=step)
    left(each, 0, 0, {"case": "a", **DONE}, {"case": "d", **DONE})
    fates.wait(each, words)
    assert words.said == [
        "job 12: 0 of 2 parts ended, 1 running, 1 waiting (Priority)", "SLURM does not answer: Unable to contact.",
        "job 12: 1 of 2 parts ended, 1 running, 0 waiting", 
    ]  # fmt: skip


def test_a_refused_submission_leaves_nothing(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standin(monkeypatch, tmp_path, sbatch="echo 'sbatch: error: no' >&2; exit 1")
    with pytest.raises(UsageError, match="refused"):
        send(out, 0)
    assert not list(out.rglob("*round*"))


def test_folders_without_a_submission(out: Path, tmp_path: Path) -> None:
    refuse_going(out)
    with pytest.raises(UsageError, match="Nothing was submitted for out"):
        rounds(out)
    each = send(out, 0)
    moved = out.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="was submitted as"):
        rounds(moved)
    refuse_going(moved)
    moved.rename(out)
    (each.folder / "round.json").write_text("{}")
    with pytest.raises(InputError, match=r"round-1/round\.json cannot be read"):
        rounds(out)
    refuse_going(out)  # nothing that is damaged or was moved stands in the way of a new submission
    (new_folder(out)).mkdir()
    assert send(out, 0).folder.name == "round-3" and len(rounds(out)) == 1


def test_many_cases_are_counted_not_listed(out: Path) -> None:
    send(out, 0, parts=(tuple(f"c{number:03}" for number in range(30)),))
    error = fates.failure(fates.fates(rounds(out)), out)
    assert error is not None and "c019 and 10 more, see code/slurm/outcomes.tsv" in error.message
