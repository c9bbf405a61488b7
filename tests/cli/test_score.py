"""``braincli score`` as a user meets it: stdout, stderr, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from braincli.cli import app
from braincli.imaging import volume
from braincli.imaging.volume import Volume


def save(path: Path, start: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((10, 8, 6), np.uint8)
    mask[start : start + 4, 2:5, 2:4] = 1
    volume.save(Volume(mask, np.eye(4)), path)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for case, start in (("a", 2), ("b", 4)):
        save(tmp_path / f"ref/{case}_seg.nii.gz", 2)
        save(tmp_path / f"run/{case}_mask.nii.gz", start)
    return tmp_path


def braincli(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["score", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_two_files_print_a_table(runs: Path) -> None:
    code, out, err = braincli(runs / "run/b_mask.nii.gz", runs / "ref/b_seg.nii.gz", "-q")
    assert (code, err) == (0, "")
    header, row = out.splitlines()
    assert header.split()[:3] == ["case", "DSC", "IoU"] and row.split()[:3] == ["b", "0.500", "0.333"]


def test_json_on_stdout_words_on_stderr(runs: Path) -> None:
    code, out, err = braincli(runs / "run", runs / "ref", "--json")
    content = json.loads(out)
    assert code == 0 and content["aggregate"]["dsc"]["mean"] == 0.75
    assert content["config"]["hd_definition"] == "max-directed" and content["domain"] == ["whole volume"]
    assert "score" in err


def test_output_folder_keeps_stdout_free(runs: Path) -> None:
    code, out, err = braincli(runs / "run", runs / "ref", "-o", runs / "out")
    assert (code, out) == (0, "") and "0.750" in err
    assert (runs / "out/scores.csv").read_text().startswith("case,error,empty,domain,dsc")
    assert braincli(runs / "run", runs / "ref", "-o", runs / "out")[0] == 2
    assert braincli(runs / "run", runs / "ref", "-o", runs / "out", "--overwrite", "-q")[0] == 0


def test_failed_cases_give_exit_code_6_after_the_rest(runs: Path) -> None:
    (runs / "run/a_mask.nii.gz").unlink()
    save(runs / "run/c_mask.nii.gz", 2)
    code, out, err = braincli(runs / "run", runs / "ref")
    assert code == 6
    assert "0.500" in out and "predictions without reference: c_mask.nii.gz" in out
    assert err.strip().endswith("error: Not scored: 1 of 2 cases (a).")


def test_single_failures_and_bad_options(runs: Path) -> None:
    (runs / "broken.nii.gz").write_bytes(b"\x1f\x8b")
    code, out, err = braincli(runs / "broken.nii.gz", runs / "ref/a_seg.nii.gz", "-q")
    assert (code, out) == (3, "") and "broken.nii.gz" in err and "Traceback" not in err
    assert braincli(runs / "run", runs / "ref", "--labels", "tumour")[0] == 2
    assert braincli(runs / "run", runs / "ref", "--connectivity", "7")[0] == 2
    assert braincli(runs / "run")[0] == 2


def test_comparison_is_printed(runs: Path) -> None:
    code, out, _ = braincli(runs / "run", runs / "ref", "--compare", runs / "run", "-q")
    line = next(line for line in out.splitlines() if line.startswith("DSC"))
    assert code == 0 and line.split() == ["DSC", "0.750", "0.750", "0.000", "0.000", "0.000", "1.0000", "2"]
