"""``braincli bids``: the levels, the labels, and that a participant that fails stops nobody."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from phantoms import brain, write
from prepared import GRID, SHAPE, fake_preprocess
from typer.testing import CliRunner, Result

from braincli.cli import app
from braincli.cli.bids import _repeated


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two participants, one with two sessions, and a third whose scan is damaged."""
    monkeypatch.setattr("braincli.preprocessing.chain.preprocess_case", fake_preprocess)
    root = tmp_path / "raw"
    for place, name in (("sub-01", "sub-01"), ("sub-02/ses-1", "sub-02_ses-1"), ("sub-02/ses-2", "sub-02_ses-2")):
        write(root / place / "anat" / f"{name}_FLAIR.nii.gz", brain(SHAPE), GRID)
    (root / "sub-03" / "anat").mkdir(parents=True)
    (root / "sub-03" / "anat" / "sub-03_FLAIR.nii.gz").write_bytes(b"no scan")
    (root / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.10.0"}')
    return root


def run(models: Path, root: Path, *words: str) -> Result:
    options = ["--model", str(models / "threshold"), "--threads", "1", "--device", "cpu", "-q"]
    return CliRunner().invoke(app, ["bids", str(root), str(root.parent / "out"), *words, *options])


def table(root: Path) -> dict[str, str]:
    with (root.parent / "out" / "cohort.tsv").open(newline="", encoding="utf-8") as lines:
        return {row["case"]: row["status"] for row in csv.DictReader(lines, dialect="excel-tab")}


def test_every_participant_is_worked_through_and_a_failed_one_is_listed(models: Path, root: Path) -> None:
    result = run(models, root, "participant", "--json")
    assert result.exit_code == 6 and "1 of 4 cases failed: sub-03" in result.stderr
    cases = {case["case"]: case["status"] for case in json.loads(result.stdout)["cases"]}
    assert cases == {"sub-01": "done", "sub-02_ses-1": "done", "sub-02_ses-2": "done", "sub-03": "failed"}
    out = root.parent / "out"
    mask = "space-FLAIR_label-L_desc-threshold_mask.nii.gz"
    for place, name in (("sub-01", "sub-01"), ("sub-02/ses-2", "sub-02_ses-2")):
        assert (out / place / "anat" / f"{name}_{mask}").is_file()
        assert (out / place / f"{name}_desc-threshold_report.html").is_file()
        assert (out / place / "figures" / f"{name}_desc-threshold_figure.png").is_file()
    assert table(root) == cases
    page = (out / "index.html").read_text(encoding="utf-8")
    assert 'href="sub-02/ses-2/sub-02_ses-2_desc-threshold_report.html"' in page and page.count("data:image/jpeg") == 3


def test_the_only_participant_that_fails_ends_with_its_own_code(models: Path, root: Path) -> None:
    result = run(models, root, "participant", "--participant-label", "sub-03")
    assert result.exit_code == 3 and "sub-03_FLAIR.nii.gz" in result.stderr


def test_the_group_level_gathers_what_participants_left_and_runs_nothing(
    models: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(models, root, "group").exit_code == 3, "nothing is there"
    for label in ("01", "02"):  # as two jobs of an array
        assert run(models, root, "participant", "--participant_label", label, "--session-label", "2").exit_code == (
            0 if label == "02" else 2
        )
    assert run(models, root, "participant", "--participant-label", "01").exit_code == 0
    out = root.parent / "out"
    assert not (out / "index.html").exists()
    monkeypatch.setattr("braincli.detection.detector.Detector.steps", lambda *_: pytest.fail("runs again"))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("sub-*")}
    result = CliRunner().invoke(app, ["bids", str(root), str(out), "group"])
    assert result.exit_code == 0, result.output
    assert "No results yet of 2: sub-02_ses-1, sub-03" in result.stderr
    assert table(root) == {"sub-01": "done", "sub-02_ses-2": "done"} and (out / "index.html").is_file()
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("sub-*")}


def test_two_models_share_a_data_set(models: Path, root: Path) -> None:
    words = ("participant", "--participant-label", "01")
    assert run(models, root, *words).exit_code == 0
    assert run(models, root, *words, "--set").exit_code == 2  # no such option
    other = CliRunner().invoke(
        app, ["bids", str(root), str(root.parent / "out"), *words, "--model", str(models / "tsgm"), "-q"]
    )
    assert other.exit_code == 0, other.output
    assert run(models, root, "group").exit_code == 0
    page = (root.parent / "out" / "index.html").read_text(encoding="utf-8")
    assert "sub-01 (threshold)" in page and "sub-01 (tsgm)" in page


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("participant", "--participant-label", "07"), 2, "raw has no participant 07"),
        (("participant", "--participant-label", "01", "--session-label", "9"), 2, "has no session 9"),
        (("session",), 2, "There is no level 'session'"),
        (("group", "--participant-label", "01"), 2, "takes all that lies in the output"),
        (("participant", "--bids-filter-file", "none.json"), 2, "Cannot read the filters none.json"),
    ],
)
def test_mistakes(models: Path, root: Path, words: tuple[str, ...], code: int, says: str) -> None:
    result = run(models, root, *words)
    assert result.exit_code == code and says in result.stderr
    assert not (root.parent / "out").exists()


def test_results_never_go_among_the_raw_scans(models: Path, root: Path) -> None:
    for level in ("participant", "group"):
        result = CliRunner().invoke(app, ["bids", str(root), str(root), level, "-m", str(models / "threshold")])
        assert result.exit_code == 2 and "cannot lie among the raw scans" in result.stderr


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        (["a", "b", "participant", "--participant-label", "01", "02", "-q"],
         ["a", "b", "participant", "--participant-label", "01", "--participant-label", "02", "-q"]),
        (["--session_label", "1", "2", "--model", "tsgm"],
         ["--session_label", "1", "--session_label", "2", "--model", "tsgm"]),
        (["--participant-label=01", "x"], ["--participant-label=01", "x"]),
    ],
)  # fmt: skip
def test_labels_follow_their_option_one_after_the_other(words: list[str], parsed: Any) -> None:
    assert list(_repeated(words)) == parsed
