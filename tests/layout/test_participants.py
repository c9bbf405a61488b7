"""Participants and sessions of a BIDS data set: labels, filters, and what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from phantoms import touch

from braincli.errors import InputError, UsageError
from braincli.imaging.cases import Contrast
from braincli.layout.participants import Selection, find_participants, read_filters


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three participants, one of them with two sessions."""
    return touch(
        tmp_path / "raw",
        "sub-01/anat/sub-01_acq-mprage_T1w.nii.gz", "sub-01/anat/sub-01_acq-space_T1w.nii.gz",
        "sub-01/anat/sub-01_FLAIR.nii.gz", "sub-01/anat/sub-01_FLASH.nii.gz", "sub-01/func/sub-01_task-x_bold.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_ce-gd_T1w.nii.gz", "sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii",
        "sub-02/ses-2/anat/sub-02_ses-2_run-1_FLAIR.nii.gz", "sub-02/ses-2/anat/sub-02_ses-2_run-2_FLAIR.nii.gz",
        "sub-03/dwi/sub-03_dwi.nii.gz", "derivatives/x/sub-09/anat/sub-09_FLAIR.nii.gz", "sub-list.txt",
    )  # fmt: skip


def filters(tmp_path: Path, content: Any) -> Any:
    (tmp_path / "f.json").write_text(json.dumps(content))
    return read_filters(tmp_path / "f.json")


def test_every_participant_and_session_is_a_case(root: Path) -> None:
    cases = {case.id: case for case in find_participants(root)}
    assert list(cases) == ["sub-01", "sub-02_ses-1", "sub-02_ses-2", "sub-03"]
    assert set(cases["sub-02_ses-1"].images) == {Contrast.T1CE, Contrast.FLAIR}
    two, none = cases["sub-01"].problem, cases["sub-03"].problem
    assert two is not None and "two files for t1" in two.message and "--bids-filter-file" in two.hint
    assert none is not None and "sub-03 has no T1w, T2w or FLAIR scan" in none.message
    assert cases["sub-02_ses-2"].problem is not None


def test_labels_may_have_their_prefix(root: Path) -> None:
    for labels in (["02"], ["sub-02"], ["sub-02", "02"]):
        assert [case.id for case in find_participants(root, Selection(labels))] == ["sub-02_ses-1", "sub-02_ses-2"]
    for sessions in (["1"], ["ses-1"]):
        assert [case.id for case in find_participants(root, Selection(sessions=sessions))] == ["sub-02_ses-1"]
    with pytest.raises(UsageError, match="raw has no participant 2") as caught:
        find_participants(root, Selection(["2"]))
    assert "01, 02, 03" in caught.value.hint
    with pytest.raises(UsageError, match="no session 3") as caught:
        find_participants(root, Selection(["02"], ["3"]))
    assert "1, 2" in caught.value.hint
    with pytest.raises(InputError, match="holds no participant"):
        find_participants(root / "derivatives")


@pytest.mark.parametrize(
    ("query", "id", "left"),
    [
        ({"t1w": {"acquisition": "mprage"}}, "sub-01", {"sub-01_acq-mprage_T1w", "sub-01_FLAIR"}),
        ({"t1w": {"acq": ["none", "space"]}}, "sub-01", {"sub-01_acq-space_T1w", "sub-01_FLAIR"}),
        ({"t1w": {"acquisition": None}}, "sub-01", {"sub-01_FLAIR"}),
        ({"flair": {"run": 2}}, "sub-02_ses-2", {"sub-02_ses-2_run-2_FLAIR"}),
        ({"flair": {"run": "01", "session": "2"}}, "sub-02_ses-2", {"sub-02_ses-2_run-1_FLAIR"}),
        ({"t1ce": {"ceagent": "*"}, "flair": {"extension": "nii.gz"}}, "sub-02_ses-1", {"sub-02_ses-1_ce-gd_T1w"}),
        ({"flair": {"datatype": "perf", "suffix": "FLAIR"}}, "sub-02_ses-1", {"sub-02_ses-1_ce-gd_T1w"}),
    ],
)
def test_filters_choose_scans(root: Path, tmp_path: Path, query: Any, id: str, left: set[str]) -> None:
    cases = {case.id: case for case in find_participants(root, Selection(filters=filters(tmp_path, query)))}
    assert {path.name.partition(".")[0] for path in cases[id].images.values()} == left
    assert cases[id].problem is None


def test_what_filters_leave_nothing_of_is_said_so(root: Path, tmp_path: Path) -> None:
    chosen = Selection(["02"], ["2"], filters(tmp_path, {"flair": {"run": 7}}))
    (case,) = find_participants(root, chosen)
    assert case.problem is not None and "that the filters leave" in case.problem.message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1], "no table of queries"),
        ({"bold": {}}, "there are no scans 'bold'"),
        ({"t1w": {"acquisitoin": "x"}}, "no entity 'acquisitoin'"),
        ({"t1w": {"run": {"a": 1}}}, "run is neither"),
    ],
)
def test_wrong_filters_are_usage_errors(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        filters(tmp_path, content)


def test_filters_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text("{")
    for name in ("f.json", "none.json"):
        with pytest.raises(UsageError, match=f"Cannot read the filters {name}"):
            read_filters(tmp_path / name)


def test_scans_of_another_participant_are_no_scans_of_this_one(tmp_path: Path) -> None:
    root = touch(tmp_path / "raw", "sub-01/anat/sub-02_FLAIR.nii.gz")
    (case,) = find_participants(root)
    assert case.problem is not None and "its folder holds scans of sub-02" in case.problem.message
