"""One folder with the masks of two models: one of them is scored, and which is said or asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from phantoms import lesion, write

from braincli import api
from braincli.errors import InputError, UsageError

SHAPE = (12, 12, 10)
QUICK = {"bootstrap": 0, "permutations": 0}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """References ``ref`` of two cases, and ``out``: perfect masks of tsgm and halves of them of my_model."""
    place = tmp_path_factory.mktemp("two")
    for case in ("sub-01", "sub-02"):
        spot = (lesion(SHAPE) > 0).astype("uint8")
        (place / "ref").mkdir(exist_ok=True)
        write(place / "ref" / f"{case}_seg.nii.gz", spot)
        anat = place / "out" / case / "anat"
        anat.mkdir(parents=True)
        for label, name, mask in (("tsgm", "tsgm", spot), ("mymodel", "my_model", spot * 0)):
            written = f"anat/{case}_space-SRI24_label-L_desc-{label}_mask.nii.gz"
            write(anat.parent / written, mask)
            record = {"braincli": "0", "command": "detect", "config": {"model": name}, "outputs": {written: ""}}
            (anat.parent / f"{case}_desc-{label}_record.json").write_text(json.dumps(record))
    return place


@pytest.mark.parametrize(("model", "dsc"), [("tsgm", 1.0), ("my_model", 0.0)])
def test_the_masks_of_the_chosen_model_are_scored(model: str, dsc: float, place: Path) -> None:
    report = api.score(place / "out", place / "ref", model=model, **QUICK)
    assert [case.values["dsc"] for case in report.cases] == [dsc, dsc]
    one = api.score(place / "out" / "sub-01", place / "ref" / "sub-01_seg.nii.gz", model=model, **QUICK)
    assert [case.values["dsc"] for case in one.cases] == [dsc]


def test_of_several_none_is_guessed(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="out holds masks of several models: mymodel, tsgm") as error:
        api.score(place / "out", place / "ref", **QUICK)
    assert "--model mymodel" in error.value.hint
    api.score(place / "out", place / "ref", tmp_path / "mine", model="my_model", **QUICK)
    both = api.score(place / "out", place / "ref", model="tsgm", compare=tmp_path / "mine" / "scores.json", **QUICK)
    assert both.comparison is not None and both.comparison["other"] == "scores.json"


def test_a_model_that_is_not_there_and_one_that_means_nothing(place: Path) -> None:
    with pytest.raises(InputError, match="out holds no mask of the model vae; it holds those of mymodel, tsgm"):
        api.score(place / "out", place / "ref", model="vae", **QUICK)
    with pytest.raises(UsageError, match="--model"):
        api.score({"sub-01": place / "ref" / "sub-01_seg.nii.gz"}, {"sub-01": place}, model="tsgm", **QUICK)


def test_files_that_name_no_model_are_told_by_their_record(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "sub-01"
    folder.mkdir(parents=True)
    write(folder / "sub-01_mask.nii.gz", (lesion(SHAPE) > 0).astype("uint8"))
    record = {"braincli": "0", "command": "detect", "config": {"model": "tsgm"}}
    (folder / "sub-01_record.json").write_text(json.dumps(record))
    reference = place / "ref" / "sub-01_seg.nii.gz"
    assert api.score(tmp_path / "out", reference, model="tsgm", **QUICK).cases[0].values["dsc"] == 1
    with pytest.raises(InputError, match="no mask of the model vae; it holds those of tsgm"):
        api.score(tmp_path / "out", reference, model="vae", **QUICK)
