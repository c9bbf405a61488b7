"""How slices are cut: the preset says it, options of ``train`` overrule it, and the model goes on with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
import torch
from tinytraining import SHAPE, train, write_cases
from typer.testing import CliRunner

from braincli import api
from braincli.calibration.evidence import gather
from braincli.cli import app
from braincli.config import DetectConfig, TrainConfig, load
from braincli.errors import InputError, UsageError
from braincli.imaging.cases import find_cases
from braincli.imaging.volume import load as load_volume
from braincli.methods import registry
from braincli.model.folder import load_model, read_info
from braincli.model.info import Calibration
from braincli.runtime.progress import Reporter
from braincli.spec import SliceSpec
from braincli.training.store import open_store

EVERYTHING: dict[str, Any] = {"pixel_mm": 4.0, "canvas": "64x48", "slice_mm": 4.0, "slices": "3:15"}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("data"))


def test_the_preset_says_how_slices_are_cut(cohort: Path, tmp_path: Path) -> None:
    info = train(cohort, tmp_path / "m", store=tmp_path / "slices")
    assert info is not None and info.slices == registry.options("unet", "tiny").slices == SliceSpec()
    assert open_store(tmp_path / "slices").spec == info.slices


def test_options_overrule_the_preset_one_by_one(cohort: Path, tmp_path: Path) -> None:
    info = train(cohort, tmp_path / "m", store=tmp_path / "slices", **EVERYTHING)
    assert info is not None and info.slices == SliceSpec(pixel_mm=4.0, size=(64, 48), slice_mm=4.0, range=(3, 15))
    stored = json.loads((tmp_path / "m" / "model.json").read_text())
    assert "slices" not in stored["settings"] and "map" not in stored["settings"], "said once"
    store = open_store(tmp_path / "slices")
    assert store.image.shape[2:] == (64, 48) and len(store) <= 2 * 13
    again = load(TrainConfig, tmp_path / "m" / "train.toml")
    assert again.settings["slices"]["size"] == [64, 48] and again.canvas is None
    one = train(cohort, tmp_path / "n", pixel_mm=4.0)
    assert one is not None and one.slices == SliceSpec(pixel_mm=4.0)


def test_a_training_that_begins_with_a_model_keeps_its_slices(cohort: Path, tmp_path: Path) -> None:
    train(cohort, tmp_path / "m", **EVERYTHING)
    further = train(cohort, tmp_path / "n", init=str(tmp_path / "m"), slices="all")
    assert further is not None
    assert further.slices == read_info(tmp_path / "m").slices.model_copy(update={"range": "all"})


def test_a_canvas_that_networks_cannot_take_is_refused_with_those_that_they_can(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"70x48 pixels does not fit.*multiples of 4") as error:
        train(cohort, tmp_path / "m", canvas="70x48")
    assert error.value.hint == "Choose --canvas 72x48 or 68x48."
    assert not (tmp_path / "m").exists() or not list((tmp_path / "m").glob("*.json"))
    with pytest.raises(UsageError, match="multiples of 64") as error:
        train(cohort, tmp_path / "m", method="tsgm", preset="paper", canvas="96x80", steps={}, settings={"width": 8})
    assert error.value.hint == "Choose --canvas 128x128 or 64x64."


def test_a_range_that_holds_no_brain_names_case_and_slices(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a: The brain lies in the slices \d to \d; 80 to 128 are looked at"):
        train(cohort, tmp_path / "m", slices="80:128")


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--canvas", "wide", "is not ROWSxCOLUMNS"),
        ("--slices", "128:80", "is neither FIRST:LAST"),
        ("--slices", "80", "is neither FIRST:LAST"),
        ("--pixel-mm", "0", "is below 0.2"),
        ("--slice-mm", "thick", "--slice-mm"),
        ("--slice-mm", "0", "--slice-mm: 0.0 is not 0.2 to 10 mm"),
        ("--canvas", "2x2", "--canvas: (2, 2) are not 4 to 1024 each"),
    ],
)
def test_values_that_make_no_sense(option: str, value: str, why: str, cohort: Path, tmp_path: Path) -> None:
    arguments = ["train", "--method", "unet", "--preset", "tiny", "--data", cohort, "-o", tmp_path / "m", option, value]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 2 and why in " ".join(result.stderr.split()), result.stderr


def test_detection_looks_at_the_models_slices_and_says_so(cohort: Path, tmp_path: Path) -> None:
    found = {}
    for name, slices in (("all", "all"), ("some", "4:5")):
        api.train(
            [cohort], tmp_path / name, TrainConfig(method="threshold", preset="tiny", slices=slices, device="cpu")
        )
        options = DetectConfig(
            model=str(tmp_path / name), threshold=0.8, device="cpu", anomaly_map=True, already_stripped=True,
            figure=False, uncalibrated=True,
        )  # fmt: skip
        report = api.detect(cohort / "a", tmp_path / f"out-{name}", options)
        (case,) = report.cases
        found[name] = (load_volume(tmp_path / f"out-{name}" / "a" / "a_anomaly.nii.gz"), case.warnings)
    whole, part = (found[name][0].data for name in ("all", "some"))
    seen = np.flatnonzero(part.any(axis=(0, 1)))
    assert list(seen) == [4, 5] and len(np.flatnonzero(whole.any(axis=(0, 1)))) > 4
    assert np.array_equal(part[:, :, 4:6] > 0, whole[:, :, 4:6] > 0)
    assert any("only the slices 4 to 5 were looked at" in text for text in found["some"][1])
    assert not any("looked at, as in training" in text for text in found["all"][1])


@pytest.mark.parametrize(("slices", "slice_mm"), [("4:5", "own"), ("9:12", "4")])
def test_calibration_counts_lesions_where_the_model_looks(
    slices: str, slice_mm: str, cohort: Path, tmp_path: Path
) -> None:
    training = TrainConfig(method="threshold", preset="tiny", slices=slices, slice_mm=slice_mm, device="cpu")
    api.train([cohort], tmp_path / "m", training)
    model = load_model(str(tmp_path / "m"), torch.device("cpu"))
    outcomes = gather(find_cases(cohort), model, seed=0, batch=16, reporter=Reporter())
    whole = phantoms.lesion(SHAPE) > 0
    for evidence in (outcome.result for outcome in outcomes):
        assert evidence is not None
        sick = np.flatnonzero(evidence.reference.any(axis=(0, 1)))
        assert 0 < len(sick) < len(np.flatnonzero(whole.any(axis=(0, 1)))) and set(sick) <= {4, 5, 6, 7}
        assert evidence.lesion.shape[1:] == model.info.slices.size and evidence.lesion.any()
        fit = Calibration(weights=model.info.fusion, threshold=0.5)
        marked = np.flatnonzero(evidence.mask(fit).any(axis=(0, 1)))
        assert set(marked) <= {3, 4, 5, 6, 7} and evidence.mask(fit).any()


@pytest.mark.parametrize(
    ("name", "preset"), [(name, preset) for name, spec in registry.METHODS.items() for preset in spec.presets]
)
def test_the_canvas_of_every_preset_fits_its_networks(name: str, preset: str) -> None:
    with torch.device("meta"):
        method = registry.build(name, preset=preset)
    assert method.config.slices.fits(method.stride), (method.config.slices.size, method.stride)
