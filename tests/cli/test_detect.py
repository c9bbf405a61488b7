"""``braincli detect`` as its user sees it: words, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from phantoms import affine, brain, write, write_case
from typer.testing import CliRunner, Result

from braincli.cli import app
from braincli.errors import InputError
from braincli.imaging.volume import load

SHAPE = (40, 48, 16)
GRID = affine("LPS", (3.0, 3.0, 4.0))


@pytest.fixture(autouse=True)
def search(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINCLI_MODELS", str(models))


def detect(*arguments: str | Path) -> Result:
    options = [] if "--model" in arguments else ["--model", "threshold"]
    return CliRunner().invoke(app, ["detect", *map(str, arguments), *options])


def test_one_scan_to_one_mask(tmp_path: Path) -> None:
    case = write_case(tmp_path / "p01", shape=SHAPE, matrix=GRID)
    result = detect(case / "p01_flair.nii.gz", "-o", tmp_path / "mask.nii.gz")
    assert result.exit_code == 0, result.output
    assert load(tmp_path / "mask.nii.gz", labels=True).data.any()
    assert result.stdout == ""
    assert "p01" in result.stderr and " ml" in result.stderr
    assert "missing: T1, T1CE, T2" in result.stderr
    assert f"mask  {tmp_path / 'mask.nii.gz'}" in result.stderr.replace("\n", "")


def test_contrast_is_asked_for_where_the_name_does_not_tell(tmp_path: Path) -> None:
    scan = write_case(tmp_path / "p01", shape=SHAPE, matrix=GRID) / "p01_flair.nii.gz"
    scan = scan.rename(tmp_path / "scan.nii.gz")
    result = detect(scan, "-o", tmp_path / "mask.nii.gz")
    assert result.exit_code == 3 and "--contrast flair" in result.stderr
    assert detect(scan, "-o", tmp_path / "mask.nii.gz", "--contrast", "flair").exit_code == 0


def test_contrasts_by_option_and_json_on_stdout(tmp_path: Path) -> None:
    case = write_case(tmp_path / "p01", shape=SHAPE, matrix=GRID)
    result = detect(
        "--t2", case / "p01_t2.nii.gz", "--flair", case / "p01_flair.nii.gz", "-o", tmp_path / "out", "--json",
        "--anomaly-map", "--restored", "--residual", "--threads", "2", "--seed", "3", "--model", "tsgm",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["model"] == "tsgm"
    assert content["cases"][0]["masks"] == {"": "p01_mask.nii.gz"}
    written = {path.name for path in (tmp_path / "out" / "p01").iterdir()}
    assert {"p01_anomaly.nii.gz", "p01_restored-flair.nii.gz", "p01_residual-flair.nii.gz", "p01_figure.png"} <= written
    warned = " ".join(content["cases"][0]["warnings"])
    assert "not looked at: T2" in warned and "p01_restored-t2.nii.gz" not in written


def test_quiet_says_nothing(tmp_path: Path) -> None:
    case = write_case(tmp_path / "p01", shape=SHAPE, matrix=GRID)
    result = detect(case, "-o", tmp_path / "out", "-q", "--no-figure", "--no-report")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["p01"], 2, "-o mask.nii.gz"),
        (["-o", "out"], 2, "No scan was given"),
        (["p01", "-o", "out", "--model", "nothing"], 4, "There is no model 'nothing'"),
        (["p01", "-o", "out", "--threshold", "-1"], 2, ""),
        (["p01", "-o", "out", "--device", "tpu"], 2, "no device 'tpu'"),
        (["elsewhere", "-o", "out"], 3, "no such file"),
        (["p01", "p01", "-o", "out"], 2, "Two cases are called p01"),
    ],
)
def test_mistakes_have_their_exit_code_and_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    write_case(tmp_path / "p01", shape=SHAPE, matrix=GRID)
    monkeypatch.chdir(tmp_path)
    result = detect(*arguments)
    assert result.exit_code == code, result.output
    assert words in result.stderr and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_scan_with_skull_gives_exit_code_3_and_the_hint(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(1, 9, (64, 64, 40)).astype(np.float32)
    write(tmp_path / "raw_flair.nii.gz", brain((64, 64, 40)) + noise, affine(spacing=(4.0, 4.0, 5.0)))
    result = detect(tmp_path / "raw_flair.nii.gz", "-o", tmp_path / "mask.nii.gz")
    assert result.exit_code == InputError.exit_code
    assert "raw_flair.nii.gz still shows the skull" in result.stderr and "--preprocess" in result.stderr


def test_cohort_with_a_bad_case_ends_with_6_and_resumes(tmp_path: Path) -> None:
    for name in "ab":
        write_case(tmp_path / "in" / name, name, ("flair",), shape=SHAPE, matrix=GRID)
    (tmp_path / "in" / "a" / "a_flair.nii.gz").write_bytes(b"not a scan")
    result = detect(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 6
    assert "1 of 2 cases failed: a." in result.stderr and "failed" in result.stderr
    assert f"page  {tmp_path / 'out' / 'index.html'}" in result.stderr
    assert (tmp_path / "out" / "b" / "b_record.json").is_file()
    write_case(tmp_path / "in" / "a", "a", ("flair",), shape=SHAPE, matrix=GRID)
    result = detect(tmp_path / "in", "-o", tmp_path / "out", "--resume", "--json")
    assert result.exit_code == 0
    assert [case["status"] for case in json.loads(result.stdout)["cases"]] == ["done", "skipped"]
