"""Several processes for a cohort: the same outcomes in the same order, and a lost process costs one case."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import labour
import pytest
from labour import Item, Labour

from braincli.errors import InputError, InternalError, ResourceError, UsageError
from braincli.runtime import cohort, device, logs
from braincli.runtime.cohort import Jobs, Outcome, each, part
from braincli.runtime.progress import Reporter, Step

SMALL = 0.1  # GB, of one process


class Listener(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.words: list[str] = []
        self.steps: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def say(self, text: str) -> None:
        self.words.append(text)

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        self.steps.append(f"{name} {total}")
        yield Step()
        self.steps.append(f"{name} ended")


def run(ids: str, jobs: int, folder: Path, need_gb: float = SMALL) -> tuple[list[Outcome[tuple]], Listener]:  # type: ignore[type-arg]
    listener = Listener()
    items = [Item(id, InputError("two files") if id == "odd" else None) for id in ids.split()]
    return each(items, Labour(folder, listener), listener, jobs=Jobs(jobs, need_gb)), listener


def test_outcomes_are_the_same_and_in_order_whatever_the_number_of_processes(tmp_path: Path) -> None:
    ids = "slow a bad bug big odd z"
    (one, _), (two, said) = (run(ids, jobs, tmp_path) for jobs in (1, 2))
    assert [outcome.id for outcome in two] == ids.split()
    assert [outcome.result and outcome.result[0] for outcome in two] == ["slow", "a", None, None, None, None, "z"]
    assert [repr(outcome.error) for outcome in two] == [repr(outcome.error) for outcome in one]
    assert two[2].error and (two[2].error.message, two[2].error.hint) == ("bad.nii is\ntruncated.", "Copy it again.")
    assert sorted(said.warnings)[:2] == ["bad failed: bad.nii is truncated.", "big failed: Out of memory."]
    own = {outcome.result[1] for outcome in one if outcome.result}
    others = {outcome.result[1] for outcome in two if outcome.result}
    assert own == {os.getpid()} and len(others) == 2 and not others & own
    seen: dict[int, int] = {}
    for outcome in two:  # one copy of the work per process, kept from case to case
        if outcome.result:
            seen[outcome.result[1]] = max(seen.get(outcome.result[1], 0), outcome.result[2])
    assert sum(seen.values()) >= 5


def test_threads_are_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, _ = run("a b", 2, tmp_path)
    assert {outcome.result[3] for outcome in outcomes if outcome.result} == {max(1, device.available_threads() // 2)}
    monkeypatch.setattr(device, "_sharers", 10**6)
    assert device.available_threads() == 1


def test_progress_and_warnings_reach_the_parent(tmp_path: Path) -> None:
    _, said = run("warn-1 warn-2 slow", 2, tmp_path)
    assert sorted(said.warnings) == ["warn-1: odd.", "warn-2: odd."]
    assert said.words == ["holds for all"]  # once, not once per process
    assert {"cases 3", "warn-1: thinking 2", "warn-1: thinking ended", "slow: thinking 2"} <= set(said.steps)


def test_a_lost_process_costs_its_case_and_no_other(tmp_path: Path) -> None:
    outcomes, said = run("a kill b crash-1 c exit crash-2 d", 2, tmp_path)
    errors = {outcome.id: outcome.error for outcome in outcomes if outcome.error}
    assert [outcome.id for outcome in outcomes if outcome.result] == ["a", "b", "c", "d"]
    killed = errors.pop("kill")
    assert isinstance(killed, ResourceError) and killed.message == "A worker was killed; out of memory?"
    assert "--resume" in killed.hint and "kill failed: A worker was killed; out of memory?" in said.warnings
    assert {id: (type(error), error.message) for id, error in errors.items() if error} == {
        "crash-1": (InternalError, "A worker crashed (SIGSEGV)."),
        "crash-2": (InternalError, "A worker crashed (SIGSEGV)."),
        "exit": (InternalError, "A worker crashed (exit code 3)."),
    }


@pytest.mark.parametrize(("ids", "jobs"), [("a", 4), ("", 4), ("a b", 1)])
def test_no_process_where_none_is_needed(ids: str, jobs: int, tmp_path: Path) -> None:
    outcomes, _ = run(ids, jobs, tmp_path)
    assert {outcome.result[1] for outcome in outcomes if outcome.result} <= {os.getpid()}


def test_never_more_than_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "available_memory_gb", lambda: 5.0)
    assert Jobs(4, 2.0).fitting(9, 5.0, listener := Listener()) == 2
    assert listener.words == ["2 of 4 jobs: memory (5.0 GB available, 2.0 GB for each)."]
    assert Jobs(4, 2.0).fitting(2, 5.0, Reporter()) == 2 and Jobs(2, 9.0).fitting(5, 5.0, Reporter()) == 1
    outcomes, said = run("a b", 2, tmp_path, need_gb=4.0)
    assert {outcome.result[1] for outcome in outcomes if outcome.result} == {os.getpid()}
    assert said.words == ["1 of 2 jobs: memory (5.0 GB available, 4.0 GB for each)."]


def test_where_cases_take_more_than_was_thought_fewer_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "available_memory_gb", lambda: 0.8)
    outcomes, said = run("hungry-1 hungry-2 a b c d", 2, tmp_path)
    assert all(outcome.result for outcome in outcomes)
    assert [text for text in said.words if text.startswith("1 of 2 jobs go on: memory (0.")]
    assert len({outcome.result[1] for outcome in outcomes[2:] if outcome.result}) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}
    command = [sys.executable, labour.__file__, str(tmp_path)]
    process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    children = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    assert len(children) == 2
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)  # a terminal tells all
    _, said = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else 143) and said == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long-1.pid", "long-2.pid"]
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "from pathlib import Path\nfrom labour import Item, Labour\nfrom braincli.errors import UsageError\n"
        "from braincli.runtime.cohort import Jobs, each\n"
        "try:\n    each([Item('a'), Item('b')], (w := Labour(Path())), w.reporter, jobs=Jobs(2, 0.1))\n"
        "except UsageError as error:\n    print(error)\n"
    )
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=60)
    assert "processes for --jobs did not start" in done.stdout and "__main__" in done.stdout, done.stderr


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 8, 20])
def test_parts_are_disjoint_and_together_hold_every_case(parts: int) -> None:
    cases = [Item(f"c{number}") for number in (7, 3, 11, 1, 5, 2, 9, 8)]
    chosen = [[case.id for case in part(cases, number, parts, Reporter())] for number in range(parts)]
    assert sorted(id for ids in chosen for id in ids) == sorted(case.id for case in cases)
    assert max(map(len, chosen)) - min(map(len, chosen)) <= 1
    assert chosen == [[case.id for case in part(cases[::-1], number, parts, Reporter())] for number in range(parts)]


def test_a_part_says_what_it_is() -> None:
    cases, listener = [Item(str(number)) for number in range(296)], Listener()
    assert part(cases, None, None, listener) == cases
    part(cases, 2, 8, listener)
    assert part(cases[:3], 7, 8, listener) == []
    assert listener.words == ["part 2 of 8: 37 of 296 cases", "part 7 of 8: 0 of 3 cases; nothing to do"]


@pytest.mark.parametrize(
    ("number", "parts", "says"),
    [(8, 8, "--part-id: 8 is not below --num-parts 8"), (1, None, "belong together"), (None, 4, "belong together")],
)
def test_parts_that_do_not_exist(number: int | None, parts: int | None, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        part([Item("a")], number, parts, Reporter())


def test_the_stream_gives_what_is_there_and_ends_the_rest(tmp_path: Path) -> None:
    items = [Item(id) for id in ("a", "slow-1", "slow-2", "slow-3")]
    stream = cohort.stream(items, Labour(tmp_path), Reporter(), jobs=Jobs(2, SMALL))
    first = next(stream)
    assert first.id == "a"
    stream.close()  # type: ignore[attr-defined]
    assert first.result
    with pytest.raises(ProcessLookupError):
        os.kill(first.result[1], 0)


def test_what_libraries_log_in_the_processes_reaches_the_log(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    with logs.listening(log):
        run("log-1 log-2", 2, tmp_path)
    text = log.read_text()
    for item in ("log-1", "log-2"):
        assert f"INFO somebody: working on {item}\n" in text
        assert re.search(rf"WARNING py.warnings: .*UserWarning: {item} is deprecated", text)
    run("log-3 log-4", 2, tmp_path)
    assert log.read_text() == text, "nobody listens any more"
