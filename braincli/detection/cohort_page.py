"""The page of a cohort: ``index.html`` and ``cohort.tsv`` beside the cases' folders, made anew by every run.

It shows what lies there, by the cases' records: the parts of a job array add theirs to one page, and so does a run
that finishes what another left. Of a case that failed nothing lies there; it is kept from one table to the next until
it succeeds.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from braincli.detection.report import CaseResult
from braincli.imaging.names import legible
from braincli.layout.found import records
from braincli.preprocessing import quality
from braincli.reporting.pages import cohort_page, inline
from braincli.runtime import files
from braincli.runtime.locks import waiting
from braincli.runtime.provenance import RunRecord
from braincli.runtime.transaction import Transaction

PAGE, TABLE, RECORD, LOCK = "index.html", "cohort.tsv", "cohort_record.json", ".cohort.lock"
UNKNOWN = "n/a"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        status: ``done``, ``failed``, or ``running`` (begun, and not known to have ended).
        largest_ml: volume of the largest lesion.
        warnings: in words, joined by semicolons.
        model: that found it.
        qc: ``ok``, or the figures of preprocessing beyond their limits; None where a case came prepared.
        error: why it failed.
    """

    case: str
    status: str
    model: str | None = None
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
    with waiting(output, f"{output.name}/{PAGE}", name=LOCK):
        rows = _rows(output, results)
        written = plan(output)
        written.begin()
        files.write_text(output / TABLE, _tsv(list(rows.values())))
        files.write_text(output / PAGE, _html(output, rows))
        for name in (PAGE, TABLE):
            written.add(output / name)
        written.finish()
    return output / PAGE


def lines(output: Path) -> list[Row]:
    """The lines of the table: what lies in ``output``, and what failed there according to the last table."""
    return list(_rows(output, []).values())


def _rows(output: Path, results: Sequence[CaseResult]) -> dict[Path, Row]:
    """Lines by the record that they come from: what lies there, then what failed earlier, or now, and left nothing."""
    failed = {_key(row.case): row for row in _earlier(output / TABLE) if row.status == "failed"}
    failed |= {
        _key(each.case): Row(legible(each.case), "failed", error=" ".join(each.error.split()))
        for each in results
        if each.status == "failed"
    }
    rows: dict[Path, Row] = {}
    for record in records(output):
        content = _read(record)
        if content.get("command") == "detect":
            row = _row(content)
            if row.status == "done":
                failed.pop(_key(row.case), None)
            if row.status == "done" or _key(row.case) not in failed:
                rows[record] = row
    rows |= {output / key: row for key, row in failed.items()}
    return dict(sorted(rows.items(), key=lambda item: (_key(item[1].case), item[0])))


def _key(case: str) -> str:
    """What stands for a case, however its name was written into a table."""
    return re.sub(r"[^\w.\-]+", "_", legible(case))


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
        case, "done", facts.get("model", {}).get("name"),
        table.get("volume_ml"), table.get("count"), max(volumes, default=0.0),
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


def _html(output: Path, rows: dict[Path, Row]) -> str:
    several = len({row.model for row in rows.values()} - {None}) > 1
    cases = []
    for record, row in rows.items():
        report, picture = (_listed(record, kind) for kind in ("_report.html", "_thumbnail.jpg"))
        cases.append(
            asdict(row)
            | {
                "case": f"{row.case} ({row.model})" if several and row.model else row.case,
                "report": quote(report.relative_to(output).as_posix(), errors="surrogateescape") if report else "",
                "thumbnail": inline(picture) if picture else "",
            }
        )
    return cohort_page(output.resolve().name, cases)


def _listed(record: Path, ending: str) -> Path | None:
    """An output that a complete case's record lists, by the end of its name."""
    content = _read(record)
    if content.get("status") != "done":
        return None
    names = [name for name in content.get("outputs", {}) if name.endswith(ending)]
    path = record.parent / names[0] if names else record
    return path if names and path.is_file() else None


def _read(record: Path) -> dict[str, Any]:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
