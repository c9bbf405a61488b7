"""Where voxels are: reading, turning, resampling and writing keep every world position."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import phantoms
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.orientations import aff2axcodes
from phantoms import ORIENTATIONS, affine, brain, write

from braincli import __version__
from braincli.errors import InputError, ResourceError, UsageError
from braincli.imaging.volume import (
    HeaderFacts,
    Volume,
    itk_geometry,
    load,
    nearly_same_grid,
    onto_grid_of,
    reorient,
    resample,
    same_grid,
    save,
)

MARK = (3, 11, 2)
PRIVATE = {"descrip": b"Time=101010", "aux_file": b"DOE^JOHN", "db_name": b"19500101", "intent_name": b"DOE_J_1950"}


def marked(path: Path, matrix: np.ndarray, **how: object) -> Path:
    """A phantom whose brightest voxel is :data:`MARK`, with header content that must not survive."""
    data = brain()
    data[MARK] = 1000
    return write(path, data, matrix, extension=b"patient", **how, **PRIVATE)


def brightest(volume: Volume) -> np.ndarray:
    """World position (mm) of the brightest voxel."""
    index = np.unravel_index(volume.data.argmax(), volume.shape)
    return (volume.affine @ [*index, 1])[:3]


def check_round_trip(path: Path, output: Path) -> None:
    """Read, turn to RAS, mark, turn back, write: same voxel and place, the input's grid and codes."""
    original = load(path)
    turned = reorient(original)
    place = (original.affine @ [*MARK, 1])[:3]
    assert np.allclose(brightest(original), place) and np.allclose(brightest(turned), place, atol=1e-4)
    save(onto_grid_of(turned.with_data(turned.data > 900), original), output)

    source, result = nib.load(path), nib.load(output)
    assert np.argwhere(np.asarray(result.dataobj)).tolist() == [list(MARK)]
    assert result.shape == source.shape and result.get_data_dtype() == np.uint8
    assert np.allclose(result.affine, source.affine, atol=1e-5)
    for name in ("qform_code", "sform_code", "xyzt_units", "sizeof_hdr"):
        assert result.header[name] == source.header[name]
    assert np.allclose(result.header.get_zooms(), source.header.get_zooms(), atol=1e-5)
    for form in ("get_sform", "get_qform"):
        stored, written = (getattr(image.header, form)(coded=True)[0] for image in (source, result))
        assert (stored is None) == (written is None)
        assert stored is None or np.allclose(written, stored, atol=1e-4)
    assert result.header["descrip"].item().decode() == f"braincli {__version__}"
    for name in {"aux_file", "db_name", "intent_name"} & set(result.header):
        assert result.header[name].item() == b""
    assert len(result.header.extensions) == 0
    assert not any(secret in phantoms.unpacked(output) for secret in PRIVATE.values())


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_round_trip_in_every_orientation(axes: str, tmp_path: Path) -> None:
    path = marked(tmp_path / "in.nii.gz", affine(axes, (0.9, 1.1, 3.0)))
    assert "".join(aff2axcodes(reorient(load(path)).affine)) == "RAS"
    check_round_trip(path, tmp_path / "out.nii.gz")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axes=st.sampled_from(ORIENTATIONS),
    degrees=st.tuples(*[st.floats(-60, 60)] * 2),
    spacing=st.tuples(*[st.floats(0.3, 6.0)] * 3),
    codes=st.sampled_from([(1, 1), (0, 2), (1, 0), (2, 1), (4, 3)]),
    nifti2=st.booleans(),
    big_endian=st.booleans(),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
)
def test_round_trip_of_oblique_scans(
    tmp_path: Path,
    axes: str,
    degrees: tuple[float, float],
    spacing: tuple[float, ...],
    codes: tuple[int, int],
    nifti2: bool,
    big_endian: bool,
    suffix: str,
) -> None:
    matrix = affine(axes, spacing, degrees=degrees)
    fields = {} if nifti2 else PRIVATE
    data = brain()
    data[MARK] = 1000
    how = {"codes": codes, "nifti2": nifti2, "big_endian": big_endian}
    path = write(tmp_path / f"in{suffix}", data, matrix, **how, **fields)
    (tmp_path / f"out{suffix}").unlink(missing_ok=True)
    check_round_trip(path, tmp_path / f"out{suffix}")


