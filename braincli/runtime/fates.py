"""What came of the cases of a cohort on a cluster: done, failed, or lost with a part that came to no end.

A case has come to what the last round says that had it. Where a part left no outcome (killed, its node gone, out of
time), the cases' own done-records tell which of them were complete before.
"""

from __future__ import annotations

import csv
import io
import json
import signal
import time
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from braincli.errors import EXIT_CODES, CohortError, ResourceError
from braincli.runtime import files
from braincli.runtime.progress import Reporter
from braincli.runtime.rounds import FOLDER, Round
from braincli.runtime.slurm import State
from braincli.wording import counted

TABLE = FOLDER / "outcomes.tsv"
NAMED = 20  # cases in one message
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
LATE_S = 60.0  # until a file that another machine wrote is seen here, whatever a network file system remembers
PATIENCE_S = 1800.0  # for a controller that is being restarted
ENDED = ("COMPLETED", "FAILED")  # by itself; any other last word of SLURM is a reason
LOG_END = 4096  # bytes


@dataclass(frozen=True)
class Fate:
    """What came of one case.

    Attributes:
        status: ``done``, ``failed``, ``lost`` (its part ended before it did), ``running`` or ``pending`` (its part).
        task: that had it last, as SLURM writes it: ``12_3``.
        exit_code, error: why it failed or was lost; the code is its own, or that of its part.
        log: of its part, below ``OUT/code/slurm``.
    """

    case: str
    status: str
    part: int
    task: str
    seconds: float | None = None
    exit_code: int | None = None
    error: str = ""
    log: str = ""

    @property
    def going(self) -> bool:
        """Whether more is to come."""
        return self.status in ("running", "pending")


COLUMNS = tuple(Fate.__dataclass_fields__)


def fates(rounds: Sequence[Round]) -> list[Fate]:
    """What came of every case of the last plan, in order of id; ``rounds`` as :func:`~braincli.runtime.rounds.rounds`
    gives them.

    Raises:
        ResourceError: SLURM does not answer.
    """
    last = rounds[-1]
    complete = _complete(last.output, last.verb, rounds[0].begun_at)
    known: dict[str, Fate] = {}
    for each in rounds:
        states = each.states() if each is last else each.seen()
        for part in each.submitted:
            for fate in _of_part(each, part, states.get(part), complete):
                before = known.get(fate.case)
                if before is None or before.status != "done" or fate.status == "failed":  # what is done stays so
                    known[fate.case] = fate
    planned = {case: part for part, cases in enumerate(last.parts) for case in cases}
    never = Fate("", "lost", 0, "", error="It was in no part that was submitted.")
    return [known.get(case) or replace(never, case=case, part=part) for case, part in sorted(planned.items())]


def _of_part(each: Round, part: int, state: State | None, complete: Container[str]) -> Iterator[Fate]:
    log = each.log(part)
    here = Fate("", "", part, f"{each.job}_{part}", log=str(log.relative_to(each.folder.parent)))
    code = each.code(part)
    if state is not None and state.going:
        now = "pending" if state.word == "PENDING" else "running"
        for case in each.parts[part]:
            yield replace(here, case=case, status="done" if case in complete else now)
        return
    rows = {row["case"]: row for row in each.rows(part)} if code is not None else {}
    why = "It was no longer in the cohort." if rows else _why(code, state, log)
    for case in each.parts[part]:
        row = rows.get(case)
        if row is not None:
            yield _told(replace(here, case=case), row)
        elif case in complete:
            yield replace(here, case=case, status="done")
        else:
            yield replace(here, case=case, status="lost", exit_code=code, error=why)


def _told(here: Fate, row: dict[str, Any]) -> Fate:
    """What the command itself says of a case."""
    seconds = row.get("seconds")
    if not row.get("error"):
        return replace(here, status="done", seconds=seconds)
    return replace(here, status="failed", seconds=seconds, exit_code=row.get("exit_code"), error=str(row["error"]))


def _why(code: int | None, state: State | None, log: Path) -> str:
    """Why a part left no outcome, by SLURM, its exit code, and its last words."""
    reasons = [str(state)] if state is not None and (code is None or state.word not in ENDED) else []
    if code is not None and code > 128:
        with suppress(ValueError):
            name = signal.Signals(code - 128).name
            reasons.append(f"ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}")
    elif code is not None:
        reasons.append(f"ended with {code} ({EXIT_CODES.get(code, 'unknown')})")
    said = _last_words(log)
    return f"The part was lost: {', '.join(reasons) or 'SLURM knows no more of it'}" + (f": {said}" if said else "")


