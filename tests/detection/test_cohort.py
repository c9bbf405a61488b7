"""A cohort with odd subjects: the sound ones are finished, the others named, the exit code is 6."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from phantoms import affine, brain, lesion, write, write_case
from typer.testing import CliRunner, Result

from braincli import api
from braincli.cli import app
from braincli.config import DetectConfig
from braincli.imaging.cases import Contrast
from braincli.runtime.progress import Reporter

SHAPE = (40, 48, 16)
GRID = affine("LPS", (3.0, 3.0, 4.0))


@pytest.fixture(autouse=True)
def search(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINCLI_MODELS", str(models))


def detect(*arguments: str | Path) -> Result:
    options = ["detect", "--model", "threshold", "--no-figure", "--no-report", "--threads", "1", "-q"]
    return CliRunner().invoke(app, [*options, *map(str, arguments)])


def cohort(root: Path) -> Path:
    """Seven sound cases (two of them beside files that are not needed) and five that cannot be used."""
    for number in range(1, 8):
        write_case(root / f"p{number}", f"p{number}", ["flair"], shape=SHAPE, matrix=GRID)
    for name in ("p2_roi", "p2_flair_brain", "p3_flair_pve_0", "p3_flair_pveseg", "p3_flair_seg"):
        write(root / name[:2] / f"{name}.nii.gz", lesion(SHAPE), GRID)
    for run in ("q1_run-1", "q1_run-2"):
        write_case(root / "q1", run, ["flair"], shape=SHAPE, matrix=GRID, seg=False)
    write_case(root / "q2", "q2", ["flair"], shape=SHAPE, matrix=GRID, seg=False)
    write_case(root / "q2", "q2_run2", ["flair"], shape=SHAPE, matrix=GRID, seg=False)
    write(write_case(root / "q3", "q3", ["flair"], shape=SHAPE, matrix=GRID) / "q3_mask.nii.gz", lesion(SHAPE), GRID)
    (root / "q4").mkdir()
    (root / "q4" / "q4_flair.nii.gz").symlink_to("../.git/annex/objects/x.nii.gz")
    (write_case(root / "q5", "q5", ["flair"], shape=SHAPE) / "q5_flair.nii.gz").write_bytes(b"no scan")
    return root


def test_twelve_cases_of_which_five_are_odd(tmp_path: Path) -> None:
    result = detect(cohort(tmp_path / "in"), "-o", tmp_path / "out", "--json")
    assert result.exit_code == 6, result.output
    cases = {case["case"]: case for case in json.loads(result.stdout)["cases"]}
    assert [name for name, case in cases.items() if case["status"] == "done"] == [f"p{n}" for n in range(1, 8)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"p{n}" for n in range(1, 8)]
    errors = {name: case["error"] for name, case in cases.items() if case["status"] == "failed"}
    assert "q1_run-1_flair.nii.gz, q1_run-2_flair.nii.gz" in errors["q1"] and "--run first" in errors["q1"]
    assert "two files for flair" in errors["q2"] and "q3_mask.nii.gz" in errors["q3"]
    assert "datalad get" in errors["q4"] and "q5_flair.nii.gz" in errors["q5"]
    assert all(cases[name]["exit_code"] == 3 for name in errors)


def test_a_rule_for_runs_decides_between_them(tmp_path: Path) -> None:
    root = cohort(tmp_path / "in")
    report = api.detect(
        [root / name for name in ("p1", "q1", "q2")], tmp_path / "out",
        config=DetectConfig(model="threshold", run="last", figure=False, report=False),
    )  # fmt: skip
    assert [case.status for case in report.cases] == ["done"] * 3
    content = (tmp_path / "out" / "q2" / "q2_record.json").read_text()
    assert "q2_run2_flair.nii.gz" in content and "q2_flair.nii.gz" not in content


def test_a_path_that_gives_nothing_does_not_stop_the_others(tmp_path: Path) -> None:
    root = cohort(tmp_path / "in")
    result = detect(root / "p1", root / "gone", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 6
    assert [case["status"] for case in json.loads(result.stdout)["cases"]] == ["failed", "done"]
    assert detect(root / "gone", "-o", tmp_path / "out").exit_code == 3
    assert detect(root / "q1", "-o", tmp_path / "out").exit_code == 3


def test_outputs_beside_the_scans_are_not_read_again(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        write_case(tmp_path / name, name, ["flair"], shape=SHAPE, matrix=GRID)
    maps = ("--anomaly-map", "--report", "--figure")
    assert detect(tmp_path, "-o", tmp_path, *maps).exit_code == 0
    assert (tmp_path / "cohort.tsv").is_file()
    again = detect(tmp_path, "-o", tmp_path, "--resume", "--json", *maps)
    assert again.exit_code == 0, again.output
    assert [case["status"] for case in json.loads(again.stdout)["cases"]] == ["skipped", "skipped"]
    scored = CliRunner().invoke(app, ["score", str(tmp_path), str(tmp_path), "-q", "--json"])
    assert scored.exit_code == 0, scored.output
    assert [case["prediction"] for case in json.loads(scored.stdout)["cases"]] == ["p1_mask.nii.gz", "p2_mask.nii.gz"]


def test_contrasts_of_one_file_are_named_by_their_order(tmp_path: Path) -> None:
    case = write_case(tmp_path / "p", "p", ["t1", "flair"], shape=SHAPE, matrix=GRID)
    flair = np.where(lesion(SHAPE) > 0, 170, brain(SHAPE)).astype(np.float32)
    t1 = brain(SHAPE, seed=1)
    for name, data in (("flair", flair), ("t1", t1)):
        write(case / f"p_{name}.nii.gz", data, GRID)
    both = write(tmp_path / "BRATS_1.nii.gz", np.stack([flair, t1], -1), GRID)
    config = DetectConfig(model="threshold", figure=False, report=False)
    apart = api.detect(case, tmp_path / "apart", config=config)
    joint = api.detect(both, tmp_path / "joint", contrast=(Contrast.FLAIR, Contrast.T1), config=config)
    assert joint.cases[0].volume_ml == apart.cases[0].volume_ml
    chosen = DetectConfig(model="threshold", figure=False, report=False, volume=0)
    alone = api.detect(both, tmp_path / "alone", contrast=Contrast.FLAIR, config=chosen)
    assert alone.cases[0].status == "done"


def test_what_is_not_used_is_said(tmp_path: Path) -> None:
    words: list[str] = []

    class Listener(Reporter):
        def say(self, text: str) -> None:
            words.append(text)

    root = cohort(tmp_path / "in")
    config = DetectConfig(model="threshold", figure=False, report=False)
    api.detect(root / "p2", tmp_path / "out", config=config, reporter=Listener())
    assert "p2: not used: p2_flair_brain.nii.gz, p2_roi.nii.gz." in words


@pytest.mark.parametrize("model", ["threshold", "tsgm"])
def test_cases_that_overlap_give_the_same_to_the_byte(model: str, tmp_path: Path) -> None:
    """One by one, and all of them: the next is read and the last written while one is in work."""
    for number in range(1, 5):
        write_case(tmp_path / "in" / f"p{number}", f"p{number}", ["t1", "flair"], shape=SHAPE, matrix=GRID)
    config = DetectConfig(model=model, uncalibrated=True, anomaly_map=True, restored=model == "tsgm", threads=2)
    for number in (1, 3, 4):
        api.detect(tmp_path / "in" / f"p{number}", tmp_path / "alone", config=config)
    (tmp_path / "in" / "p2" / "p2_flair.nii.gz").write_bytes(b"no scan")
    report = api.detect(tmp_path / "in", tmp_path / "beside", config=config)
    assert [case.status for case in report.cases] == ["done", "failed", "done", "done"]
    assert not list((tmp_path / "beside").rglob(".*")), "no lock and nothing half-written is left"
    alone, beside = (
        {path.relative_to(out): path.read_bytes() for path in out.glob("*/*") if path.suffix in (".gz", ".png", ".tsv")}
        for out in (tmp_path / "alone", tmp_path / "beside")
    )
    assert alone == beside
    assert len(alone) >= 3 * 5, "mask, anomaly, restoration, picture, table"