@pytest.mark.parametrize("degrees", [45.0, -45.0, 90.0, 135.0])
def test_axes_halfway_between_two_directions_come_back(degrees: float, tmp_path: Path) -> None:
    check_round_trip(marked(tmp_path / "in.nii.gz", affine("LPS", degrees=(degrees, 45))), tmp_path / "out.nii.gz")


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR"])
def test_reorient_gives_the_axes_that_were_asked_for(axes: str, tmp_path: Path) -> None:
    turned = reorient(load(marked(tmp_path / "in.nii.gz", affine("SAL", degrees=(20, 10)))), axes)
    assert "".join(aff2axcodes(turned.affine)) == axes
    assert turned.data.flags.c_contiguous


def test_sform_wins_where_the_forms_disagree_and_both_survive(tmp_path: Path) -> None:
    path = write(tmp_path / "in.nii.gz", qform=affine(origin=(16, 11, 3)))
    assert load(path).affine[0, 3] == -7 and load(path, prefer="qform").affine[0, 3] == 16
    for prefer in ("sform", "qform"):
        output = tmp_path / f"{prefer}.nii.gz"
        save(load(path, prefer=prefer), output)
        assert nib.load(output).header.get_sform()[0, 3] == -7
        assert nib.load(output).header.get_qform()[0, 3] == 16


def test_unknown_orientation_stays_unknown(tmp_path: Path) -> None:
    original = load(write(tmp_path / "in.nii.gz", codes=(0, 0)))
    assert np.allclose(original.affine, nib.load(tmp_path / "in.nii.gz").affine)
    save(original, tmp_path / "out.nii.gz")
    header = nib.load(tmp_path / "out.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)
    assert same_grid(load(tmp_path / "out.nii.gz"), original) is None


def test_stale_header_facts_are_not_written(tmp_path: Path) -> None:
    original = load(write(tmp_path / "in.nii.gz"))
    save(replace(original, affine=affine(origin=(0, 0, 0))), tmp_path / "out.nii.gz")
    assert np.allclose(nib.load(tmp_path / "out.nii.gz").affine, affine(origin=(0, 0, 0)))


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        (bool, np.uint8),
        (np.int32, np.int32),
        (np.uint8, np.uint8),
        (np.float32, np.float32),
        (np.float64, np.float32),
    ],
)
def test_data_types_on_disk(kind: type, kept: type, tmp_path: Path) -> None:
    save(Volume(brain().astype(kind), affine()), tmp_path / "out.nii.gz")
    image = nib.load(tmp_path / "out.nii.gz")
    assert image.get_data_dtype() == kept
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    assert np.array_equal(np.asarray(image.dataobj), brain().astype(kind).astype(kept))


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_real_type_is_read_in_both_byte_orders(dtype: str, tmp_path: Path) -> None:
    data = brain().astype(dtype)
    for big_endian in (False, True):
        loaded = load(write(tmp_path / "in.nii.gz", data, big_endian=big_endian))
        assert loaded.data.dtype == np.float32 and np.array_equal(loaded.data, data.astype(np.float32))
        assert loaded.header.big_endian is big_endian


def test_scaling_is_applied_to_images_and_labels(tmp_path: Path) -> None:
    stored = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    path = write(tmp_path / "in.nii", stored, slope=(2.0, -3.0))
    assert np.allclose(load(path).data, nib.load(path).get_fdata())
    positive = write(tmp_path / "labels.nii", stored, slope=(2.0, 3.0))  # labels below 0 are refused
    labels = load(positive, labels=True).data
    assert labels.dtype == np.int32 and np.array_equal(labels, nib.load(positive).get_fdata())
    save(load(path), tmp_path / "out.nii")
    assert np.array_equal(nib.load(tmp_path / "out.nii").get_fdata(), nib.load(path).get_fdata())


