"""A cohort in parts: by patient, reproducible, every kind in every part, and written as manifests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import phantoms
import pytest

from braincli import api
from braincli.config import SplitConfig
from braincli.errors import InputError, UsageError
from braincli.imaging.case import Case
from braincli.imaging.cases import find_cases
from braincli.imaging.names import Contrast
from braincli.imaging.splitting import narrowed, patient_of, split


def cohort(count: int = 20) -> list[Case]:
    """Half healthy, half with a mask."""
    return [
        Case(f"p{n:02d}", {Contrast.T1: Path("t1")}, group="healthy")
        if n < count // 2
        else Case(f"p{n:02d}", {Contrast.T1: Path("t1")}, lesion=Path("seg"))
        for n in range(count)
    ]


def ids(cases: list[Case]) -> set[str]:
    return {case.id for case in cases}


def test_every_case_is_in_one_part_and_kinds_are_spread() -> None:
    parts = split(cohort(), validation=4, test=0.2)
    (fold,) = parts.folds
    groups = [fold.train, fold.validation, parts.test]
    assert [len(group) for group in groups] == [12, 4, 4]
    assert set.union(*map(ids, groups)) == ids(cohort())
    assert [sum(case.group == "healthy" for case in group) for group in groups] == [6, 2, 2]


def test_folds_take_turns() -> None:
    parts = split(cohort(), folds=5, test=2)
    turns = [ids(fold.validation) for fold in parts.folds]
    assert len(turns) == 5 and sorted(map(len, turns)) == [3, 3, 4, 4, 4]
    assert set.union(*turns) == ids(cohort()) - ids(parts.test) and sum(map(len, turns)) == 18
    assert all(ids(fold.train) == set.union(*turns) - turn for fold, turn in zip(parts.folds, turns, strict=True))


def test_the_seed_decides_and_nothing_else() -> None:
    one, again, other = (split(list(cases), test=5, seed=seed).test for cases, seed in (
        (cohort(), 0), (reversed(cohort()), 0), (cohort(), 1)))  # fmt: skip
    assert one == again != other


def test_a_patient_stays_together() -> None:
    names = ["BraTS-GLI-00004-000", "BraTS-GLI-00004-001", "sub-a_ses-1", "sub-a_ses-2", "x", "y"]
    cases = [Case(name, {Contrast.T1: Path("t1")}) for name in names]
    for seed in range(5):
        for fold in split(cases, folds=4, seed=seed).folds:
            assert len(fold.validation) in (1, 2)
            assert not {patient_of(c.id) for c in fold.train} & {patient_of(c.id) for c in fold.validation}
    assert (
        patient_of("site3-p12-t2", re.compile(r"p(\d+)")) == "12"
        and patient_of("site3-p12-t2", re.compile(r"p\d+")) == "p12"
    )
    assert patient_of("other", re.compile(r"p(\d+)")) == "other"


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(UsageError, match="Too few for this split: 3 patients"):
        split(cohort(20)[:3], folds=4)
    with pytest.raises(UsageError, match="Too few for this split: 20 patients"):
        split(cohort(), validation=11, test=10)


def test_a_cohort_may_be_there_to_test_alone(tmp_path: Path) -> None:
    phantoms.write_case(tmp_path / "data" / "a", "a", ("t1",))
    phantoms.write_case(tmp_path / "data" / "b", "b", ("t1",))
    parts = api.split(tmp_path / "data", tmp_path / "parts", SplitConfig(validation=1, test=1))
    assert [len(part) for part in (parts.folds[0].train, parts.folds[0].validation, parts.test)] == [0, 1, 1]
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {"validation.tsv", "test.tsv", "splits.json"}


def test_parts_are_manifests_that_every_command_takes(tmp_path: Path) -> None:
    for number in range(6):
        phantoms.write_case(tmp_path / "data" / f"p{number}", f"p{number}", ("t1", "flair"), seg=number % 2 == 0)
    said = api.split(tmp_path / "data", tmp_path / "parts", SplitConfig(folds=2, test=2, contrasts=("flair",)))
    (tmp_path / "data").rename(tmp_path / "parts" / "moved")  # paths are relative
    (tmp_path / "parts" / "moved").rename(tmp_path / "data")
    found = find_cases(tmp_path / "parts" / "fold-1" / "train.tsv")
    assert ids(found) == ids(said.folds[1].train) and all(set(case.images) == {"flair"} for case in found)
    assert all(case.lesion is None or case.lesion.samefile(tmp_path / "data" / case.id / f"{case.id}_seg.nii.gz")
               for case in found)  # fmt: skip
    listed = json.loads((tmp_path / "parts" / "splits.json").read_text())
    assert [set(fold["val"]) for fold in listed] == [ids(fold.validation) for fold in said.folds]
    with pytest.raises(UsageError, match=r"test\.tsv exists"):
        api.split(tmp_path / "data", tmp_path / "parts", SplitConfig(folds=2, test=2))


def test_what_all_cases_are_can_be_said(tmp_path: Path) -> None:
    phantoms.write_case(tmp_path / "a", "a", ("t1",), seg=False)
    phantoms.write_case(tmp_path / "b", "b", ("t1",))
    healthy, masked = narrowed(find_cases(tmp_path), group="healthy")
    assert (healthy.group, masked.group) == ("healthy", None), "a mask tells slice by slice"
    with pytest.raises(InputError, match="a has no t2 or flair"):
        narrowed(find_cases(tmp_path), (Contrast.T2, Contrast.FLAIR))