def _last_words(log: Path) -> str:
    """The last line of a log, or the error with which it ends."""
    try:
        with log.open("rb") as handle:
            handle.seek(max(0, log.stat().st_size - LOG_END))
            lines = [line for line in handle.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    errors = [line for line in lines if "error: " in line]
    return " ".join((errors or lines or [""])[-1].split())


def _complete(output: Path, verb: str, since: float) -> set[str]:
    """Ids of the cases whose done-record, of this command, was written since then."""
    found = set()
    for record in output.rglob("*_record.json"):
        with suppress(OSError, ValueError, RecursionError):
            if record.stat().st_mtime < since:
                continue
            content = json.loads(record.read_text(encoding="utf-8"))
            if isinstance(content, dict) and (content.get("command"), content.get("status")) == (verb, "done"):
                found.add(content.get("case", ""))
    return found


def wait(each: Round, reporter: Reporter) -> None:
    """Until no task of a round is waiting or running.

    Raises:
        ResourceError: SLURM has not answered for half an hour.
    """
    pause, said, answered = FIRST_PAUSE_S, "", time.monotonic()
    while True:
        try:
            known = each.states()
            answered = time.monotonic()
        except ResourceError as error:
            if time.monotonic() - answered > PATIENCE_S:
                raise
            words = error.message
        else:
            states = [known.get(part, State("UNKNOWN")) for part in each.submitted]
            words = _progress(each.job, states)
            if not any(state.going for state in states):
                break
        if words != said:
            reporter.say(words)
            said, pause = words, FIRST_PAUSE_S
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_PAUSE_S)
    end = time.monotonic() + LATE_S
    while time.monotonic() < end and any(
        state.word == "COMPLETED" and each.code(part) is None for part, state in known.items()
    ):
        time.sleep(FIRST_PAUSE_S)


def _progress(job: str, states: Sequence[State]) -> str:
    pending = [state for state in states if state.word == "PENDING"]
    running = sum(state.going for state in states) - len(pending)
    reasons = sorted({state.reason for state in pending if state.reason})
    waiting = f"{len(pending)} waiting" + (f" ({', '.join(reasons)})" if reasons else "")
    ended = f"{len(states) - running - len(pending)} of {counted(len(states), 'part')} ended"
    return f"job {job}: {ended}, {running} running, {waiting}"


def write_table(output: Path, found: Sequence[Fate]) -> Path:
    """``outcomes.tsv``: a line per case.

    Raises:
        ResourceError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, dialect="excel-tab", lineterminator="\n")
    writer.writeheader()
    for fate in found:
        cells = {
            name: "n/a" if value in (None, "") else " ".join(str(value).split()) for name, value in asdict(fate).items()
        }
        writer.writerow({name: files.safe_cell(value) for name, value in cells.items()})
    files.write_text(output / TABLE, text.getvalue())
    return output / TABLE


def told(found: Sequence[Fate]) -> str:
    """How many there are of each, and every case that is not done, by part."""
    counts = Counter(fate.status for fate in found)
    lines = [", ".join(f"{count} {status}" for status, count in sorted(counts.items()))]
    for part in sorted({fate.part for fate in found if fate.status in ("failed", "lost")}):
        of_part = [fate for fate in found if fate.part == part and fate.status in ("failed", "lost")]
        lines.append(f"part {part}, task {of_part[0].task}, {FOLDER / of_part[0].log}:")
        lines += [f"  {fate.case}  {fate.status}: {' '.join(fate.error.split())}" for fate in of_part]
    return "\n".join(lines)


def failure(found: Sequence[Fate], output: Path) -> CohortError | None:
    """What to end with: nothing where all cases are done."""
    short = [fate for fate in found if fate.status != "done"]
    if not short:
        return None
    parts = [
        f"{len(of_kind)} {status} ({_named(of_kind)})"
        for status in ("failed", "lost", "running", "pending")
        if (of_kind := [fate.case for fate in short if fate.status == status])
    ]
    hint = f"Mend what failed, then: braincli slurm resume {output}"
    return CohortError(
        f"Not done: {len(short)} of {counted(len(found), 'case')}: {'; '.join(parts)}.",
        "Add --wait." if all(fate.going for fate in short) else hint,
    )


def _named(cases: Sequence[str]) -> str:
    more = f" and {len(cases) - NAMED} more, see {TABLE}" if len(cases) > NAMED else ""
    return ", ".join(cases[:NAMED]) + more
