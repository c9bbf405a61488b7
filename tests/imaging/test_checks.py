"""One test per defect: what the gatekeeper says, and that reading stops there with exit code 3."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import phantoms
import pytest
from phantoms import affine, brain, patch, write

from braincli.errors import InputError
from braincli.imaging import volume
from braincli.imaging.checks import Level, inspect_file, read
from braincli.imaging.checks.privacy import private_content
from braincli.imaging.checks.survey import check_set

NAN, INF = float("nan"), float("inf")
Maker = Callable[[Path], Path]


def raw(content: bytes) -> Maker:
    return lambda path: (path.write_bytes(content), path)[1]


def header(**fields: object) -> Maker:
    return lambda path: write(path, **fields)


def spacing(value: float) -> Maker:
    return lambda path: write(path, pixdim=[1, value, 1, 1, 0, 0, 0, 0])


def cut(share: float) -> Maker:
    """A gzip file cut at ``share`` of its length."""

    def make(path: Path) -> Path:
        content = write(path).read_bytes()
        return raw(content[: int(len(content) * share)])(path)

    return make


def flip(position: int) -> Maker:
    """A gzip file with one byte changed."""

    def make(path: Path) -> Path:
        content = bytearray(write(path).read_bytes())
        content[position] ^= 0xFF
        return raw(bytes(content))(path)

    return make


def claim(*shape: int) -> Maker:
    return lambda path: write(path, dim=[len(shape), *shape, *(1,) * (7 - len(shape))])


def voxels(bad: float, count: int) -> Maker:
    def make(path: Path) -> Path:
        data = brain()
        data.ravel()[:count] = bad
        return write(path, data)

    return make


def larger(count: int) -> Maker:
    return lambda path: phantoms.pack(path, phantoms.unpacked(write(path)) + bytes(count))


def sheared(amount: float) -> np.ndarray:
    matrix = affine()
    matrix[0, 1] += amount
    return matrix


def singular() -> np.ndarray:
    matrix = affine()
    matrix[:3, 2] = matrix[:3, 1]
    return matrix


def with_nan(path: Path) -> Path:
    return write(path, srow_y=[NAN, 1, 0, 0])


def pair(path: Path) -> Path:
    return write(path, magic=b"ni1")


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def uncompressed(path: Path) -> Path:
    return raw(phantoms.unpacked(write(path)))(path)


REFUSED: dict[str, tuple[Maker, str, str]] = {
    "missing": (lambda path: path, "missing", "no such file"),
    "directory": (folder, "directory", "is a folder"),
    "symlink loop": (loop, "unreadable", "cannot be opened"),
    "pipe": (pipe, "not-regular", "not a regular file"),
    "empty": (raw(b""), "empty", "0 bytes"),
    "empty gzip": (raw(gzip.compress(b"")), "truncated", "within its header (0 bytes)"),
    "tiny": (raw(gzip.compress(b"\x5c\x01\0\0")), "truncated", "within its header (4 bytes)"),
    "text": (raw(b"not a scan at all\n" * 50), "not-gzip", "is not a gzip file"),
    "compressed text": (raw(gzip.compress(b"not a scan at all\n" * 50)), "not-nifti", "is not NIfTI"),
    "git-LFS pointer": (raw(b"version https://git-lfs.github.com/spec/v1\n"), "git-lfs", "git-LFS pointer"),
    "web page": (raw(b"\n<!DOCTYPE html><html>404</html>"), "web-page", "a web page"),
    "DICOM": (raw(bytes(128) + b"DICM" + bytes(500)), "not-nifti", "a DICOM file"),
    "uncompressed": (uncompressed, "not-gzip", "is not compressed, though named .gz"),
    "cut in the gzip header": (cut(0.0008), "truncated", "within its header"),
    "cut at 10 %": (cut(0.1), "truncated", "2 of 12 slices present"),
    "cut at 50 %": (cut(0.5), "truncated", "of 12 slices present"),
    "cut at 90 %": (cut(0.9), "truncated", "of 12 slices present"),
    "cut in the checksum": (cut(0.9995), "truncated", "the checksum at its end is missing"),
    "checksum flipped": (flip(-6), "damaged", "checksum (CRC-32) wrong"),
    "length flipped": (flip(-1), "damaged", "checksum (CRC-32) wrong"),
    "4096^3": (claim(4096, 4096, 4096), "too-large", "4096 x 4096 x 4096 voxels"),
    "dims 32767": (claim(*[32767] * 7), "too-large", "more than the limit"),
    "claims more slices": (claim(16, 18, 24), "truncated", "12 of 24 slices present"),
    "dim 0": (claim(16, 0, 12), "dimensions", "impossible dimensions"),
    "negative dim": (claim(16, -18, 12), "dimensions", "impossible dimensions"),
    "dim[0] = 9": (header(dim=[9, 16, 18, 12, 1, 1, 1, 1]), "dimensions", "impossible dimensions"),
    "2-D": (claim(16, 18), "two-dimensional", "is not a volume (16 x 18 voxels)"),
    "one slice": (claim(16, 18, 1), "two-dimensional", "is not a volume"),
    "4-D": (lambda p: write(p, np.stack([brain()] * 3, -1)), "four-dimensional", "holds 3 volumes (4-D)"),
    "RGB": (header(datatype=128), "data-type", "holds RGB colours"),
    "RGBA": (header(datatype=2304), "data-type", "holds RGBA colours"),
    "complex": (header(datatype=32), "data-type", "holds complex numbers"),
    "data type 0": (header(datatype=0), "data-type", "an unknown data type (0)"),
    "offset 0": (header(vox_offset=0), "offset", "begin at byte 0"),
    "offset NaN": (header(vox_offset=NAN), "offset", "begin at byte nan"),
    "offset 1e9": (header(vox_offset=1e9), "offset", "begin at byte 1e+09"),
    "offset beyond the end": (header(vox_offset=1e6), "truncated", "0 of 12 slices"),
    "zero spacing": (spacing(0), "spacing", "0 x 1 x 1 mm (zero)"),
    "negative spacing": (spacing(-1), "spacing", "-1 x 1 x 1 mm (negative)"),
    "NaN spacing": (spacing(NAN), "spacing", "(not finite)"),
    "infinite spacing": (spacing(INF), "spacing", "(not finite)"),
    "spacing in metres": (lambda p: write(p, None, affine(spacing=[1e-3] * 3)), "spacing", "0.001 mm (implausible)"),
    "far away": (lambda p: write(p, None, affine(origin=(0, 1e9, 0))), "affine", "1e+09 mm from the origin"),
    "NaN affine": (with_nan, "affine", "affine that is not finite"),
    "singular": (lambda p: write(p, None, singular(), codes=(0, 1)), "singular", "singular affine"),
    "zero column": (header(srow_x=[0] * 4), "singular", "singular affine"),
    "sheared": (lambda path: write(path, None, sheared(0.2), codes=(0, 1)), "sheared", "sheared affine"),
    "qform no rotation": (header(codes=(1, 0), quatern_b=2), "qform", "damaged qform"),
    "NIfTI pair": (pair, "pair", "NIfTI pair"),
    "Analyze": (header(magic=b""), "analyze", "no NIfTI magic"),
    "NaN voxels": (voxels(NAN, 50), "non-finite", "50 voxels (1.4%)"),
    "infinite voxels": (voxels(INF, 50), "non-finite", "50 voxels (1.4%)"),
    "constant": (lambda path: write(path, np.full((4, 5, 6), 7, np.int16)), "constant", "every voxel is 7"),
    "bomb": (larger(2_000_000), "larger-than-header", "larger than its header says"),
}  # fmt: skip


@pytest.mark.parametrize("defect", REFUSED)
def test_defect_is_refused_with_one_clear_message(defect: str, tmp_path: Path) -> None:
    make, code, message = REFUSED[defect]
    path = make(tmp_path / "scan.nii.gz")
    errors = [problem for problem in inspect_file(path) if problem.level is Level.ERROR]
    assert [problem.code for problem in errors] == [code]
    assert errors[0].message.startswith("scan.nii.gz ")
    assert message in errors[0].message
    assert errors[0].hint
    with pytest.raises(InputError) as raised:
        volume.load(path)
    assert (raised.value.message, raised.value.exit_code) == (errors[0].message, 3)


@pytest.mark.parametrize("share", np.linspace(0.01, 0.99, 13))
def test_gzip_truncated_anywhere_is_refused(share: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="truncated"):
        volume.load(cut(share)(tmp_path / "scan.nii.gz"))


@pytest.mark.parametrize("missing", [1, 4 * 16 * 18, 4 * 16 * 18 * 5 + 1])
def test_raw_truncated_names_the_slices_left(missing: int, tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nii")
    path.write_bytes(path.read_bytes()[:-missing])
    left = 12 - -(-missing // (4 * 16 * 18))
    with pytest.raises(InputError, match=f"{left} of 12 slices present"):
        volume.load(path)


@pytest.mark.parametrize("position", range(20, 2000, 137))
def test_any_flipped_byte_of_the_compressed_data_is_noticed(position: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"damaged|truncated"):
        volume.load(flip(position)(tmp_path / "scan.nii.gz"))


WARNED: dict[str, tuple[Maker, str, str]] = {
    "orientation unknown": (header(codes=(0, 0)), "orientation-unknown", "left and right may be flipped"),
    "qform elsewhere": (lambda p: write(p, qform=affine(origin=(16, 11, 3))), "qform-sform", "23.0 mm apart"),
    "pixdim lies": (header(codes=(0, 1), pixdim=[1, 2, 1, 1, *[0] * 4]), "pixdim", "voxel size of 2"),
    "rounded shear": (lambda p: write(p, None, sheared(5e-4), codes=(0, 1)), "nearly-sheared", "not quite"),
    "a few NaN": (voxels(NAN, 3), "non-finite", "3 voxels"),
    "scaling": (header(scl_slope=INF), "scaling", "damaged intensity scaling"),
    "trailing bytes": (larger(1000), "trailing-bytes", "1,000 bytes after its voxels"),
    "garbage after gzip": (
        lambda p: raw(write(p).read_bytes() + b"garbage")(p), "trailing-bytes", "7 bytes after its voxels"),
    "metres": (header(xyzt_units=1), "units", "in metres"),
    "unknown code": (header(qform_code=128), "form-code", "unknown qform code (128)"),
    "senseless qform": (header(qoffset_x=3e38), "qform-sform", "a qform that makes no sense"),
    "damaged qform": (header(quatern_c=NAN), "qform", "its sform is used"),
}  # fmt: skip


def around(value: float, lost: int = 0) -> np.ndarray:
    """A skull-stripped scan whose background is ``value``, and ``lost`` voxels of its brain as well."""
    data = np.full((16, 18, 12), value, np.float32)
    data[3:13, 3:15, 0:10] = np.random.default_rng(0).uniform(50, 100, (10, 12, 10))  # it reaches the lowest slice
    data[5, 5, 3 : 3 + lost] = NAN
    return data


@pytest.mark.parametrize(
    ("lost", "words"), [(0, "as 0."), (1, "1 other voxel that is"), (3, "3 other voxels that are")]
)
def test_nan_around_the_brain_is_background(lost: int, words: str, tmp_path: Path) -> None:
    """As SPM writes it: what it leaves out is not a number."""
    loaded = volume.load(write(tmp_path / "spm.nii.gz", around(NAN, lost)))
    (found,) = loaded.problems
    assert (found.code, found.level) == ("nan-background", Level.WARNING) and words in found.message
    assert "a background of NaN (65% of its voxels)" in found.message
    assert np.array_equal(loaded.data, np.nan_to_num(around(0, lost)))


def lost_slices() -> np.ndarray:
    data = around(0)
    data[:, :, :4] = data[:, :, 9:] = NAN
    return data


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (around(NAN, 4), "4 "),
        (lost_slices(), "2,016 "),
        (around(INF), "2,256 "),
        (np.full((16, 18, 12), NAN), "3,456 "),
    ],
    ids=["holes in the brain", "slices", "infinite", "nothing else"],
)
def test_nan_that_is_no_background_is_refused(data: np.ndarray, count: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"scan\.nii\.gz has {count}voxels .* that are NaN or infinite"):
        volume.load(write(tmp_path / "scan.nii.gz", data.astype(np.float32)))


def test_nan_around_a_mask_is_background_too(tmp_path: Path) -> None:
    mask = np.where(np.isnan(around(NAN)), NAN, 1).astype(np.float32)
    loaded = volume.load(write(tmp_path / "mask.nii.gz", mask), labels=True)
    assert int(loaded.data.sum()) == 1200 and [each.code for each in loaded.problems] == ["nan-background"]


@pytest.mark.parametrize("oddity", WARNED)
def test_oddity_is_warned_of_and_read(oddity: str, tmp_path: Path) -> None:
    make, code, message = WARNED[oddity]
    loaded = volume.load(make(tmp_path / "scan.nii.gz"))
    found = [problem for problem in loaded.problems if problem.code == code]
    assert len(found) == 1 and found[0].level is Level.WARNING
    assert message in found[0].message
    assert np.isfinite(loaded.data).all()


def test_sound_file_gives_no_finding_and_its_hash(tmp_path: Path) -> None:
    from braincli.runtime import files

    path = write(tmp_path / "scan.nii.gz")
    reading = read(path)
    assert reading.problems == [] and reading.sha256 == files.sha256(path)


def test_thick_slices_are_noted(tmp_path: Path) -> None:
    found = inspect_file(write(tmp_path / "scan.nii.gz", None, affine(spacing=(1, 1, 5.5))))
    assert [(p.level, p.code) for p in found] == [(Level.NOTE, "thick-slices")]
    assert "5.5 mm against 1.0 mm" in found[0].message


def test_gzip_without_the_name_is_read_with_a_note(tmp_path: Path) -> None:
    packed = write(tmp_path / "scan.nii.gz").rename(tmp_path / "scan.nii")
    loaded = volume.load(packed)
    assert [(p.level, p.code) for p in loaded.problems] == [(Level.NOTE, "hidden-gzip")]
    assert np.array_equal(loaded.data, brain())


def test_several_gzip_members_and_zero_padding_are_one_stream(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    content = phantoms.unpacked(write(path))
    path.write_bytes(gzip.compress(content[:777]) + gzip.compress(content[777:]) + bytes(512))
    loaded = volume.load(path)
    assert loaded.problems == () and np.array_equal(loaded.data, brain())


def test_all_findings_are_reported_not_only_the_first(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nii.gz", np.zeros((4, 5, 6), np.int16), pixdim=[1, 0, 1, 1, 0, 0, 0, 0])
    assert [problem.code for problem in inspect_file(path)] == ["spacing", "constant"]


def test_broken_sform_points_to_a_sound_qform(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nii.gz", None, sheared(0.2), qform=affine())
    [problem] = inspect_file(path)
    assert problem.code == "sheared" and "--prefer qform" in problem.hint
    assert np.allclose(volume.load(path, prefer="qform").affine, affine())


def test_one_volume_of_four_dimensions(tmp_path: Path) -> None:
    parts = [brain(seed=seed) for seed in range(3)]
    path = write(tmp_path / "scan.nii.gz", np.stack(parts, -1))
    for index, part in enumerate(parts):
        assert np.array_equal(volume.load(path, volume=index).data, part)
    with pytest.raises(InputError, match="has no volume 3; it holds 3") as raised:
        volume.load(path, volume=3)
    assert "--volume 0 to 2" in raised.value.hint
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="truncated after the chosen volume"):
        volume.load(path, volume=0)


def test_single_fourth_dimension_is_squeezed_with_a_note(tmp_path: Path) -> None:
    loaded = volume.load(write(tmp_path / "scan.nii.gz", brain()[..., None]))
    assert [(p.level, p.code) for p in loaded.problems] == [(Level.NOTE, "squeezed")]
    assert np.array_equal(loaded.data, brain())


def test_size_limit_is_checked_before_any_voxel_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nii.gz")
    path.write_bytes(path.read_bytes()[:600])  # the header survives
    [problem] = inspect_file(path, max_voxels=1000)
    assert problem.code == "too-large"


def test_names_of_other_formats_are_refused(tmp_path: Path) -> None:
    for name, what in {"a.mgz": "FreeSurfer", "a.hdr": "pair", "a.txt": "not a NIfTI name"}.items():
        (tmp_path / name).write_bytes(b"x" * 400)
        [problem] = inspect_file(tmp_path / name)
        assert problem.code == "not-nifti" and what in problem.message


def test_labels_may_be_empty_but_not_a_probability_map(tmp_path: Path) -> None:
    empty = volume.load(write(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), np.uint8)), labels=True)
    assert empty.problems == () and empty.data.dtype == np.uint8
    loaded = volume.load(
        write(tmp_path / "b.nii.gz", np.linspace(0, 1, 120, dtype=np.float32).reshape(4, 5, 6)), labels=True
    )
    assert [problem.code for problem in loaded.problems] == ["fractional-labels"]
    huge = write(tmp_path / "c.nii.gz", np.full((4, 5, 6), 2**40, np.int64))
    with pytest.raises(InputError, match="do not fit into 32 bits"):
        volume.load(huge, labels=True)


def test_same_scan_given_twice_is_found_by_bytes_and_by_voxels(tmp_path: Path) -> None:
    first = volume.load(write(tmp_path / "t1.nii.gz"))
    copy = volume.load(write(tmp_path / "t2.nii.gz"))
    again = volume.load(write(tmp_path / "flair.nii"))
    for other in (copy, again):
        [problem] = check_set({"t1": first, "t2": other})
        assert problem.level is Level.ERROR and problem.code == "same-scan"
        assert "the same scan, given as t1 and t2" in problem.message


def test_different_grids_of_a_set_are_noted(tmp_path: Path) -> None:
    a = volume.load(write(tmp_path / "t1.nii.gz"))
    b = volume.load(write(tmp_path / "t2.nii.gz", brain(seed=1), affine(origin=(0, 0, 0))))
    [problem] = check_set({"t1": a, "t2": b})
    assert (problem.level, problem.code) == (Level.NOTE, "different-grids")
    assert check_set({}) == []


def test_mask_on_no_image_s_grid_is_warned_of(tmp_path: Path) -> None:
    t1 = volume.load(write(tmp_path / "t1.nii.gz"))
    flair = volume.load(write(tmp_path / "flair.nii.gz", brain(seed=1), affine(spacing=(1, 1, 3))))
    for matrix, expected in (
        (affine(spacing=(1, 1, 3)), []),
        (affine(origin=(-7, -228, 3)), ["mask-elsewhere"]),
    ):
        mask = volume.load(write(tmp_path / "seg.nii.gz", phantoms.lesion(), matrix), labels=True)
        found = [p for p in check_set({"t1": t1, "flair": flair, "lesion": mask}) if p.code != "different-grids"]
        assert [problem.code for problem in found] == expected
        assert all("corners lie 239 mm apart" in problem.message for problem in found)


def test_private_header_content_is_listed(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.nii.gz",
        extension=b"born 1950",
        descrip=b"Time=101010",
        aux_file=b"DOE^JOHN",
        db_name=b"x",
    )
    reading = read(path)
    found = private_content(reading.header, reading.head)
    assert found == {
        "descrip": "Time=101010",
        "aux_file": "DOE^JOHN",
        "db_name": "x",
        "extension 1": "comment, 32 bytes",
    }
    clean = read(write(tmp_path / "b.nii.gz"))
    assert private_content(clean.header, clean.head) == {}


def test_patched_headers_never_raise(tmp_path: Path) -> None:
    """Random bytes over the header: findings or a volume, never an exception."""
    rng = np.random.default_rng(0)
    path = write(tmp_path / "scan.nii")
    sound = path.read_bytes()
    for _ in range(150):
        content = bytearray(sound)
        for position in rng.integers(4, 344, size=rng.integers(1, 12)):
            content[position] = rng.integers(0, 256)
        path.write_bytes(bytes(content))
        reading = read(path)
        assert reading.usable == (reading.data is not None and reading.geometry is not None)


def test_patch_changes_only_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.nii.gz")
    before = phantoms.unpacked(path)
    assert phantoms.unpacked(patch(path, descrip=b"x"))[348:] == before[348:]
