"""What a run may replace, and what its record says at every moment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from braincli.errors import InputError, ResourceError, UsageError
from braincli.runtime.provenance import RunRecord
from braincli.runtime.transaction import Earlier, Transaction


def plan(folder: Path, names: str = "a b", *, option: int = 0, **more: Any) -> Transaction:
    record = RunRecord("detect", "p", {"option": option})
    return Transaction(folder / "p_record.json", record, [folder / name for name in names.split()], **more)


def complete(folder: Path, names: str = "a b", **more: Any) -> None:
    run = plan(folder, names, **more)
    run.begin()
    for path in run.planned:
        path.write_text(f"{path.name} of {run.record.config['option']}")
        run.add(path)
    run.finish()


def status(folder: Path) -> str:
    return str(json.loads((folder / "p_record.json").read_text())["status"])


def test_a_run_is_done_only_when_it_says_so_and_its_files_are_there(tmp_path: Path) -> None:
    assert not plan(tmp_path).is_done()
    run = plan(tmp_path)
    run.begin()
    assert status(tmp_path) == "running" and not plan(tmp_path).is_done()
    complete(tmp_path)
    assert status(tmp_path) == "done" and plan(tmp_path).is_done()
    assert not plan(tmp_path, option=1).is_done()
    (tmp_path / "a").write_text("changed")
    assert not plan(tmp_path).is_done()


@pytest.mark.parametrize("resume", [True, False])
def test_a_file_that_no_record_names_is_the_users(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(UsageError, match="a exists"):
        plan(tmp_path, resume=resume).refuse()
    plan(tmp_path, overwrite=True).refuse()
    with pytest.raises(UsageError, match="a was not written by braincli detect"):
        plan(tmp_path, overwrite=True, own_only=True).refuse()
    run = plan(tmp_path, "b")
    run.begin()  # names b alone
    with pytest.raises(UsageError, match="a exists"):
        plan(tmp_path, resume=resume).refuse()
    assert (tmp_path / "a").read_text() == "mine"


def test_what_an_incomplete_run_was_to_write_may_be_written(tmp_path: Path) -> None:
    plan(tmp_path).begin()
    (tmp_path / "a").write_text("half of the run")
    plan(tmp_path, option=1).refuse()
    complete(tmp_path, option=1)
    assert plan(tmp_path, option=1).is_done()


def test_a_complete_run_gives_way_to_the_same_run_or_to_overwrite(tmp_path: Path) -> None:
    complete(tmp_path)
    (tmp_path / "b").unlink()
    plan(tmp_path, resume=True).refuse()
    with pytest.raises(UsageError, match="a exists"):
        plan(tmp_path).refuse()
    with pytest.raises(UsageError, match="other inputs, options or model"):
        plan(tmp_path, option=1, resume=True).refuse()
    with pytest.raises(UsageError, match=r"p_record\.json exists"):
        plan(tmp_path, "c").refuse()
    plan(tmp_path, "c", overwrite=True).refuse()


def test_an_output_that_was_changed_by_hand_is_not_made_again_over_it(tmp_path: Path) -> None:
    complete(tmp_path)
    (tmp_path / "a").write_text("corrected")
    with pytest.raises(UsageError, match="a was changed since it was written"):
        plan(tmp_path, resume=True, readable=lambda path: True).refuse()
    plan(tmp_path, resume=True, readable=lambda path: False).refuse()  # damaged


def test_what_is_left_over_goes_by_the_old_list_and_nothing_else(tmp_path: Path) -> None:
    complete(tmp_path, "a b c")
    (tmp_path / "label").write_text("drawn by hand")
    run = plan(tmp_path, "a", option=1, overwrite=True)
    run.begin()
    complete(tmp_path, "a", option=2)  # the one before was killed: what it was to remove is still known
    assert {path.name for path in tmp_path.iterdir()} == {"a", "label", "p_record.json"}
    complete(tmp_path, "a b", option=2, overwrite=True)
    (tmp_path / "b").write_text("changed")
    with pytest.raises(UsageError, match=r"b, of the earlier run, was changed since"):
        plan(tmp_path, "a", overwrite=True, readable=lambda path: True).refuse()


def test_neither_an_input_nor_its_sidecar_nor_a_foreign_record_is_replaced(tmp_path: Path) -> None:
    scan, sidecar = tmp_path / "x_flair.nii.gz", tmp_path / "x_flair.json"
    scan.write_text("scan")
    sidecar.write_text("{}")
    record = RunRecord("detect", "x", {})
    for path, inputs in ((sidecar, [scan]), (scan, [scan])):
        with pytest.raises(InputError, match=f"{path.name} is an input"):
            Transaction(path, record, [], inputs, overwrite=True).refuse()
    with pytest.raises(UsageError, match=r"x_flair\.json, where the record goes, was not written by braincli"):
        Transaction(sidecar, record, [], overwrite=True).refuse()
    sidecar.write_text('{"braincli": "1", "command": "synth", "status": "done"}')
    with pytest.raises(UsageError, match="not written by braincli detect"):
        Transaction(sidecar, record, [], overwrite=True).refuse()


def test_an_output_elsewhere_is_known_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    here, there = tmp_path / "u.nii", tmp_path / "other" / "u.nii"
    run = plan(tmp_path / "out", elsewhere={"uncertainty": here})
    run.begin()
    for path in (*run.planned, here):
        path.write_text("x")
        run.add(path)
    run.finish()
    text = (tmp_path / "out" / "p_record.json").read_text()
    assert '"u.nii"' in text and str(tmp_path) not in text
    assert plan(tmp_path / "out", elsewhere={"uncertainty": here}).is_done()
    assert not plan(tmp_path / "out").is_done()
    there.parent.mkdir()
    there.write_text("mine")
    with pytest.raises(UsageError, match=r"u\.nii exists"):
        plan(tmp_path / "out", resume=True, elsewhere={"uncertainty": there}).refuse()
    here.write_text("damaged")
    again = plan(tmp_path / "out", resume=True, elsewhere={"uncertainty": here})
    assert not again.is_done()
    again.refuse()


def test_a_record_cannot_reach_beyond_its_folder(tmp_path: Path) -> None:
    record = {
        "braincli": "1",
        "command": "detect",
        "status": "running",
        "outputs": {"../x": None, "/x": None, "a": None},
    }
    (tmp_path / "r.json").write_text(json.dumps(record))
    assert set(Earlier.at(tmp_path / "r.json", "detect").outputs) == {"a"}


def test_a_record_that_does_not_say_what_it_said_says_nothing(tmp_path: Path) -> None:
    complete(tmp_path)
    path = tmp_path / "p_record.json"
    path.write_text(path.read_text().replace('"facts"', '"fakts"'))
    assert not plan(tmp_path).is_done()
    with pytest.raises(UsageError, match="No record says"):
        plan(tmp_path, resume=True).refuse()


def test_names_that_are_too_long_are_said(tmp_path: Path) -> None:
    for name in ("x" * 256, "\N{LATIN SMALL LETTER E WITH ACUTE}" * 130):
        with pytest.raises(UsageError, match=r"is too long \(\d+ bytes, at most 255\)"):
            plan(tmp_path, name).refuse()


def test_what_was_planned_and_not_written_does_not_stay_from_the_run_before(tmp_path: Path) -> None:
    complete(tmp_path)
    run = plan(tmp_path, option=1, overwrite=True)
    run.begin()
    (tmp_path / "a").write_text("new")
    run.add(tmp_path / "a")
    run.finish()
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "{", '{"braincli": 1}', '{"outputs": []}'])
def test_a_damaged_record_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "p_record.json").write_text(text)
    assert not plan(tmp_path).is_done()
    with pytest.raises(UsageError, match=r"p_record\.json, where the record goes"):
        plan(tmp_path, resume=True).refuse()
    complete(tmp_path, overwrite=True)


def test_places_that_cannot_be_written_to_are_said_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="file is not a folder"):
        plan(tmp_path / "file" / "p").refuse()
    with pytest.raises(UsageError, match="Two outputs would be called a"):
        replace(plan(tmp_path), elsewhere={"uncertainty": tmp_path / "a"}).refuse()


def test_a_folder_without_permission_is_a_resource(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ResourceError, match="Cannot write to"):
        plan(tmp_path).refuse()
