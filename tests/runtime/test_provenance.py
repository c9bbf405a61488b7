"""Run records: what counts as the same run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from braincli.errors import InputError
from braincli.runtime.provenance import RunRecord, hashes


@pytest.fixture
def scans(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a" / "scan.nii.gz", tmp_path / "b" / "scan.nii.gz"
    for path, content in zip(paths, (b"one", b"two"), strict=True):
        path.parent.mkdir()
        path.write_bytes(content)
    return paths


def record(roles: dict[str, Path], **config: object) -> RunRecord:
    return RunRecord("detect", "p", dict(config), hashes(roles), "weights")


def test_swapped_roles_are_another_run_even_under_one_base_name(scans: tuple[Path, Path]) -> None:
    one, two = scans
    straight = record({"t1": one, "flair": two})
    assert straight.inputs["t1"]["file"] == straight.inputs["flair"]["file"] == "scan.nii.gz"
    assert straight.inputs["t1"]["sha256"] != straight.inputs["flair"]["sha256"]
    assert straight.identity() == record({"flair": two, "t1": one}).identity(), "the order of roles says nothing"
    assert straight.identity() != record({"t1": two, "flair": one}).identity()
    assert straight.identity() != record({"t2": one, "flair": two}).identity()


def test_options_that_change_results_are_part_of_it_and_others_are_not(scans: tuple[Path, Path]) -> None:
    roles = {"t1": scans[0]}
    plain = record(roles, volume=None, resume=False).identity()
    assert plain == record(roles, volume=None, resume=True).identity()
    assert plain != record(roles, volume=1, resume=False).identity()
    other = record(roles, volume=None, resume=False)
    other.case = "q"  # the noise is drawn by case
    assert plain != other.identity()


def test_a_renamed_input_is_the_same_input(scans: tuple[Path, Path]) -> None:
    before = record({"t1": scans[0]}).identity()
    assert record({"t1": scans[0].rename(scans[0].with_name("other.nii.gz"))}).identity() == before


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lost\.nii: no such file"):
        hashes({"t1": tmp_path / "lost.nii"})


def test_names_that_are_no_text_survive_the_record(tmp_path: Path) -> None:
    scan = Path(str(tmp_path), "caf\udce9.nii.gz")
    scan.write_bytes(b"one")
    made = record({"t1": scan})
    made.write(tmp_path / "record.json")
    content = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert content["inputs"]["t1"]["file"] == scan.name and content["identity"] == made.identity()
