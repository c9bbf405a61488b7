"""The files of a result: lazily read from a folder, or held in memory."""

from __future__ import annotations

import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from phantoms import affine, brain, write

from braincli.errors import InputError, UsageError
from braincli.imaging.given import Scratch
from braincli.imaging.results import ResultFiles, as_image, as_volume, kind_in, voxels
from braincli.imaging.volume import Volume, load

GRID = affine("LAS", (1.0, 1.5, 2.0))


@pytest.fixture
def files(tmp_path: Path) -> ResultFiles:
    write(tmp_path / "p_t1.nii.gz", brain(), GRID)
    write(tmp_path / "sub" / "p_mask.nii", (brain() > 0).astype(np.uint8), GRID, nifti2=True)
    (tmp_path / "p_record.json").write_text("{}")
    return ResultFiles(tmp_path, {"t1": "p_t1.nii.gz", "mask": "sub/p_mask.nii", "record": "p_record.json"})


def test_files_are_read_when_asked_for(files: ResultFiles, tmp_path: Path) -> None:
    assert files.paths["mask"] == tmp_path / "sub" / "p_mask.nii"
    image = files.image("t1")
    assert nib.is_proxy(image.dataobj) and not image.in_memory
    assert np.array_equal(voxels(image), brain()) and np.array_equal(image.affine, GRID)
    assert voxels(files.image("mask"), mask=True).dtype == bool
    with Scratch() as scratch:
        assert files.place("t1", scratch) == tmp_path / "p_t1.nii.gz"


def test_in_memory_no_file_is_needed_and_it_travels(files: ResultFiles, tmp_path: Path) -> None:
    held = files.in_memory()
    for path in files.paths.values():
        path.unlink()
    held = pickle.loads(pickle.dumps(held))
    assert held.paths == {} and held.folder is None
    assert np.array_equal(voxels(held.image("t1")), brain()) and held.read("record") == b"{}"
    mask = held.image("mask")
    assert isinstance(mask, nib.Nifti2Image) and np.array_equal(mask.affine, GRID)
    assert voxels(mask, mask=True).sum() == (brain() > 0).sum()
    with Scratch() as scratch:
        assert np.array_equal(load(held.place("t1", scratch)).data, brain())
    with pytest.raises(InputError, match=r"p_t1\.nii\.gz of the result cannot be read: No such file"):
        files.image("t1")
    with pytest.raises(InputError, match=r"p_record\.json of the result cannot be read"):
        files.read("record")


def test_what_is_not_there_is_named_with_what_is(files: ResultFiles) -> None:
    with pytest.raises(UsageError, match="The result has no anomaly") as caught:
        files.image("anomaly", "Ask for it.")
    assert caught.value.hint == "Ask for it. It has: t1, mask, record."
    assert kind_in("mask", "") == "mask" and kind_in("mask", "t1") == "space-t1_mask"


def test_volumes_and_images_are_the_same_thing() -> None:
    image = as_image(Volume(brain() > 0, GRID))
    assert image.get_data_dtype() == np.uint8 and np.allclose(image.affine, GRID)
    volume = as_volume(nib.Nifti1Image(brain(), GRID))
    assert np.array_equal(volume.data, brain()) and np.array_equal(volume.affine, GRID)
    assert as_volume(volume) is volume
