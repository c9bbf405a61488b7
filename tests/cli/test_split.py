"""``braincli split``, and scores against a manifest's masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import phantoms
from typer.testing import CliRunner

from braincli.cli import app


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_split_then_score_the_test_part_alone(tmp_path: Path) -> None:
    for name in "abcd":
        phantoms.write_case(tmp_path / "data" / name, name, ("flair",))
    code, out, words = run("split", tmp_path / "data", "-o", tmp_path / "parts", "--test", "1", "--json")
    assert code == 0 and "test.tsv: 1 case" in words and "train.tsv: 3 cases" in words
    (tested,) = json.loads(out)["test"]
    (tmp_path / "masks").mkdir()
    shutil.copy(tmp_path / "data" / tested / f"{tested}_seg.nii.gz", tmp_path / "masks" / f"{tested}_mask.nii.gz")
    code, out, words = run("score", tmp_path / "masks", tmp_path / "parts" / "test.tsv", "--json", "--bootstrap", "0")
    assert code == 0, words
    assert [(case["case"], case["values"]["dsc"]) for case in json.loads(out)["cases"]] == [(tested, 1.0)]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    phantoms.write_case(tmp_path / "data" / "a", "a", ("flair",), seg=False)
    code, _, words = run("split", tmp_path / "data", "-o", tmp_path / "parts", "--patient", "p(")
    assert code == 2 and "--patient: p( is no regular expression" in words
    assert run("split", tmp_path / "data", "-o", tmp_path / "parts")[0] == 0
    code, _, words = run("score", tmp_path / "data", tmp_path / "parts" / "train.tsv")
    assert code == 3 and "train.tsv names no mask" in words
