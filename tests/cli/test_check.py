"""``braincli check`` as its user sees it: table, JSON, exit code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import phantoms
import pytest
from phantoms import write, write_case
from typer.testing import CliRunner, Result

from braincli.cli import app


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_sound_case_is_ok(tmp_path: Path) -> None:
    result = check(write_case(tmp_path / "p01"))
    assert result.exit_code == 0
    assert re.search(r"flair +ok +16 x 18 x 12  1\.00 x 1\.00 x 1\.00 mm  RAS  p01_flair\.nii\.gz", result.stdout)
    assert result.stdout.count(" ok ") == 5 and "note" not in result.stdout


def test_one_broken_file_of_a_cohort_is_named_and_gives_exit_code_3(tmp_path: Path) -> None:
    write_case(tmp_path / "a", "a")
    broken = write_case(tmp_path / "b", "b") / "b_t2.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-1500])
    result = check(tmp_path)
    assert result.exit_code == 3
    assert "UNUSABLE  b_t2.nii.gz" in result.stdout and result.stdout.count(" ok ") == 9
    assert re.search(r"error: is truncated: \d+ of 12 slices present", result.stdout)
    assert "1 problem to mend" in result.stderr and "Traceback" not in result.output


def test_json_is_alone_on_stdout(tmp_path: Path) -> None:
    case = write_case(tmp_path / "a", "a", ["t1", "flair"])
    write(case / "a_flair.nii.gz", None, phantoms.affine(spacing=(1, 1, 5)), pixdim=[1, 1, 0, 5, 0, 0, 0, 0])
    result = check(case, "--json")
    content = json.loads(result.stdout)
    assert result.exit_code == 3 and content["usable"] is False
    t1, flair, lesion = content["cases"][0]["files"]
    assert (t1["file"], t1["usable"], t1["shape"], t1["axes"]) == ("a_t1.nii.gz", True, [16, 18, 12], "RAS")
    assert len(t1["sha256"]) == 64 and lesion["role"] == "lesion"
    assert [(p["level"], p["code"]) for p in flair["problems"]] == [("error", "spacing")]
    assert str(tmp_path) not in result.stdout


def test_same_scan_as_two_contrasts_is_an_error(tmp_path: Path) -> None:
    case = write_case(tmp_path / "a", "a", ["t1", "t2"])
    (case / "a_t2.nii.gz").write_bytes((case / "a_t1.nii.gz").read_bytes())
    result = check(case)
    assert result.exit_code == 3 and "are the same scan, given as t1 and t2" in result.stdout


def test_files_that_make_no_case_are_checked_one_by_one(tmp_path: Path) -> None:
    write(tmp_path / "p_t1.nii.gz")
    write(tmp_path / "p_whatever.nii.gz")
    result = check(tmp_path)
    assert result.exit_code == 3
    assert "cannot tell what p_whatever.nii.gz shows" in result.stdout and result.stdout.count(" ok ") == 2


def test_derivatives_and_own_outputs_are_not_checked(tmp_path: Path) -> None:
    write_case(tmp_path / "p", "p", ["flair"])
    write_case(tmp_path / "derivatives" / "p", "p", ["t1"])
    for name in ("p_mask", "p_anomaly"):
        write(tmp_path / "p" / f"{name}.nii.gz", phantoms.lesion())
    (tmp_path / "p" / "p_record.json").write_text('{"braincli": "1", "command": "detect"}')
    assert [line.split()[-1] for line in check(tmp_path).stdout.splitlines()] == ["p", "p_flair.nii.gz", "p_seg.nii.gz"]
    write(tmp_path / "p" / "p_whatever.nii.gz")  # no case can be told: every file by itself
    listed = check(tmp_path).stdout
    assert "cannot tell what p_whatever.nii.gz shows" in listed
    assert listed.count(" ok ") == 3 and "p_mask" not in listed and "t1" not in listed


def test_an_odd_subject_is_listed_with_its_problem_and_the_others_are_checked(tmp_path: Path) -> None:
    write_case(tmp_path / "a", "a", ["flair"])
    write_case(tmp_path / "b", "b_run-1", ["flair"])
    write_case(tmp_path / "b", "b_run-2", ["flair"])
    write(write_case(tmp_path / "c", "c", ["flair"]) / "c_roi.nii.gz", phantoms.lesion())
    result = check(tmp_path)
    assert result.exit_code == 3 and result.stdout.count(" ok ") == 4
    assert "b: two files for flair: b_run-1_flair.nii.gz, b_run-2_flair.nii.gz" in result.stdout
    assert "note: c_roi.nii.gz is neither a scan nor a mask" in result.stdout and "1 problem to mend" in result.stderr


def test_single_files_need_no_contrast_and_masks_may_be_empty(tmp_path: Path) -> None:
    scan = write(tmp_path / "-odd näme.v2.nii")
    mask = write(tmp_path / "my mask.nii.gz", phantoms.lesion() * 0)
    result = check("--", scan, mask)
    assert result.exit_code == 0 and result.stdout.count(" ok ") == 2


@pytest.mark.parametrize("arguments", [["absent.nii.gz"], ["absent"], ["folder.nii.gz"]])
def test_paths_that_are_no_scan(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.nii.gz").mkdir()
    result = check(*arguments)
    assert result.exit_code == 3 and arguments[0] in result.stdout and "Traceback" not in result.output


def test_four_dimensions_and_choice_of_form(tmp_path: Path) -> None:
    import numpy as np

    path = write(tmp_path / "p.nii.gz", np.stack([phantoms.brain(), phantoms.brain(seed=1)], -1))
    assert check(path).exit_code == 3 and "--volume N (0 to 1)" in check(path).stdout
    assert check(path, "--volume", "1").exit_code == 0
    moved = write(tmp_path / "q.nii.gz", qform=phantoms.affine("LPS"))
    assert "  RAS  " in check(moved).stdout and "  LPS  " in check(moved, "--prefer", "qform").stdout


def test_phi_is_listed_on_request(tmp_path: Path) -> None:
    path = write(tmp_path / "p_t1.nii.gz", extension=b"x", descrip=b"Time=101010")
    assert "Time=101010" not in check(path).stdout
    listed = check(path, "--phi").stdout
    assert "private: descrip = Time=101010" in listed and "private: extension 1 = comment, 16 bytes" in listed


def test_raw_scans_show_their_heads(shared_data: Path) -> None:
    result = check(shared_data / "raw" / "TCGA-FG-6692", "--quiet")
    assert result.exit_code == 0 and result.stdout.count("shows the head") == 4 and "another grid" in result.stdout
