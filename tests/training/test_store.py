"""The slice store: shared by trainings on the very same scans, and nobody else's file is touched."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from phantoms import affine, brain, lesion, write
from tinytraining import train, write_case, write_cases

from braincli.errors import InputError, UsageError
from braincli.imaging.cases import find_cases
from braincli.methods.base import healthy_tissue
from braincli.runtime import files
from braincli.runtime.progress import Reporter
from braincli.spec import SliceSpec
from braincli.training import store as stores
from braincli.training.data import Source, pools
from braincli.training.store import BEGUN, DONE, build_store, identity, open_store

SPEC = SliceSpec(size=(32, 24), min_brain_mm2=20.0)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    return write_cases(tmp_path / "cohort")


def changed_scan(cohort: Path) -> str:
    write_case(cohort / "b", seed=5)
    return "the flair of b has changed"


def changed_lesion(cohort: Path) -> str:
    shutil.copy(cohort / "a" / "a_seg.nii.gz", cohort / "swap.nii.gz")
    content = bytearray((cohort / "swap.nii.gz").read_bytes())
    content[4] ^= 1  # the time stamp of gzip: another file, if not another mask
    (cohort / "a" / "a_seg.nii.gz").write_bytes(bytes(content))
    (cohort / "swap.nii.gz").unlink()
    return "the lesion of a has changed"


def no_lesion(cohort: Path) -> str:
    (cohort / "a" / "a_seg.nii.gz").unlink()
    return "the lesion of a has changed"


def another_case(cohort: Path) -> str:
    write_case(cohort / "c", seed=3)
    return "c is new"


def a_case_less(cohort: Path) -> str:
    shutil.rmtree(cohort / "b")
    return "b is gone"


@pytest.mark.parametrize("change", [changed_scan, changed_lesion, no_lesion, another_case, a_case_less])
def test_slices_of_other_scans_are_not_reused(change: Any, cohort: Path, tmp_path: Path) -> None:
    train(cohort, tmp_path / "one", store=tmp_path / "slices")
    before = {path.name: files.sha256(path) for path in (tmp_path / "slices").iterdir()}
    train(cohort, tmp_path / "two", store=tmp_path / "slices")
    text = change(cohort)
    with pytest.raises(UsageError, match=text):
        train(cohort, tmp_path / "three", store=tmp_path / "slices")
    assert {path.name: files.sha256(path) for path in (tmp_path / "slices").iterdir()} == before


def test_the_group_is_part_of_what_slices_are(cohort: Path) -> None:
    cases = find_cases(cohort)
    assert identity(cases) != identity([replace(each, group="healthy") for each in cases])
    assert set(identity(cases)["a"]) == {"flair", "lesion", "group"}


def test_what_may_be_a_lesion_is_neither_healthy_nor_diseased(cohort: Path, tmp_path: Path) -> None:
    """Slices with unsure tissue are drawn where all are, never as healthy ones; the case's others are healthy."""
    known, other = find_cases(cohort)
    doubtful = replace(other, lesion=None, unsure=other.lesion)
    store = build_store([known, doubtful], SPEC, tmp_path / "slices")
    assert store.unsure is not None and identity([doubtful])["b"].keys() == {"flair", "unsure", "group"}
    first, second = (store.case == number for number in range(2))
    unsure = store.unsure.any(axis=(1, 2, 3))
    assert not unsure[first].any() and unsure[second].any() and not store.lesion[second].any()
    assert (store.label[second & unsure] == -1).all() and (store.label[second & ~unsure] == 0).all()
    (every,), (healthy,) = (pools(store, kind, "restore") for kind in ("any", "healthy"))
    assert len(every) == len(store) and not unsure[healthy].any()
    batch = Source(store, torch.device("cpu")).batch(np.flatnonzero(unsure))
    assert batch.unsure is not None and not (healthy_tissue(batch) & batch.unsure).any()


@pytest.mark.parametrize("name", ["image.npy", "notes.txt", "brain.npy"])
def test_a_folder_with_files_of_others_is_refused(name: str, cohort: Path, tmp_path: Path) -> None:
    folder = tmp_path / "slices"
    folder.mkdir()
    (folder / name).write_text("mine")
    with pytest.raises(UsageError, match=f"is no folder of slices: it holds {name}"):
        train(cohort, tmp_path / "m", store=folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {name: "mine"}


class Killed(BaseException):
    pass


def test_a_store_that_was_begun_is_begun_again(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases, folder = find_cases(cohort), tmp_path / "slices"

    def die(path: Path, content: Any) -> None:
        if path.name == DONE:
            raise Killed
        files.write_text(path, "{}")

    with monkeypatch.context() as patch:
        patch.setattr(stores.files, "write_json", die)
        with pytest.raises(Killed):
            build_store(cases, SPEC, folder)
    assert (folder / BEGUN).exists() and not (folder / DONE).exists() and (folder / "image.npy").exists()
    (folder / "notes.txt").write_text("mine")
    store = build_store(cases, SPEC, folder)
    assert not (folder / BEGUN).exists() and (folder / "notes.txt").read_text() == "mine"
    assert store.sources == identity(cases) and open_store(folder).fingerprint == store.fingerprint


@pytest.mark.parametrize("damage", ["cut", "no JSON", "older", "gone"])
def test_a_damaged_store_is_said(damage: str, cohort: Path, tmp_path: Path) -> None:
    folder = tmp_path / "slices"
    build_store(find_cases(cohort), SPEC, folder)
    array = folder / "image.npy"
    if damage == "cut":
        array.write_bytes(array.read_bytes()[:-100])
    elif damage == "gone":
        array.unlink()
    else:
        (folder / DONE).write_text("{" if damage == "no JSON" else '{"cases": {}, "spec": {}}')
    with pytest.raises(UsageError, match="The slices in slices cannot be used"):
        open_store(folder)


def test_what_is_odd_about_scans_is_said_before_they_are_learnt_from(tmp_path: Path) -> None:
    """qform and sform apart, and a lesion mask of -1: a warning, and a refusal."""
    case, grid = tmp_path / "a", affine("LPS", (3.0, 3.0, 4.0))
    moved = grid.copy()
    moved[0, 3] += 12
    shape = (40, 48, 16)
    write(case / "a_flair.nii.gz", brain(shape), grid, qform=moved)
    write(case / "a_seg.nii.gz", lesion(shape), grid)
    heard: list[str] = []
    reporter = Reporter()
    reporter.warn = heard.append  # type: ignore[method-assign]
    build_store(find_cases(case), SPEC, tmp_path / "store", reporter=reporter)
    assert any(text.startswith("a: a_flair.nii.gz") and "qform" in text for text in heard), heard
    write(case / "a_seg.nii.gz", -lesion(shape).astype("int16"), grid)
    with pytest.raises(InputError, match=r"a_seg.nii.gz has values below 0 \(down to -1\): that is no mask"):
        build_store(find_cases(case), SPEC, tmp_path / "other")
