"""Masks in memory, by case or alone, score as their files do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from phantoms import affine, lesion, write

import braincli
from braincli.errors import InputError, UsageError

GRID = affine("LPS", (1.0, 1.0, 2.0))
REFERENCE = lesion()
FOUND = np.roll(REFERENCE, 1, axis=0)
RISING = np.linspace(0, 1, REFERENCE.size, dtype=np.float32).reshape(REFERENCE.shape)


def test_images_score_as_files_do(tmp_path: Path) -> None:
    for folder, data in (("run", FOUND), ("ref", REFERENCE)):
        write(tmp_path / folder / "p_seg.nii.gz", data, GRID)
    stored = braincli.score(tmp_path / "run", tmp_path / "ref", bootstrap=0)
    image = nib.load(tmp_path / "run" / "p_seg.nii.gz")
    for inputs, reference in (
        (image, (REFERENCE, GRID)), ((FOUND > 0, GRID), tmp_path / "ref" / "p_seg.nii.gz"),
        ({"p": image}, {"p": (REFERENCE, GRID)}), ({"p": image}, (REFERENCE, GRID)),
    ):  # fmt: skip
        scores = braincli.score(inputs, reference, bootstrap=0)
        assert scores.cases[0].values == stored.cases[0].values
    assert 0 < stored.cases[0].values["dsc"] < 1
    assert braincli.score(image, (REFERENCE, GRID)).cases[0].case == "case"


def test_maps_and_brains_belong_to_their_cases(tmp_path: Path) -> None:
    masks: dict[str, Any] = {"a": (FOUND, GRID), "b": (REFERENCE, GRID), "c": (FOUND, GRID)}
    known: dict[str, Any] = {"a": (REFERENCE, GRID), "b": (REFERENCE, GRID), "d": (REFERENCE, GRID)}
    brain = (np.ones_like(REFERENCE), GRID)
    scores = braincli.score(
        masks, known, tmp_path / "out", anomaly={"a": (RISING, GRID)}, brain={"a": brain}, bootstrap=0
    )
    a, b, d = scores.cases
    assert a.values["auprc"] is not None and a.domain == "brain mask" and "auprc" not in b.values
    assert b.values["dsc"] == 1 and d.error == "No prediction for case_seg.nii." and scores.unmatched == ("mask.nii",)
    alone = braincli.score((FOUND, GRID), (REFERENCE, GRID), anomaly=(RISING, GRID), brain=brain, bootstrap=0)
    assert alone.cases[0].values == a.values
    assert repr(scores) == f"<scores, cases: 3, mean DSC: {scores.aggregate['dsc']['mean']:.3f}>"
    html = scores._repr_html_()
    assert "<td>mean</td>" in html and "d: " in html and "<td>1</td>" in html
    pytest.importorskip("pandas")
    frame = scores.to_dataframe()
    assert ",".join(frame.columns) == (tmp_path / "out" / "scores.csv").read_text(encoding="utf-8").splitlines()[0]
    assert frame["dsc"].tolist()[1] == 1 and np.isnan(frame["auprc"][1])


@pytest.mark.parametrize(
    ("inputs", "reference", "more", "kind", "text"),
    [
        ((FOUND, GRID), {"a": (REFERENCE, GRID)}, {}, UsageError, "references are by case; the predictions are not"),
        ({"a": (FOUND, GRID), "b": (FOUND, GRID)}, (REFERENCE, GRID), {}, UsageError, "One file was given for 2 cases"),
        ({"a": (FOUND, GRID)}, {}, {}, UsageError, "There is no reference"),
        ((FOUND, GRID), (REFERENCE, GRID), {"brain": {"a": (FOUND, GRID)}}, UsageError, "brain is by case"),
        ({"a": FOUND}, {"a": (REFERENCE, GRID)}, {}, InputError, "mask is an array without an affine"),
        ({"a": "no.nii.gz"}, {"a": (REFERENCE, GRID)}, {}, InputError, r"no\.nii\.gz: no such file"),
        ({"a": (FOUND, np.eye(4))}, {"a": (REFERENCE, GRID)}, {}, InputError, "corners lie"),
    ],
)
def test_what_does_not_belong_together_is_said(
    inputs: Any, reference: Any, more: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        braincli.score(inputs, reference, **more)
