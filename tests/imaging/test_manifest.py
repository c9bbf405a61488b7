"""Cohorts as tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from phantoms import touch

from braincli.errors import InputError
from braincli.imaging.cases import Contrast, find_cases
from braincli.imaging.manifest import as_manifest

T1, FLAIR = Contrast.T1, Contrast.FLAIR


def manifest(folder: Path, *rows: str) -> Path:
    touch(folder, "img/a.nii.gz", "img/b.nii.gz", "img/m.nii.gz")
    path = folder / "cohort.tsv"
    path.write_text("\n".join(rows), encoding="utf-8-sig")
    return path


def test_manifest_with_paths_relative_to_it(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "id\tflair\tt1\tlesion\tbrain\tgroup",
        "zoë\timg/b.nii.gz\tn/a\timg/m.nii.gz\t\tdiseased",
        "anna\t\timg/a.nii.gz",
    )
    anna, zoe = find_cases(path)
    assert (anna.id, anna.images, anna.group) == ("anna", {T1: tmp_path / "img/a.nii.gz"}, None)
    assert (zoe.images, zoe.lesion, zoe.brain) == ({FLAIR: tmp_path / "img/b.nii.gz"}, tmp_path / "img/m.nii.gz", None)
    assert zoe.group == "diseased"


def test_a_line_that_cannot_be_used_does_not_stop_the_others(tmp_path: Path) -> None:
    rows = ["id\tt1\tgroup", "a\timg/a.nii.gz", "b\timg/gone.nii.gz", "c\t", "d\timg/b.nii.gz\till", "e\timg/b.nii.gz"]
    cases = find_cases(manifest(tmp_path, *rows, "f\timg/a.nii.gz", "f\timg/b.nii.gz"))
    problems = {case.id: case.problem.message for case in cases if case.problem}
    assert [case.id for case in cases] == list("abcdef") and list(problems) == list("bcdf")
    assert "line 3: no such file: gone.nii.gz" in problems["b"] and "the id f occurs twice" in problems["f"]


def test_other_columns_hold_facts(tmp_path: Path) -> None:
    rows = ["id\tt1\tage\tbrain_ml\tsite", "a\timg/a.nii.gz\t63.5\tn/a\tIXI", "b\timg/b.nii.gz\told\tnan\t"]
    a, b = find_cases(manifest(tmp_path, *rows))
    assert a.facts == {"age": "63.5", "site": "IXI"} and a.number("age") == 63.5
    for case, name, words in ((a, "brain_ml", "a has no brain_ml"), (b, "age", "b: the age 'old' is not a number"),
                              (b, "brain_ml", "'nan' is not a number")):  # fmt: skip
        with pytest.raises(InputError, match=words) as raised:
            case.number(name)
        assert f"a column {name} in the manifest" in raised.value.hint


def test_a_written_manifest_says_all_that_the_read_one_did(tmp_path: Path) -> None:
    rows = ["id\tt1\tunsure\tage", "a\timg/a.nii.gz\timg/m.nii.gz\t63.5", "b\timg/b.nii.gz\t\t"]
    cases = find_cases(manifest(tmp_path, *rows))
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "b.tsv").write_text(as_manifest(cases, tmp_path / "part"), encoding="utf-8")
    again = find_cases(tmp_path / "part" / "b.tsv")
    assert [case.facts for case in again] == [{"age": "63.5"}, {}]
    assert [case.unsure and case.unsure.resolve() for case in again] == [tmp_path / "img" / "m.nii.gz", None]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["id\tt1\tgrup", "a\timg/a.nii.gz\thealthy"], "unknown column 'grup'"),
        (["id\tt1\tmask", "a\timg/a.nii.gz\timg/m.nii.gz"], "unknown column 'mask'"),
        (["id\tt1\t", "a\timg/a.nii.gz\t"], "unknown column ''"),
        (["id\tT1w", "a\timg/a.nii.gz"], "unknown column 'T1w'"),
        (["t1", "img/a.nii.gz"], "no column id"),
        (["id\tt1"], "has no rows"),
        (["id\tt1", "a\timg/gone.nii.gz"], "line 2: no such file: gone.nii.gz"),
        (["id\tt1", "a\t"], "line 2: no scan"),
        (["id\tt1", "\timg/a.nii.gz"], "line 2: no id"),
        (["id\tt1", "a\timg/a.nii.gz", "a\timg/b.nii.gz"], "the id a occurs twice"),
        (["id\tt1\tgroup", "a\timg/a.nii.gz\till"], "group is 'ill'"),
    ],
)
def test_manifest_mistakes(rows: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        find_cases(manifest(tmp_path, *rows))
    assert message in raised.value.message and raised.value.hint


def test_manifest_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(b"\xff\xfe\x00id")
    with pytest.raises(InputError, match="no table in UTF-8 text"):
        find_cases(tmp_path / "x.tsv")
