"""The page of a cohort: ``index.html`` and ``cohort.tsv`` beside the cases' folders, made anew by every run.

It shows what lies there, by the cases' records: the parts of a job array add theirs to one page, and so does a run
that finishes what another left. Of a case that failed nothing lies there; it is kept from one table to the next until
it succeeds.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from braincli.detection.outputs import Names
from braincli.detection.report import CaseResult
from braincli.errors import UsageError
from braincli.imaging.names import legible
from braincli.preprocessing import quality
from braincli.reporting.pages import cohort_page, inline
from braincli.runtime import files
from braincli.runtime.locks import locked
from braincli.runtime.provenance import RunRecord
from braincli.runtime.transaction import Transaction

PAGE, TABLE, RECORD, LOCK = "index.html", "cohort.tsv", "cohort_record.json", ".cohort.lock"
PATIENCE_S = 60.0  # for other parts of the cohort, which write for a moment each
UNKNOWN = "n/a"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        status: ``done``, ``failed``, or ``running`` (begun, and not known to have ended).
        largest_ml: volume of the largest lesion.
        warnings: in words, joined by semicolons.
        qc: ``ok``, or the figures of preprocessing beyond their limits; None where a case came prepared.
        error: why it failed.
    """

    case: str
    status: str
    volume_ml: float | None = None
    lesions: int | None = None
    largest_ml: float | None = None
    warnings: str = ""
    qc: str | None = None
    seconds: float | None = None
    error: str = ""


COLUMNS = tuple(Row.__dataclass_fields__)


def wanted(output: Path, cases: int) -> bool:
    """Whether a run of so many cases, of all its parts, into the folder ``output`` writes the page."""
    return cases > 1 or (output / RECORD).is_file()


def plan(output: Path) -> Transaction:
    """What is going to be written; an earlier page is replaced, a file of the user's never."""
    return Transaction(
        output / RECORD, RunRecord("detect", "", {}), [output / PAGE, output / TABLE], overwrite=True, own_only=True
    )


def write(output: Path, results: Sequence[CaseResult]) -> Path:
    """Write page and table of all that lies in ``output``, and of the cases that have just failed.

    Raises:
        UsageError: a file of the user's is in the way, or another process writes the page for a minute.
        ResourceError: the disk is full or the folder cannot be written.
    """
    with _patient(output):
        rows = _rows(output, results)
        written = plan(output)
        written.begin()
        files.write_text(output / TABLE, _tsv(list(rows.values())))
        files.write_text(output / PAGE, _html(output, rows))
        for name in (PAGE, TABLE):
            written.add(output / name)
        written.finish()
    return output / PAGE


@contextmanager
def _patient(output: Path) -> Iterator[None]:
    """Hold the page; wait for others that do."""
    end = time.monotonic() + PATIENCE_S
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(output, f"{output.name}/{PAGE}", name=LOCK))
                break
            except UsageError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        yield


def _rows(output: Path, results: Sequence[CaseResult]) -> dict[str, Row]:
    """Lines by the name of the case's folder: what failed earlier, what failed now, and over both what lies there."""
    failed = {row.case: row for row in _earlier(output / TABLE) if row.status == "failed"}
    failed |= {
        legible(each.case): Row(legible(each.case), "failed", error=" ".join(each.error.split()))
        for each in results
        if each.status == "failed"
    }
    rows = {Names.of(case, output).target.name: row for case, row in failed.items()}
    for record in sorted(output.glob("*/*_record.json")):
        content = _read(record)
        if content.get("command") == "detect" and record.name == f"{record.parent.name}_record.json":
            row = _row(content)
            if row.status == "done" or record.parent.name not in rows:
                rows[record.parent.name] = row
    return dict(sorted(rows.items()))


def _row(content: dict[str, Any]) -> Row:
    """What a case's record says."""
    facts, case = content.get("facts", {}), legible(str(content.get("case", "")))
    if content.get("status") != "done":
        return Row(case, str(content.get("status", "")), error=" ".join(str(content.get("error", "")).split()))
    table = facts.get("lesions", {})
    volumes = [lesion["volume_ml"] for lesion in table.get("lesions", [])]
    prepared = facts.get("preprocess")
    beyond = quality.outside(prepared["qc"]) if prepared else []
    return Row(
        case, "done", table.get("volume_ml"), table.get("count"), max(volumes, default=0.0),
        "; ".join(content.get("warnings", [])), None if prepared is None else ", ".join(beyond) or "ok",
        round(sum(content.get("seconds", {}).values()), 1),
    )  # fmt: skip


def _earlier(table: Path) -> list[Row]:
    """The lines of an earlier table; none where it cannot be read."""
    try:
        with table.open(encoding="utf-8", newline="") as lines:
            return [
                Row(line["case"], line["status"], error=line["error"]) for line in csv.DictReader(lines, dialect=TSV)
            ]
    except (OSError, ValueError, KeyError, csv.Error):
        return []


class TSV(csv.excel_tab):
    """Tab-separated, as BIDS has it."""

    lineterminator = "\n"


def _tsv(rows: Sequence[Row]) -> str:
    from io import StringIO

    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, dialect=TSV)
    writer.writeheader()
    for row in rows:
        cells = asdict(row).items()
        writer.writerow(
            {name: UNKNOWN if value in (None, "") else files.safe_cell(str(value)) for name, value in cells}
        )
    return text.getvalue()


def _html(output: Path, rows: dict[str, Row]) -> str:
    cases = []
    for folder, row in rows.items():
        report, picture = (f"{folder}/{folder}_{kind}" for kind in ("report.html", "thumbnail.jpg"))
        there = row.status == "done"
        cases.append(
            asdict(row)
            | {
                "report": quote(report, errors="surrogateescape") if there and (output / report).is_file() else "",
                "thumbnail": inline(output / picture) if there and (output / picture).is_file() else "",
            }
        )
    return cohort_page(output.resolve().name, cases)


def _read(record: Path) -> dict[str, Any]:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