def test_same_volume_gives_the_same_bytes(tmp_path: Path) -> None:
    original = load(write(tmp_path / "in.nii.gz"))
    save(original, tmp_path / "a.nii.gz")
    save(original, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_inputs_and_existing_outputs_are_safe(tmp_path: Path) -> None:
    path = write(tmp_path / "in.nii.gz")
    before, original = path.read_bytes(), load(path)
    with pytest.raises(InputError, match=r"in\.nii\.gz is an input"):
        save(original, path, overwrite=True)
    (tmp_path / "link.nii.gz").symlink_to(path)
    with pytest.raises(InputError, match="is an input"):
        save(Volume(brain(), affine()), tmp_path / "link.nii.gz", overwrite=True, inputs=[path])
    save(original, tmp_path / "out.nii.gz")
    with pytest.raises(UsageError, match="exists"):
        save(original, tmp_path / "out.nii.gz")
    save(original, tmp_path / "out.nii.gz", overwrite=True)
    assert path.read_bytes() == before


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ResourceError, match=r"Cannot write out\.nii\.gz"):
        save(Volume(brain(), affine()), tmp_path / "file" / "out.nii.gz")
    with pytest.raises(Exception, match=r"data type|dtype"):
        save(Volume(brain().astype("M8[s]"), affine()), tmp_path / "out.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["p.1.v2.nii.gz", "with space.nii.gz", "größe-脳.nii.gz", "-dash.nii", "UP.NII.GZ"])
def test_awkward_names(name: str, tmp_path: Path) -> None:
    original = load(write(tmp_path / "in.nii.gz"))
    save(original, tmp_path / name)
    assert np.array_equal(load(tmp_path / name).data, original.data)
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.lower().endswith(".gz")


def test_same_grid_tells_size_and_distance(tmp_path: Path) -> None:
    a = load(write(tmp_path / "a.nii.gz"))
    nudged = replace(a, affine=affine(origin=(-7.0004, 11, 3)))
    moved = replace(a, affine=affine(origin=(-4, 11, 3)))
    assert same_grid(a, a) is None and same_grid(a, nudged) is None
    rounded = replace(a, affine=affine(origin=(-7.04, 11, 3)))
    assert same_grid(a, rounded) is None and nearly_same_grid(a, nudged) == []
    assert "0.04 mm apart; they are taken as one grid" in nearly_same_grid(a, rounded)[0]
    assert same_grid(a, replace(a, affine=affine(origin=(-7.06, 11, 3)))) is not None
    problem = same_grid(a, moved)
    assert problem is not None and problem.code == "grid-place" and "3 mm apart" in problem.message
    problem = same_grid(a, a.with_data(a.data[:, :, :-1]))
    assert problem is not None and problem.code == "grid-shape" and "16 x 18 x 11" in problem.message
    assert same_grid(a, reorient(a, "LPS")) is not None


def test_onto_grid_of_refuses_another_grid(tmp_path: Path) -> None:
    a = load(write(tmp_path / "a.nii.gz"))
    with pytest.raises(InputError, match="mm apart"):
        onto_grid_of(replace(a, affine=affine(origin=(0, 0, 0))), a)
    with pytest.raises(InputError, match="mm apart"):
        onto_grid_of(replace(a, affine=affine(degrees=(10, 0))), a)


def test_resample_samples_a_linear_field_exactly() -> None:
    """A linear function of the world position is what linear interpolation reproduces, on any grid."""
    field = np.array([0.3, -0.2, 0.5])

    def values(shape: tuple[int, ...], matrix: np.ndarray) -> np.ndarray:
        index = np.stack([*np.indices(shape), np.ones(shape)])
        return np.einsum("i,i...->...", field, np.einsum("ij,j...->i...", matrix, index)[:3]).astype(np.float32)

    fine, coarse = (
        affine("LPS", (1, 1, 1), (10, 10, -10)),
        affine("PIR", (1.7, 2.3, 1.9), (-3, 0, 8), (20, 10)),
    )
    source = Volume(values((24, 26, 28), fine), fine)
    target = Volume(np.zeros((4, 5, 3), np.float32), coarse)
    result = resample(source, target)
    assert result.data.dtype == np.float32 and np.allclose(result.data, values((4, 5, 3), coarse), atol=1e-4)
    assert np.array_equal(result.affine, coarse)


def test_resample_of_labels_takes_the_nearest_and_keeps_half_voxels_at_the_border() -> None:
    labels = np.zeros((4, 4, 2), np.int32)
    labels[:, :, 1] = 7
    thick = Volume(labels, affine(spacing=(1, 1, 5), origin=(0, 0, 0)))
    thin = Volume(np.zeros((4, 4, 12), np.float32), affine(spacing=(1, 1, 1), origin=(0, 0, -3)))
    result = resample(thick, thin, labels=True).data
    assert result.dtype == np.int32
    assert np.array_equal(result[0, 0], [0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 0])  # z = -3..8; slice 1 covers 2.5..7.5
    mask = resample(thick.with_data(labels > 0), thin, labels=True).data
    assert mask.dtype == bool and np.array_equal(mask, result > 0)


def test_itk_sees_every_voxel_where_we_do(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    for axes in ("RAS", "LPS", "PIR", "SAL"):
        matrix = affine(axes, (0.9, 1.2, 3.0), degrees=(25, -15))
        volume = load(write(tmp_path / "in.nii.gz", None, matrix))
        spacing, origin, direction = itk_geometry(volume)
        image = sitk.GetImageFromArray(volume.data.transpose())
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection(direction.ravel().tolist())
        expected = (volume.affine @ [*MARK, 1])[:3] * [-1, -1, 1]
        assert np.allclose(image.TransformIndexToPhysicalPoint(MARK), expected, atol=1e-4)
        reread = sitk.ReadImage(str(tmp_path / "in.nii.gz"))
        assert np.allclose(reread.TransformIndexToPhysicalPoint(MARK), expected, atol=1e-3)


def test_itk_direction_of_a_nearly_sheared_affine_is_a_rotation() -> None:
    matrix = affine(degrees=(20, 5))
    matrix[0, 1] += 5e-4
    _, _, direction = itk_geometry(Volume(brain(), matrix))
    assert np.abs(direction.T @ direction - np.eye(3)).max() < 1e-12
    assert np.abs(direction - np.diag([-1, -1, 1]) @ matrix[:3, :3]).max() < 1e-3


def test_what_is_cut_stays_where_it_was_and_takes_no_header_facts_along(tmp_path: Path) -> None:
    whole = load(marked(tmp_path / "scan.nii.gz", affine("LPS", (1.0, 2.0, 3.0))))
    part = whole.cut((slice(2, 6), slice(9, 14), slice(1, 4)))
    assert part.shape == (4, 5, 3) and part.data.base is not None
    assert np.allclose(brightest(part), brightest(whole)) and part.header == HeaderFacts()


def test_volume_figures() -> None:
    volume = Volume(brain(), affine("PIR", (0.5, 2.0, 3.0), degrees=(30, 0)), HeaderFacts())
    assert volume.shape == (16, 18, 12)
    assert np.allclose(volume.spacing, (0.5, 2.0, 3.0)) and np.isclose(volume.voxel_ml, 0.003)


def test_real_scans_come_back_as_they_were(shared_data: Path, tmp_path: Path) -> None:
    for name in (
        "raw/nfbs-A00028185/nfbs-A00028185_t1",
        "ms/patient19/patient19_flair",
        "raw/TCGA-FG-6692/TCGA-FG-6692_t2",
    ):
        path = shared_data / f"{name}.nii.gz"
        original = load(path)
        save(onto_grid_of(reorient(original), original), tmp_path / path.name)
        source, result = nib.load(path), nib.load(tmp_path / path.name)
        assert np.array_equal(source.get_fdata(dtype=np.float32), result.get_fdata(dtype=np.float32))
        assert np.array_equal(source.affine, result.affine)
        assert (source.header["qform_code"], source.header["sform_code"]) == (
            result.header["qform_code"], result.header["sform_code"])  # fmt: skip
        assert result.header["descrip"].item().startswith(b"braincli") and not result.header.extensions
