"""A .zip instead of a folder: opened where it is named, and never a way out of its folder."""

from __future__ import annotations

import stat
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pytest
from phantoms import brain, write

from braincli import api
from braincli.errors import InputError, ResourceError
from braincli.imaging import archive
from braincli.imaging.archive import unpack
from braincli.imaging.cases import find_cases
from braincli.imaging.given import Scratch, given_cases

SHAPE = (16, 18, 12)


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with ZipFile(path, "w", ZIP_DEFLATED) as content:
        for name, data in members.items():
            content.writestr(name, data)
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("raw")
    paths = [write(folder / f"p1_{name}.nii.gz", brain(SHAPE, seed)) for seed, name in enumerate(("t1", "flair"))]
    return {f"export/{path.name}": path.read_bytes() for path in paths}


def test_a_zip_is_a_case_for_as_long_as_the_call_takes(scans: dict[str, bytes], tmp_path: Path) -> None:
    path = packed(tmp_path / "p1.ZIP", {**scans, "__MACOSX/._p1_t1.nii.gz": b"\0", "export/notes.txt": b"x"})
    with Scratch() as scratch:
        (case,) = given_cases(path, scratch)
        assert case.id == "p1" and set(case.images) == {"t1", "flair"}
        assert case.images["t1"].read_bytes() == scans[f"export/{case.images['t1'].name}"]  # type: ignore[index]
    assert not case.images["t1"].exists() and [one.name for one in tmp_path.iterdir()] == ["p1.ZIP"]  # type: ignore[index]
    assert not api.check(path).errors and len(api.check(path).cases[0].files) == 2


def test_names_of_windows_are_folders(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"S1\\IM1": b"one"})
    (tmp_path / "to").mkdir()
    assert (unpack(path, tmp_path / "to") / "S1" / "IM1").read_bytes() == b"one"


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/out.txt", "C:\\out.txt", "..\\out.txt"])
def test_no_name_leads_out(name: str, tmp_path: Path) -> None:
    path, to = packed(tmp_path / "a.zip", {name: b"x"}), tmp_path / "a" / "b"
    to.mkdir(parents=True)
    with pytest.raises(InputError, match=r"a\.zip holds names that lead out of it"):
        unpack(path, to)
    assert not any(one.is_file() for one in tmp_path.rglob("*") if one != path)


def test_a_link_becomes_no_link(tmp_path: Path) -> None:
    link = ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with ZipFile(tmp_path / "a.zip", "w") as content:
        content.writestr(link, "/etc/passwd")
    (tmp_path / "to").mkdir()
    made = unpack(tmp_path / "a.zip", tmp_path / "to") / "link"
    assert not made.is_symlink() and made.read_text() == "/etc/passwd"


def test_what_cannot_be_opened_is_told(
    scans: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = packed(tmp_path / "whole.zip", scans)
    for name, content in {
        "cut": whole.read_bytes()[:-60], "text": b"<html>", "empty": b"",
        "flipped": whole.read_bytes().replace(whole.read_bytes()[200:260], bytes(60), 1),
    }.items():  # fmt: skip
        (tmp_path / f"{name}.zip").write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}\.zip is damaged"), Scratch() as scratch:
            given_cases(tmp_path / f"{name}.zip", scratch)
    with ZipFile(tmp_path / "locked.zip", "w") as content:
        content.writestr("a", b"x")
        content.filelist[0].flag_bits |= archive.ENCRYPTED
    with pytest.raises(InputError, match=r"locked\.zip is encrypted"), Scratch() as scratch:
        given_cases(tmp_path / "locked.zip", scratch)
    monkeypatch.setattr(archive, "MOST_FILES", 1)
    with pytest.raises(InputError, match="in 2 files"), Scratch() as scratch:
        given_cases(whole, scratch)
    monkeypatch.undo()
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(ResourceError, match=r"there is room for 0\.0 GB"), Scratch() as scratch:
        given_cases(whole, scratch)


def test_a_damaged_one_stops_no_other_and_is_reported_once(scans: dict[str, bytes], tmp_path: Path) -> None:
    good, bad = packed(tmp_path / "p1.zip", scans), tmp_path / "p2.zip"
    bad.write_bytes(b"no archive")
    with Scratch() as scratch:
        cases = given_cases([good, bad], scratch)
        assert {case.id: case.problem is None for case in cases} == {"p1": True, "p2": False}
    report = api.check([good, bad])
    assert [error.message for error in report.errors] == ["p2.zip is damaged."]
    assert [case.id for case in report.cases] == ["p1", "p2"]


def test_a_folder_of_archives_and_other_archives_say_what_to_do(scans: dict[str, bytes], tmp_path: Path) -> None:
    packed(tmp_path / "p1.zip", scans)
    with pytest.raises(InputError) as error:
        find_cases(tmp_path)
    assert "FOLDER/*.zip" in error.value.hint
    for name, hint in {"p1.tar": "Unpack it first.", "p.csv": "save it as .tsv", "p.toml": "--config"}.items():
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(InputError) as error:
            find_cases(tmp_path / name)
        assert hint in error.value.hint
