"""The atlas lies on the BraTS grid and overlaps its own brain."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from braincli.errors import ModelError
from braincli.preprocessing import atlas

BRATS = np.array([[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=float)


@pytest.mark.parametrize("stripped", [False, True])
def test_grid_is_that_of_brats(stripped: bool) -> None:
    volume = atlas.load_atlas(stripped)
    assert volume.shape == atlas.SHAPE
    np.testing.assert_array_equal(volume.affine, BRATS)
    assert nib.aff2axcodes(volume.affine) == ("L", "P", "S")
    assert volume.data.max() == 255


def test_both_files_show_the_same_head() -> None:
    head, brain = atlas.load_atlas(False).data, atlas.load_atlas(True).data
    inside = brain > 0
    assert 1400 < inside.sum() / 1000 < 1500  # ml
    assert np.corrcoef(head[inside], brain[inside])[0, 1] > 0.98


def test_same_head_as_brats_data(shared_data: Path) -> None:
    scan = nib.load(next(shared_data.glob("tumour/train/*/*_t1.nii.gz")))
    np.testing.assert_allclose(scan.affine, BRATS)
    brain, inside = np.asarray(scan.dataobj) > 0, atlas.load_atlas(True).data > 0
    assert 2 * (brain & inside).sum() / (brain.sum() + inside.sum()) > 0.9


def test_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "sri24_t1.nii.gz"
    broken.write_bytes(b"not an atlas")
    monkeypatch.setattr(atlas, "atlas_path", lambda stripped: broken)
    with pytest.raises(ModelError, match=r"sri24_t1.nii.gz is missing or damaged"):
        atlas.load_atlas.__wrapped__(False)
