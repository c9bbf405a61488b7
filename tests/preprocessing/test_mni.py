"""The MNI152 template of nilearn: what is known of it, and a brain that is brought there."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from braincli.config import PreprocessConfig, parse
from braincli.errors import ModelError, UsageError
from braincli.imaging.cases import Case, Contrast
from braincli.preprocessing import mni
from braincli.preprocessing.chain import preprocess_case

AFFINE = np.array([[1, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]], dtype=float)


def test_the_template_lies_where_mni_does() -> None:
    template = mni.load_atlas(stripped=True)
    assert template.shape == mni.SHAPE and template.data.max() == 255
    np.testing.assert_array_equal(template.affine, AFFINE)
    brain = template.data > 0
    assert 1800 < brain.sum() / 1000 < 2000  # ml: MNI's brain is larger than most
    centre = template.affine @ [*np.argwhere(brain).mean(axis=0), 1]
    assert abs(centre[0]) < 1 and -30 < centre[1] < -10 and 0 < centre[2] < 20  # mm, symmetric


def test_without_nilearn_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mni, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="MNI152 template is missing") as error:
        mni.template_path()
    assert "pip install nilearn" in error.value.hint


def test_a_brain_is_brought_to_mni_and_scored(raw_case: Case, tmp_path: Path) -> None:
    config = parse(
        PreprocessConfig, {"space": "MNI152", "normalisation": "zscore", "skip": ["coregister", "n4"], "threads": 1}
    )
    done = preprocess_case(
        Case(raw_case.id, {Contrast.T1: raw_case.images[Contrast.T1]}, raw_case.brain), tmp_path, config
    )
    assert done.space == mni.NAME and done.qc["atlas_dsc"] > 0.9
    image = nib.load(done.images[Contrast.T1])
    np.testing.assert_array_equal(image.affine, AFFINE)
    assert image.shape == mni.SHAPE and f"space-{mni.NAME}_desc-preproc" in done.images[Contrast.T1].name
    assert int(image.header["sform_code"]) == 4
    data, brain = np.asarray(image.dataobj), np.asarray(nib.load(done.brain).dataobj) > 0
    assert data[brain].mean() == pytest.approx(0, abs=1e-3) and data[brain].std() == pytest.approx(1, abs=1e-3)
    assert not data[~brain].any()
    side = json.loads(Path(str(done.images[Contrast.T1]).replace(".nii.gz", ".json")).read_text())
    assert side["SpatialReference"].startswith(mni.NAME) and "sha256:" in side["SpatialReference"]


def test_heads_are_not_aligned_to_a_brain(raw_case: Case, tmp_path: Path) -> None:
    config = PreprocessConfig(space="mni152", skip=frozenset({"brain", "n4"}), threads=1)
    with pytest.raises(UsageError, match="--space mni152: the template shows no skull"):
        preprocess_case(Case(raw_case.id, {Contrast.T1: raw_case.images[Contrast.T1]}), tmp_path, config)


def test_percentiles_without_percentile_are_refused() -> None:
    with pytest.raises(UsageError, match=r"percentiles: \(2, 98\) are for normalisation percentile, not zscore"):
        parse(PreprocessConfig, {"normalisation": "zscore", "percentiles": (2, 98)})
