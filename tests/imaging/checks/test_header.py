"""What a header claims against what follows it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import phantoms
import pytest
from phantoms import affine, brain, write

from braincli.errors import InputError
from braincli.imaging import volume
from braincli.imaging.checks import Level, inspect_file

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("slope", [1e-45, -1e-42, 1e-38, 1e35, 3e38, INF])
def test_senseless_slope_is_ignored_with_a_warning(slope: float, tmp_path: Path) -> None:
    for labels in (False, True):
        path = write(tmp_path / "scan.nii", brain().astype(np.int16), scl_slope=slope)
        loaded = volume.load(path, labels=labels)
        found = [(p.level, p.code) for p in loaded.problems if p.code != "scan-as-labels"]  # which it is
        assert found == [(Level.WARNING, "scaling")]
        assert np.array_equal(loaded.data, brain().astype(np.int16))


@pytest.mark.parametrize("intercept", [NAN, INF, 3e38])
def test_senseless_intercept_is_ignored_with_a_warning(intercept: float, tmp_path: Path) -> None:
    loaded = volume.load(write(tmp_path / "scan.nii", scl_slope=1, scl_inter=intercept))
    assert [p.code for p in loaded.problems] == ["scaling"] and np.array_equal(loaded.data, brain())


def test_intercept_that_swallows_the_tissue_is_refused(tmp_path: Path) -> None:
    [problem] = inspect_file(write(tmp_path / "scan.nii", scl_slope=1, scl_inter=1e9))
    assert problem.code == "value-range" and "1e+09" in problem.message


def test_bits_per_voxel_are_held_against_the_data_type(tmp_path: Path) -> None:
    loaded = volume.load(write(tmp_path / "scan.nii", bitpix=16))
    assert [(p.level, p.code) for p in loaded.problems] == [(Level.WARNING, "bitpix")]
    assert "16 bits per voxel, but its data type has 32" in loaded.problems[0].message
    assert np.array_equal(loaded.data, brain())
    damaged = write(tmp_path / "type.nii", (2, 2, 2) * brain()[..., :3].astype(np.int16), datatype=2)
    assert [p.code for p in inspect_file(damaged)] == ["bitpix", "larger-than-header"]


def test_a_slice_more_than_the_header_says_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nii.gz", dim=[3, 16, 18, 11, 1, 1, 1, 1])
    with pytest.raises(InputError, match="larger than its header says"):
        volume.load(path)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "of 0 bytes"), (-16, "of -16"), (9999, "of 9,999 bytes"), (48, "of 48")]
)
def test_extension_that_does_not_fit_is_warned_of(size: int, text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nii", extension=b"x" * 20)
    content = bytearray(path.read_bytes())
    content[352:356] = struct.pack("<i", size)
    path.write_bytes(content)
    loaded = volume.load(path)
    assert [(p.level, p.code) for p in loaded.problems] == [(Level.WARNING, "extension")]
    assert text in loaded.problems[0].message and np.array_equal(loaded.data, brain())


@pytest.mark.parametrize("offset", [352, 368])
def test_voxels_that_would_begin_within_an_extension_are_refused(offset: int, tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nii.gz", extension=b"x" * 20, vox_offset=offset)
    errors = [p.code for p in inspect_file(path) if p.level is Level.ERROR]
    assert errors == ["larger-than-header"]  # read from there, they would be shifted by the rest of it


@pytest.mark.parametrize("offset", [NAN, INF, -352, 0, 351, 352.5, 1e30])
def test_senseless_offset_is_refused(offset: float, tmp_path: Path) -> None:
    assert [p.code for p in inspect_file(write(tmp_path / "scan.nii", vox_offset=offset))] == ["offset"]


@pytest.mark.parametrize("shape", [(32768, 4, 4), (2**40, 2**40, 2**40), (4, 4, 4, 2**62)])
def test_dimensions_whose_product_overflows_are_refused_before_reading(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nii", nifti2=True)
    content = bytearray(path.read_bytes())
    content[16:80] = struct.pack("<8q", len(shape), *shape, *(1,) * (7 - len(shape)))
    path.write_bytes(content)
    [problem] = inspect_file(path)
    assert problem.code in ("too-large", "four-dimensional", "truncated")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"datatype": 1, "bitpix": 1}, "data-type"),
        ({"datatype": 1536, "bitpix": 128}, "data-type"),
        ({"datatype": 1792, "bitpix": 128}, "data-type"),
        ({"dim": [5, 16, 18, 4, 1, 3, 1, 1]}, "four-dimensional"),
        ({"srow_x": [1e30, 0, 0, 0], "qform_code": 0}, "spacing"),
    ],
)
def test_what_is_no_single_real_volume_is_refused(fields: dict[str, object], code: str, tmp_path: Path) -> None:
    assert [p.code for p in inspect_file(write(tmp_path / "scan.nii", **fields))] == [code]


def test_qfac_of_zero_means_one(tmp_path: Path) -> None:
    matrix = affine("RAS", (1, 2, 3), degrees=(20, 0))
    pixdim = [0, 1, 2, 3, 0, 0, 0, 0]
    loaded = volume.load(write(tmp_path / "scan.nii", None, matrix, codes=(1, 0), pixdim=pixdim))
    assert loaded.problems == () and np.allclose(loaded.affine, matrix, atol=1e-5)
    path = write(tmp_path / "nan.nii", None, matrix, codes=(1, 0), pixdim=[NAN, *pixdim[1:]])
    assert [p.code for p in inspect_file(path)] == ["qform"]


def test_unknown_unit_is_warned_of_and_odd_intent_is_nothing(tmp_path: Path) -> None:
    loaded = volume.load(write(tmp_path / "scan.nii", xyzt_units=5, intent_code=-3))
    assert [p.code for p in loaded.problems] == ["units"] and "unknown unit (5)" in loaded.problems[0].message
    assert phantoms.unpacked(tmp_path / "scan.nii")[123] == 5
