"""Scans that callers hand over in memory: the same case as from files, and clear words where they are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from phantoms import affine, brain, write, write_case

from braincli.errors import InputError, UsageError
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.given import Scratch, as_nifti, given_cases
from braincli.imaging.reading import load_images
from braincli.imaging.volume import load

GRID = affine("LPS", (1.0, 1.5, 2.0), degrees=(10.0, 5.0))


def test_an_image_in_memory_is_read_as_its_file_is(tmp_path: Path) -> None:
    path = write(tmp_path / "p01_flair.nii.gz", (brain() * 3).astype(np.int16), GRID, codes=(1, 4), slope=(0.5, 2.0))
    with Scratch() as scratch:
        told, (case,) = load(path), given_cases({"FLAIR": nib.load(path)}, scratch)
        image = load_images(case)[Contrast.FLAIR]
        assert case.id == "p01" and image.source == case.images[Contrast.FLAIR] != path
        assert np.array_equal(image.data, told.data) and np.array_equal(image.affine, told.affine)
        assert (image.header.qform_code, image.header.sform_code) == (1, 4)
        folder = case.images[Contrast.FLAIR].parent
        assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_what_was_computed_is_not_rounded_to_the_type_of_the_header(tmp_path: Path) -> None:
    stored = nib.load(write(tmp_path / "p01_t1.nii.gz", brain().astype(np.int16), GRID))
    image = as_nifti(nib.Nifti1Image(np.asarray(stored.dataobj) / 7, stored.affine, stored.header), "t1")
    assert np.array_equal(np.asarray(image.dataobj), np.asarray(stored.dataobj) / 7)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (bool, np.uint8), (np.float16, np.float32), (np.float32, np.float32), (np.longdouble, np.float64),
        (np.int64, np.int32), (np.uint8, np.uint8), (np.uint16, np.uint16),
    ],
)  # fmt: skip
def test_arrays_of_any_number_become_nifti(kind: Any, stored: type) -> None:
    array = (brain() > 90).astype(kind)
    image = as_nifti((array, GRID), "mask")
    assert image.get_data_dtype() == stored
    assert np.array_equal(np.asarray(image.dataobj), array.astype(stored)) and np.allclose(image.affine, GRID)
    again = type(image).from_bytes(image.to_bytes())
    assert np.array_equal(np.asarray(again.dataobj), np.asarray(image.dataobj))


def test_numbers_beyond_32_bits_are_kept() -> None:
    image = as_nifti((np.full((2, 2, 2), 2**40), np.eye(4)), "t1")
    assert np.asarray(image.dataobj).max() == 2**40


def test_images_of_other_formats_are_taken(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(brain(), GRID), tmp_path / "brain.mgz")
    with Scratch() as scratch:
        (case,) = given_cases({"t1": nib.load(tmp_path / "brain.mgz")}, scratch)
        image = load_images(case)[Contrast.T1]
    assert np.array_equal(image.data, brain()) and np.allclose(image.affine, GRID, atol=1e-4)
    assert isinstance(as_nifti(nib.Nifti2Image(brain(), GRID), "t1"), nib.Nifti2Image)


def test_a_mapping_has_the_columns_of_a_manifest(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "p01")
    mask = ((brain() > 0), affine())
    with Scratch() as scratch:
        scans = {"t1": str(folder / "p01_t1.nii.gz"), "flair": folder / "p01_flair.nii.gz", "t2": None}
        (case,) = given_cases(
            scans | {"brain": mask, "lesion": folder / "p01_seg.nii.gz", "group": "diseased"}, scratch
        )
        assert case.id == "p01" and list(case.images) == [Contrast.T1, Contrast.FLAIR]
        assert case.images[Contrast.T1] == folder / "p01_t1.nii.gz", "files stay where they are"
        assert case.lesion == folder / "p01_seg.nii.gz" and case.group == "diseased"
        assert case.brain is not None and load(case.brain, labels=True).data.sum() == (brain() > 0).sum()


def test_cases_come_one_by_one_in_a_list_or_by_their_ids(tmp_path: Path) -> None:
    scan = (brain(), affine())
    folder = write_case(tmp_path / "p01", contrasts=("t1",))
    with Scratch() as scratch:
        assert [case.id for case in given_cases({"a/b": {"t1": scan}, "7": {"t2": scan}}, scratch)] == ["a/b", "7"]
        assert [case.id for case in given_cases([{"t1": scan}, {"t1": scan}], scratch)] == ["case-1", "case-2"]
        mixed = given_cases([{"t1": scan}, folder, Case("mine", {Contrast.T1: folder})], scratch)
        assert sorted(case.id for case in mixed) == ["case", "mine", "p01"]
        good, bad = given_cases({"good": {"t1": scan}, "bad": {"t1": brain()}}, scratch)
    assert good.problem is None
    assert bad.problem is not None and bad.problem.message == "t1 is an array without an affine."


@pytest.mark.parametrize(
    ("inputs", "kind", "text"),
    [
        ({"t1": brain()}, InputError, "t1 is an array without an affine"),
        ({"t1": (brain(), None)}, InputError, r"t1 has no affine of shape \(4, 4\)"),
        ({"t1": (brain(), np.eye(3))}, InputError, r"t1 has no affine of shape \(4, 4\)"),
        ({"t1": (brain()[0], np.eye(4))}, InputError, "t1 has 2 axes"),
        ({"t1": (brain() * 1j, np.eye(4))}, InputError, "t1 has values of type complex64"),
        ({"t1": (np.array([[["a"]]]), np.eye(4))}, InputError, "t1 has values of type <U1"),
        ({"t1": 7}, InputError, "t1 is of type int"),
        (brain(), InputError, "type ndarray does not say what it shows"),
        (nib.Nifti1Image(brain(), np.eye(4)), InputError, "type Nifti1Image does not say what it shows"),
        ([nib.Nifti1Image(brain(), np.eye(4))], InputError, "type Nifti1Image does not say what it shows"),
        (7, InputError, "type int does not say what it shows"),
        ({"pd": (brain(), np.eye(4))}, UsageError, "There is no contrast 'pd'"),
        ({"brain": (brain(), np.eye(4))}, UsageError, "No scan was given"),
        ({"t1": (brain(), np.eye(4)), "group": "ill"}, UsageError, "There is no group 'ill'"),
        ({"t1": "a_t1.nii", "t2": "a_t1.nii"}, InputError, "same file"),
        ([], UsageError, "No scan was given"),
    ],
)
def test_what_is_no_scan_is_said(inputs: Any, kind: type[Exception], text: str) -> None:
    with Scratch() as scratch, pytest.raises(kind, match=text):
        given_cases(inputs, scratch)


def test_an_image_whose_file_is_gone_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "p01_t1.nii.gz")
    image = nib.load(path)
    path.unlink()
    with Scratch() as scratch, pytest.raises(InputError, match="t1 cannot be read"):
        given_cases({"t1": image}, scratch)
