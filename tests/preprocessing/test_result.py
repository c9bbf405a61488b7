"""A result on its way from another process."""

from __future__ import annotations

import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from phantoms import affine

import braincli
from braincli.errors import UsageError
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.given import Scratch
from braincli.imaging.volume import Volume, load
from braincli.preprocessing.result import Preprocessed, grid_only
from braincli.reporting.notebook import Results


def test_a_result_travels_without_empty_voxels_and_still_leads_back_to_the_native_grid() -> None:
    grid = grid_only(Volume(np.ones((200, 220, 180), np.float32), affine("LPS", (1.1, 0.9, 1.0))))
    case = Case("a", {Contrast.T1: Path("a_t1.nii.gz")})
    result = Preprocessed(
        case, Path("sub-a"), "SRI24", Contrast.T1, dict(case.images), None, None, {Contrast.T1: np.eye(4)},
        {Contrast.T1: grid}, {"brain_ml": 1300.0}, ["odd"],
    )  # fmt: skip
    sent = pickle.dumps(result)
    assert len(sent) < 20_000
    came: Preprocessed = pickle.loads(sent)
    assert came.as_dict() == result.as_dict() and came.case == case
    assert came.grids[Contrast.T1].shape == (200, 220, 180) and not came.grids[Contrast.T1].data.any()
    assert came.grids[Contrast.T1].data.strides == (0, 0, 0)
    np.testing.assert_array_equal(came.grids[Contrast.T1].affine, grid.affine)
    assert result.grids[Contrast.T1] is grid
    image = Volume(np.zeros((20, 20, 20), np.float32), affine("RAS", (9.0, 9.0, 9.0)))
    assert came.to_native(image, Contrast.T1).shape == (200, 220, 180)


def test_in_memory_it_is_what_the_files_hold(raw_case: Case, tmp_path: Path) -> None:
    """Images in, images out; what comes of it is what :func:`braincli.detect` and ``to_native`` take."""
    scans = {str(contrast): nib.load(path) for contrast, path in raw_case.images.items()}
    given = {"P-01": {**scans, "brain": raw_case.brain, "lesion": nib.load(raw_case.lesion)}}
    (stored,) = braincli.preprocess(raw_case, tmp_path / "out", space="native", skip={"n4"})
    (held,) = braincli.preprocess(given, space="native", skip={"n4"})
    assert set(stored.paths) == {"t1", "flair", "brain", "lesion", "figure"} and held.paths == {}
    for kind in ("t1", "flair", "brain", "lesion"):
        assert np.array_equal(held.array(kind), stored.array(kind))
        assert np.array_equal(held.image(kind).affine, stored.image(kind).affine)
        assert nib.is_proxy(stored.image(kind).dataobj)
    assert held.array("brain").dtype == bool and 0.9 < held.array("t1").max() <= 1
    assert held.png() == stored.png() and 'src="data:image/png;base64,' in held._repr_html_()
    assert held.as_dict() == stored.as_dict() and repr(held) == "<preprocessed P-01: t1, flair in orig>"
    held = pickle.loads(pickle.dumps(held))
    with Scratch() as scratch:
        case = held.as_case(scratch)
        assert case.id == "P-01" and load(case.images[Contrast.T1]).shape == held.image("t1").shape
    native = held.to_native(held.image("lesion"), "flair")
    known = np.asarray(nib.load(raw_case.lesion).dataobj) > 0
    assert native.get_data_dtype() == np.uint8 and np.allclose(native.affine, scans["flair"].affine, atol=1e-4)
    back = np.asarray(native.dataobj) > 0
    assert 2 * (back & known).sum() / (back.sum() + known.sum()) > 0.6
    with pytest.raises(UsageError, match="The result has no t2"):
        held.image("t2")
    pytest.importorskip("pandas")
    frame = Results([held]).to_dataframe()
    assert frame["case"][0] == "P-01" and frame["brain_ml"][0] == held.qc["brain_ml"]
