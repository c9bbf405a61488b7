"""The page of a cohort: what it gathers, whose files it replaces, and whose never."""

from __future__ import annotations

import csv
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from phantoms import affine, write_case

from braincli import api
from braincli.config import DetectConfig
from braincli.detection import cohort_page
from braincli.detection.report import CaseResult, DetectReport
from braincli.errors import UsageError

SHAPE, GRID = (40, 48, 16), affine("LPS", (3.0, 3.0, 4.0))


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Three sound cases and one that cannot be read."""
    for name in ("a", "b", "c"):
        write_case(tmp_path / "in" / name, name, ["flair"], shape=SHAPE, matrix=GRID)
    (write_case(tmp_path / "in" / "d", "d", ["flair"], shape=SHAPE) / "d_flair.nii.gz").write_bytes(b"no scan")
    return tmp_path / "in"


def detect(models: Path, inputs: Any, output: Path, **options: Any) -> DetectReport:
    values = {"model": str(models / "threshold"), "threads": 1, "device": "cpu", "figure": False} | options
    return api.detect(inputs, output, config=DetectConfig(**values))


def table(output: Path) -> dict[str, dict[str, str]]:
    with (output / "cohort.tsv").open(newline="", encoding="utf-8") as lines:
        return {row["case"]: row for row in csv.DictReader(lines, dialect="excel-tab")}


def test_a_cohort_gets_a_table_and_a_page(models: Path, cases: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = detect(models, cases, out)
    rows = table(out)
    assert tuple(rows["a"]) == cohort_page.COLUMNS and list(rows) == ["a", "b", "c", "d"]
    assert [row["status"] for row in rows.values()] == ["done", "done", "done", "failed"]
    assert "d_flair.nii.gz" in rows["d"]["error"] and rows["d"]["volume_ml"] == "n/a"
    lesions = json.loads((out / "a" / "a_lesions.json").read_text())
    assert float(rows["a"]["volume_ml"]) == lesions["volume_ml"] == pytest.approx(report.cases[0].volume_ml, abs=1e-3)
    assert float(rows["a"]["largest_ml"]) == lesions["lesions"][0]["volume_ml"]
    assert int(rows["a"]["lesions"]) == lesions["count"] and float(rows["a"]["seconds"]) > 0
    assert rows["a"]["qc"] == "n/a" and "missing" in rows["a"]["warnings"]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert 'href="a/a_report.html"' in page and page.count("data:image/jpeg") == 3
    assert str(tmp_path) not in page


def test_one_case_has_no_cohort_and_no_report_writes_none(models: Path, cases: Path, tmp_path: Path) -> None:
    detect(models, cases / "a", tmp_path / "one")
    detect(models, [cases / "a", cases / "b"], tmp_path / "none", report=False)
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["a"]
    assert sorted(path.name for path in (tmp_path / "none").iterdir()) == ["a", "b"]


def test_parts_of_an_array_share_one_page(models: Path, cases: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for part in (1, 0):  # d, which fails, is in the part that comes first
        detect(models, cases, out, num_parts=2, part_id=part)
    assert {name: row["status"] for name, row in table(out).items()} == {
        "a": "done", "b": "done", "c": "done", "d": "failed",
    }  # fmt: skip
    write_case(cases / "d", "d", ["flair"], shape=SHAPE, matrix=GRID)
    detect(models, cases / "d", out)  # one case into a folder that has the page
    assert table(out)["d"]["status"] == "done" and table(out)["d"]["error"] == "n/a"


def test_a_part_of_one_case_that_fails_is_in_the_table(models: Path, cases: Path, tmp_path: Path) -> None:
    report = detect(models, cases, tmp_path / "out", num_parts=4, part_id=3)
    assert [case.status for case in report.failures] == ["failed"], "reported, as in any part, and not raised"
    assert table(tmp_path / "out")["d"]["status"] == "failed"


def test_a_case_that_fails_to_be_made_again_is_still_done(models: Path, cases: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    detect(models, cases, out)
    again = detect(models, cases, out)  # neither --resume nor --overwrite
    assert [case.status for case in again.cases] == ["failed"] * 4
    assert [row["status"] for row in table(out).values()] == ["done", "done", "done", "failed"]
    record = out / "a" / "a_record.json"
    content = json.loads(record.read_text()) | {"status": "running"}
    record.write_text(json.dumps(content))
    cohort_page.write(out, [CaseResult("c", "failed", error="later")])
    assert [row["status"] for row in table(out).values()] == ["running", "done", "done", "failed"]


def test_files_of_the_user_are_never_replaced(models: Path, cases: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "index.html").write_text("mine")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(UsageError, match=r"index\.html was not written by braincli"):
            detect(models, cases, out, **options)
    assert [path.name for path in out.iterdir()] == ["index.html"] and (out / "index.html").read_text() == "mine"
    detect(models, cases, out, report=False)
    assert (out / "index.html").read_text() == "mine"


def test_words_of_cases_are_cells_and_no_formulas(tmp_path: Path) -> None:
    evil = CaseResult("=cmd|' /C calc'!A0", "failed", error="=1+1\twith a tab\nand a line")
    cohort_page.write(tmp_path, [evil])
    (row,) = table(tmp_path).values()
    assert row["case"].startswith("'=") and row["error"] == "'=1+1 with a tab and a line"
    cohort_page.write(tmp_path, [])  # kept from table to table, once
    assert len(table(tmp_path)) == 1


def _write(output: Path, number: int) -> None:
    cohort_page.write(output, [CaseResult(f"p{number}", "failed", error="x")])


def test_many_parts_that_end_together_lose_no_case(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    parts = [context.Process(target=_write, args=(tmp_path, number)) for number in range(4)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    assert {part.exitcode for part in parts} == {0}
    assert sorted(table(tmp_path)) == ["p0", "p1", "p2", "p3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cohort.tsv", "cohort_record.json", "index.html"]
