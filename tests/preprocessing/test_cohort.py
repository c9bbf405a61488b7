"""Several cases: what one gave is kept when another fails, for Python and for --json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from braincli import api
from braincli.cli import app
from braincli.errors import CohortError, InputError, QualityError
from braincli.imaging.cases import Case
from braincli.preprocessing import cohort


@dataclass(frozen=True)
class Made:
    """Stands in for a result; the chain has tests of its own."""

    case: Any
    place: str = "sub-a"
    images: tuple[str, ...] = ("t1",)
    space: str = "SRI24"
    resumed: bool = False

    def as_dict(self) -> dict[str, str]:
        return {"case": self.case.id}


@pytest.fixture(autouse=True)
def chain(monkeypatch: pytest.MonkeyPatch) -> None:
    def preprocess_case(case: Case, out: Path, config: object, reporter: object) -> Made:
        if case.id == "bad":
            raise InputError("bad_t1.nii.gz is truncated.")
        if case.id == "poor":
            raise QualityError("poor: brain of 3 ml.")
        return Made(SimpleNamespace(id=case.id))

    monkeypatch.setattr(cohort, "preprocess_case", preprocess_case)


def cases(root: Path, *ids: str) -> Path:
    for id in ids:
        (root / id).mkdir(parents=True)
        (root / id / f"{id}_t1.nii.gz").touch()
    return root


def test_the_error_holds_what_the_others_gave(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="1 of 3 cases failed") as raised:
        api.preprocess(cases(tmp_path / "in", "a", "bad", "c"), tmp_path / "out")
    assert [outcome.id for outcome in raised.value.outcomes] == ["a", "bad", "c"]
    assert [outcome.result is None for outcome in raised.value.outcomes] == [False, True, False]
    with pytest.raises(InputError, match="truncated"):
        api.preprocess(tmp_path / "in" / "bad", tmp_path / "out")


def test_json_lists_successes_and_failures_and_the_code_is_6(tmp_path: Path) -> None:
    root = cases(tmp_path / "in", "a", "bad", "c", "runs")
    for run in "12":
        (root / "runs" / f"runs_run-{run}_t1.nii.gz").touch()
    result = CliRunner().invoke(app, ["preprocess", str(root), "-o", str(tmp_path / "out"), "--json", "-q"])
    assert result.exit_code == 6
    a, bad, c, runs = json.loads(result.stdout)
    assert (a, c) == ({"case": "a"}, {"case": "c"})
    assert (bad["case"], bad["error"], bad["exit_code"]) == ("bad", "bad_t1.nii.gz is truncated.", 3)
    assert "3 files for t1" in runs["error"].replace("three", "3") and "--run" in runs["hint"]
    assert "2 of 4 cases failed" in result.stderr


def test_quality_alone_ends_with_7_and_keeps_the_json(tmp_path: Path) -> None:
    root = cases(tmp_path / "in", "a", "poor")
    result = CliRunner().invoke(app, ["preprocess", str(root), "-o", str(tmp_path / "out"), "--json", "-q"])
    assert result.exit_code == 7 and [row["case"] for row in json.loads(result.stdout)] == ["a", "poor"]
