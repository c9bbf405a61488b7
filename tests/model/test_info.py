"""``model.json``: what ships loads unchanged, and what is written can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from tinymodels import write_model

from braincli.errors import UsageError
from braincli.imaging.cases import Contrast
from braincli.methods import registry
from braincli.methods.base import MethodConfig
from braincli.model import earlier
from braincli.model.folder import load_model, read_info, write_info
from braincli.model.info import Calibration, Heritage, ModelInfo, Provenance, Training
from braincli.model.stored import read_stored
from braincli.spec import MapOptions, SliceSpec

CHANGED = ("format", "slices", "map", "settings")
SHIPPED = sorted(path.parent for path in (Path(__file__).resolve().parents[2] / "models").glob("*/model.json"))


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_shipped_descriptions_come_back_as_they_were(folder: Path) -> None:
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    info = read_info(folder)
    found = info.model_dump(mode="json")
    assert found["slices"] == content["slices"] | {"slice_mm": "own", "range": "all"}
    assert found["map"] == content["map"] | {"weights": [0.07, 0.19, 0.3, 0.44]}, "what was taken for all models"
    stored = read_stored(folder)
    assert stored.settings == earlier.description(content)["settings"] and found["format"] == 2
    assert type(info.options) is registry.method_class(info.method).Config, "the method's own, and all of them"
    assert set(found["settings"]) | {"slices", "map"} == set(type(info.options).model_fields)
    for name, value in stored.settings.items():
        kept = found["settings"][name]
        assert {key: kept[key] for key in value} == value if isinstance(value, dict) else kept == value, name
    assert {k: v for k, v in found.items() if k not in CHANGED} == {
        k: v for k, v in content.items() if k not in CHANGED
    }
    assert isinstance(info.slices, SliceSpec) and info.calibration is not None
    assert info.calibration.provenance.dsc_cross_fit == info.figures["DSC (cross-fitted)"]


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_nothing_that_ships_holds_subnormal_numbers_once_loaded(folder: Path) -> None:
    model = load_model(str(folder), torch.device("cpu"))
    for name, value in model.method.state_dict().items():
        assert not ((value.abs() < torch.finfo(torch.float32).tiny) & (value != 0)).any(), name


def test_facts_that_are_not_known_are_not_written() -> None:
    assert Training(cases={}, minutes=0.0).model_dump(mode="json") == {"cases": {}, "minutes": 0.0}
    assert Provenance(objective="mean DSC").model_dump(mode="json") == {"objective": "mean DSC"}
    init = Heritage(name="a", steps={"main": 3}, weights={"weights.safetensors": "0" * 64})
    training = Training(cases={"a": ["f" * 64]}, init=init)
    assert Training.model_validate_json(training.model_dump_json()) == training


def test_calibrations_without_sense_are_refused_when_they_are_made() -> None:
    with pytest.raises(ValidationError, match=r"sum to 0\.5"):
        Calibration(weights={Contrast.FLAIR: 0.5}, threshold=0.1)
    assert Calibration(weights={}, threshold=0.1).weights == {}, "a score has no weights"


def test_options_are_those_of_the_method(tmp_path: Path) -> None:
    info = ModelInfo(name="m", method="vae", preset="tiny", settings={"rate": 0.5}, slices=SliceSpec(pixel_mm=3.0))
    assert isinstance(info.options, MethodConfig) and info.options.rate == 0.5  # type: ignore[attr-defined]
    assert info.slices.pixel_mm == 3.0 and info.map == registry.options("vae", "tiny").map != MapOptions()
    assert ModelInfo(name="m", method="vae", preset="tiny", options=info.options) == info
    assert list(info.model_dump())[:9] == [
        "format", "braincli", "name", "method", "preset", "contrasts", "calibration", "subsets", "training",
    ]  # fmt: skip
    for wrong, says in (
        ({"settings": {"raet": 1}}, "raet"),
        ({"method": "vea"}, "vea"),
        ({"preset": "giant"}, "giant"),
    ):
        with pytest.raises(UsageError, match=says):
            ModelInfo(**{"name": "m", "method": "vae", "preset": "tiny", **wrong})  # type: ignore[arg-type]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    info = read_info(write_model(tmp_path / "m", "threshold"))
    write_info(tmp_path / "m", info.model_copy(update={"name": "other"}))
    assert read_info(tmp_path / "m") == ModelInfo.model_validate(info.model_dump() | {"name": "other"})
