"""The Python door without files: images in, images out, nothing left on disk; a model that is loaded once."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from phantoms import affine, brain, lesion, write_case
from tinymodels import write_model

import braincli
from braincli.config import DetectConfig, TrainConfig
from braincli.detection.detector import Detector
from braincli.errors import CohortError, InputError, ModelError, QualityError, UsageError
from braincli.imaging.cases import CONTRASTS
from braincli.imaging.volume import load
from braincli.keywords import configured
from braincli.model import tensors
from braincli.model.folder import LoadedModel
from braincli.runtime.progress import Reporter

SHAPE, GRID = (40, 48, 16), affine("LPS", (3.0, 3.0, 4.0))
Scans = dict[str, Any]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_case(tmp_path_factory.mktemp("in") / "p01", shape=SHAPE, matrix=GRID)


@pytest.fixture
def scans(case: Path) -> Scans:
    return {contrast: nib.load(case / f"p01_{contrast}.nii.gz") for contrast in CONTRASTS}


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def tsgm(models: Path) -> LoadedModel:
    return braincli.load_model(models / "tsgm", device="cpu")


def test_images_in_give_what_files_give_and_leave_nothing(
    case: Path, scans: Scans, models: Path, tmp_path: Path, scratch: Path
) -> None:
    asked: dict[str, Any] = {"model": str(models / "tsgm"), "anomaly_map": True, "restored": True}
    asked |= {"report": False, "figure": False}
    stored = braincli.detect(case, tmp_path / "out", **asked)[0]
    arrays = {"p01": {contrast: (np.asarray(image.dataobj), image.affine) for contrast, image in scans.items()}}
    for given in (scans, arrays):
        held = braincli.detect(given, **asked)[0]
        assert (held.case, held.status, held.paths) == ("p01", "done", {})
        for kind in ("mask", "anomaly", "lesions", "restored-flair"):
            assert np.array_equal(held.array(kind), stored.array(kind)), kind
            assert np.array_equal(held.image(kind).affine, GRID)
        assert held.lesion_table == stored.lesion_table and held.volume_ml == stored.volume_ml
        assert list(held.restored) == list(CONTRASTS)
    assert not list(scratch.iterdir())
    again = pickle.loads(pickle.dumps(held))
    assert np.array_equal(again.array(), held.array()) and again.lesion_table == held.lesion_table


def test_pages_are_in_memory_where_they_are_asked_for(scans: Scans, models: Path) -> None:
    found = braincli.detect(scans, model=str(models / "threshold"), report=True, figure=False)[0]
    assert b"<html" in found.files.read("report") and found.png() is None
    found = braincli.detect(scans, model=str(models / "threshold"))[0]
    assert (found.png() or b"").startswith(b"\x89PNG") and "data:image/png;base64," in found._repr_html_()
    with pytest.raises(UsageError, match="no report"):
        found.files.read("report")


def test_a_cohort_in_memory_keeps_what_succeeds(scans: Scans, models: Path, scratch: Path) -> None:
    both = {"good": scans, "bad": {"flair": (np.full(SHAPE, np.nan, np.float32), GRID)}}
    report = braincli.detect(both, model=str(models / "threshold"), figure=False)
    assert len(report) == 2 and [each.case for each in report] == ["bad", "good"] and not list(scratch.iterdir())
    assert report["good"].array().any() and "flair.nii" in report["bad"].error
    with pytest.raises(UsageError, match="The result has no mask") as caught:
        _ = report["bad"].mask
    assert "The case failed: flair.nii" in caught.value.hint
    with pytest.raises(KeyError, match="'elsewhere' is none of bad, good"):
        _ = report["elsewhere"]


def test_too_large_a_mask_says_how_to_see_the_map(scans: Scans, tsgm: LoadedModel) -> None:
    with pytest.raises(QualityError, match="of the brain would be marked") as caught:
        braincli.detect(scans, model=tsgm, threshold=0.0)
    assert caught.value.hint == "Name an output folder: the anomaly map is written there."


def test_a_loaded_model_is_read_once(
    case: Path, scans: Scans, tsgm: LoadedModel, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small: dict[str, Any] = {"threshold": 0.05, "figure": False}
    named = braincli.detect(scans, model=str(models / "tsgm"), **small)[0]
    monkeypatch.setattr(tensors, "verified", lambda *given: pytest.fail("weights are read again"))
    for _ in range(2):
        found = braincli.detect(scans, model=tsgm, **small)[0]
        assert np.array_equal(found.array("lesions"), named.array("lesions"))
    options: dict[str, Any] = {"model": tsgm, "figure": False, "report": False}
    assert braincli.detect(case, tmp_path / "out", **options)[0].status == "done"
    by_name = {**options, "model": str(tsgm.folder), "resume": True}
    assert braincli.detect(case, tmp_path / "out", **by_name)[0].status == "skipped", "the record is the same"
    assert repr(tsgm).startswith("<model tsgm: method tsgm, preset tiny, ") and repr(tsgm).endswith(" weights on cpu>")


def test_other_processes_read_the_model_by_its_folder(tsgm: LoadedModel) -> None:
    config, loaded = configured(DetectConfig, None, {"model": tsgm})
    detector = Detector(config, Reporter(), loaded)
    assert detector.model is tsgm and detector.folder == tsgm.folder
    sent = pickle.dumps(detector)
    assert len(sent) < 5_000, "no weights travel"
    there: Detector = pickle.loads(sent)
    assert there.loaded is None and there.folder == tsgm.folder and there.info == tsgm.info


def test_what_is_stored_in_a_model_since_it_was_loaded_counts(case: Path, scans: Scans, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", "threshold")
    model = braincli.load_model(str(folder), device="cpu")
    before = braincli.detect(scans, model=model)[0].record["facts"]["threshold"]
    found = braincli.calibrate({"v1": {**scans, "lesion": case / "p01_seg.nii.gz"}}, model=model)
    after = braincli.detect(scans, model=model)[0].record["facts"]
    assert after["threshold"] != before and after["min_lesion_mm3"] == found.min_lesion_mm3
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    content["weights"] = {"weights.safetensors": "0" * 64}
    (folder / "model.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match="mine was changed since it was loaded"):
        braincli.detect(scans, model=model)


def test_a_training_begins_with_a_loaded_model(tsgm: LoadedModel) -> None:
    config, loaded = configured(TrainConfig, None, {"init": tsgm})
    assert (config.init, loaded) == (str(tsgm.folder), None)


def test_what_is_no_model_is_said(scans: Scans, tsgm: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="model is of type int"):
        braincli.detect(scans, model=7)
    with pytest.raises(ModelError, match="There is no model 'tsgmm'"):
        braincli.load_model("tsgmm")
    elsewhere = tsgm.__class__(tsgm.info, tsgm.method, tsgm.folder, "cuda:0")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"The model tsgm is on cuda:0, not on cpu") as caught:
        braincli.detect(scans, model=elsewhere, device="cpu")
    assert 'load_model("tsgm", device="cpu")' in caught.value.hint.replace("'", '"')


def test_results_go_from_verb_to_verb(scans: Scans, models: Path, scratch: Path, tmp_path: Path) -> None:
    small: dict[str, Any] = {"kind": "sink", "radius_mm": (10.0, 12.0), "margin_mm": 0.0}
    known = (lesion(SHAPE), GRID)
    (held,) = braincli.synth({"p": {**scans, "lesion": known}}, **small)
    (stored,) = braincli.synth({"p": {**scans, "lesion": known}}, tmp_path / "synth", **small)
    assert held.paths == {} and stored.paths["seg"].is_file()
    assert repr(held).startswith("<synthetic p, anomalies: 1, of ")
    assert np.array_equal(held.array("seg"), stored.array("seg")) and set(np.unique(held.array("seg"))) == {0, 1, 2}
    assert np.array_equal(held.array("flair"), load(stored.paths["flair"]).data)
    found = braincli.detect([held], model=str(models / "threshold"), anomaly_map=True, figure=False)
    scores = [
        braincli.score(found, given, bootstrap=0, labels=(1,))
        for given in ({"p": held.image("seg")}, held.image("seg"), stored.paths["seg"])
    ]
    assert len({each.cases[0].values["dsc"] for each in scores}) == 1 and scores[0].cases[0].anomaly
    assert scores[0].cases[0].case == "p" and not list(scratch.iterdir())
    checked = braincli.check(held)
    assert not checked.errors and {file.role for file in checked.cases[0].files} == {*CONTRASTS, "lesion"}
    with pytest.raises(CohortError) as caught:
        braincli.synth({"p": scans, "small": {"flair": (brain((9, 9, 2)), np.eye(4))}}, **small)
    ((kept),) = [outcome.result for outcome in caught.value.outcomes if outcome.result]
    assert kept.array("seg").any(), "what succeeded outlives the folder"


def test_a_model_is_trained_on_arrays(scans: Scans, tmp_path: Path) -> None:
    inputs = {"p": {**scans, "lesion": (lesion(SHAPE), GRID)}}
    info = braincli.train(inputs, tmp_path / "m", method="threshold", device="cpu")
    assert info is not None and (info.name, info.method) == ("m", "threshold")
    found = braincli.detect({"q": scans}, model=tmp_path / "m", threshold=0.9, figure=False)[0]
    assert found.record["config"]["model"] == "m"
    with pytest.raises(InputError, match="lesion is an array without an affine"):
        braincli.train({"p": {**scans, "lesion": lesion(SHAPE)}}, tmp_path / "n", method="threshold")


def test_brain_masks_are_taken_from_memory(scans: Scans, models: Path) -> None:
    mask = brain(SHAPE) > 0
    mask[20:] = False
    asked: dict[str, Any] = {"anomaly_map": True, "figure": False}
    found = braincli.detect(scans, model=str(models / "threshold"), brain_mask=(mask, GRID), **asked)[0]
    assert found.array("anomaly").any() and not found.array("anomaly")[22:].any()
    with pytest.raises(UsageError, match="One brain mask was given for 2 cases"):
        braincli.detect([scans, {"t1": (brain(SHAPE), GRID)}], brain_mask=(mask, GRID))
    with pytest.raises(InputError, match="brain is an array without an affine"):
        braincli.detect(scans, brain_mask=mask)
