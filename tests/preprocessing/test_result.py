"""A result on its way from another process."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from phantoms import affine

from braincli.imaging.cases import Case, Contrast
from braincli.imaging.volume import Volume
from braincli.preprocessing.result import Preprocessed, grid_only


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
