"""Figures per slice: which slices count, what an empty prediction is, and the axial axis of any grid."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import phantoms
import pytest

from braincli import api
from braincli.config import ScoreConfig
from braincli.scoring.slices import of_case, summary


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Three slices with lesion: hit, half hit, missed; and one with a false positive alone."""
    ref, pred = np.zeros((2, 8, 8, 6), bool)
    ref[2:4, 2:4, 1:4] = True
    pred[2:4, 2:4, 1] = True
    pred[2:4, 2, 2] = True
    pred[0, 0, 5] = True
    return pred, ref


def test_slices_with_lesion_count_and_empty_predictions_are_told_apart() -> None:
    pred, ref = masks()
    found = of_case(pred=pred, ref=ref, affine=np.eye(4), spacing=(1, 1, 5), definition="max-directed")
    assert [(one.index, one.dsc, one.empty) for one in found] == [(1, 1.0, False), (2, 2 / 3, False), (3, 0.0, True)]
    assert [one.hd95_mm for one in found] == [0.0, 1.0, None], "in the plane: 5 mm between slices do not matter"
    summed = summary(found)
    assert (summed["slices"], summed["empty"]) == (3, 1)
    assert summed["dsc"] == {"mean": pytest.approx(5 / 9), "mean_non_empty": pytest.approx(5 / 6)}
    assert summed["hd95_mm"] == {"mean": 0.5, "mean_non_empty": 0.5}
    assert summary([])["dsc"] == {"mean": None, "mean_non_empty": None}


@pytest.mark.parametrize("axes", ["RAS", "SAR", "PIR"])
def test_slices_are_axial_however_the_array_is_stored(axes: str) -> None:
    pred, ref = masks()
    order = ["R" if c in "RL" else "A" if c in "AP" else "S" for c in axes]
    place = [("R", "A", "S").index(c) for c in order]
    turned = [np.ascontiguousarray(mask.transpose(place)) for mask in (pred, ref)]
    matrix = phantoms.affine(axes, tuple((1.0, 1.0, 5.0)[i] for i in place))
    spacing = [(1.0, 1.0, 5.0)[i] for i in place]
    found = of_case(pred=turned[0], ref=turned[1], affine=matrix, spacing=spacing, definition="max-directed")
    assert [round(one.dsc, 3) for one in found] == [1.0, 0.667, 0.0]


def test_the_report_has_them_on_request(tmp_path: Path) -> None:
    pred, ref = masks()
    for place, mask in (("out", pred), ("ref", ref)):
        phantoms.write(tmp_path / place / "a_mask.nii.gz", mask.astype(np.uint8), np.eye(4))
    plain, sliced = (
        api.score(tmp_path / "out", tmp_path / "ref", tmp_path / name, ScoreConfig(slices=on, bootstrap=0))
        for name, on in (("one", False), ("two", True))
    )
    assert "slices" not in plain.as_dict()["aggregate"] and plain.by_slice is None
    assert "3 slices with lesion, 1 without prediction: DSC 0.556 [0.833]" in sliced.as_table()
    content = json.loads((tmp_path / "two" / "scores.json").read_text())
    assert content["slices"]["empty"] == 1 and len(content["cases"][0]["slices"]) == 3
    again = api.score(
        tmp_path / "out", tmp_path / "ref", config=ScoreConfig(bootstrap=0), compare=tmp_path / "two" / "scores.json"
    )
    assert again.comparison is not None


def test_distances_are_between_outlines_in_the_plane() -> None:
    """Every voxel of a slice lies beside the slice above; that does not make it the lesion's outline."""
    ref, pred = np.zeros((2, 20, 20, 3), bool)
    ref[2:18, 2:18, 1] = True
    pred[5:15, 5:15, 1] = True
    (found,) = of_case(pred=pred, ref=ref, affine=np.eye(4), spacing=(1, 1, 1), definition="max-directed")
    assert found.hd95_mm == pytest.approx(np.hypot(3, 3), abs=0.5)
    (same,) = of_case(pred=ref, ref=ref, affine=np.eye(4), spacing=(1, 1, 1), definition="pooled")
    assert same.hd95_mm == 0.0
    filled = pred.copy()
    filled[9, 9, 1] = False  # a hole has an outline of its own
    (holed,) = of_case(pred=filled, ref=ref, affine=np.eye(4), spacing=(1, 1, 1), definition="max-directed")
    assert holed.hd95_mm >= found.hd95_mm
