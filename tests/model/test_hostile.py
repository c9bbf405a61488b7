"""Models that come from anywhere: each fault ends in a ModelError that names the model, before anything is trusted."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tinymodels import write_model
from typer.testing import CliRunner

from braincli.cli import app
from braincli.errors import ModelError
from braincli.model.folder import load_model, read_info
from braincli.runtime import files

CPU = torch.device("cpu")
Mutation = Callable[[Path], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "victim", "tsgm")


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "victim")
    return tmp_path / "victim"


def put(*path: str | int, value: Any) -> Mutation:
    """Another value at ``path`` of ``model.json``."""

    def change(model: Path) -> None:
        content = json.loads((model / "model.json").read_text())
        place = content
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        (model / "model.json").write_text(json.dumps(content))

    return change


def description(data: str | bytes) -> Mutation:
    """Another ``model.json`` altogether."""
    return lambda model: void((model / "model.json").write_bytes(data.encode() if isinstance(data, str) else data))


def void(_: object) -> None: ...


def without(key: str) -> Mutation:
    def change(model: Path) -> None:
        content = json.loads((model / "model.json").read_text())
        del content[key]
        (model / "model.json").write_text(json.dumps(content))

    return change


def sealed(model: Path, name: str = "weights.safetensors") -> None:
    """``model.json`` names the hash that the weights have now, as whoever changes both would see to."""
    put("weights", value={name: files.sha256(model / name)})(model)


def tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Mutation:
    """Other weights, with a hash that matches."""

    def apply(model: Path) -> None:
        state = load_file(model / "weights.safetensors")
        change(state)
        save_file(state, model / "weights.safetensors")
        sealed(model)

    return apply


def raw(change: Callable[[bytes], bytes]) -> Mutation:
    """Other bytes of the weights, with a hash that matches."""

    def apply(model: Path) -> None:
        path = model / "weights.safetensors"
        path.write_bytes(change(path.read_bytes()))
        sealed(model)

    return apply


def first(state: dict[str, torch.Tensor]) -> str:
    return next(key for key, value in sorted(state.items()) if value.is_floating_point() and value.ndim > 1)


def linked(model: Path) -> None:
    """The weights lie in another folder."""
    shutil.move(model / "weights.safetensors", model.parent / "elsewhere.safetensors")
    (model / "weights.safetensors").symlink_to(model.parent / "elsewhere.safetensors")


def outside(name: str) -> Mutation:
    def change(model: Path) -> None:
        shutil.copy(model / "weights.safetensors", model.parent / "other.safetensors")
        put("weights", value={name: files.sha256(model / "weights.safetensors")})(model)

    return change


def folder_instead(model: Path) -> None:
    (model / "model.json").unlink()
    (model / "model.json").mkdir()


def pipe_instead(model: Path) -> None:
    (model / "model.json").unlink()
    os.mkfifo(model / "model.json")


def twice(model: Path) -> None:
    text = (model / "model.json").read_text()
    (model / "model.json").write_text(text.replace("{", '{"name": "other",', 1))


def huge(model: Path) -> None:
    with (model / "model.json").open("ab") as out:
        out.truncate(100 << 20)  # sparse


W = {"t1": 0.1, "t1ce": 0.1, "t2": 0.3, "flair": 0.5}
DESCRIPTIONS: dict[str, tuple[Mutation, str]] = {
    "not JSON": (description("{"), "cannot be read"),
    "empty": (description(""), "cannot be read"),
    "a list": (description("[]"), "no JSON object"),
    "a string": (description('"tsgm"'), "no JSON object"),
    "null": (description("null"), "no JSON object"),
    "no UTF-8": (description(b'{"name": "\xff\xfe"}'), "utf-8"),
    "a lone surrogate": (put("name", value="\ud800"), "cannot be read"),
    "deep nesting": (description('{"settings": ' + "[" * 100_000 + "]" * 100_000 + "}"), "nested too deeply"),
    "a huge file": (huge, "100 MB"),
    "a folder": (folder_instead, "it is no file"),
    "a pipe": (pipe_instead, "it is no file"),
    "a key twice": (twice, "'name' stands there twice"),
    "an unknown key": (put("evil", value=1), "evil"),
    "format as text": (put("format", value="1"), "format"),
    "format 0": (put("format", value=0), "format"),
    "format to come": (put("format", value=99), "format 99"),
    "no method": (without("method"), "method"),
    "method is a number": (put("method", value=3), "method"),
    "a name over lines": (put("name", value="a\nb"), "name"),
    "no name": (put("name", value=""), "name"),
    "threshold NaN": (put("calibration", "threshold", value=math.nan), "NaN is no number"),
    "threshold infinite": (put("calibration", "threshold", value=math.inf), "Infinity is no number"),
    "threshold beyond floats": (
        lambda m: void((m / "model.json").write_text((m / "model.json").read_text().replace("0.05", "1e999"))),
        "1e999 is out of range",
    ),
    "threshold negative": (put("calibration", "threshold", value=-0.1), "calibration.threshold"),
    "threshold as text": (put("calibration", "threshold", value="0.1"), "calibration.threshold"),
    "threshold true": (put("calibration", "threshold", value=True), "calibration.threshold"),
    "smallest lesion negative": (put("calibration", "min_lesion_mm3", value=-1.0), "min_lesion_mm3"),
    "a negative weight": (put("calibration", "weights", value=W | {"t1": -0.1, "t2": 0.5}), "weights.t1"),
    "weights of 2 in all": (put("calibration", "weights", value=W | {"flair": 1.0, "t2": 0.8}), "sum to 2"),
    "weights of 0 in all": (put("calibration", "weights", value=dict.fromkeys(W, 0.0)), "sum to 0"),
    "a weight for CT": (put("calibration", "weights", value=W | {"ct": 0.0}), "calibration.weights.ct"),
    "weights in a list": (put("calibration", "weights", value=[0.1, 0.1, 0.3, 0.5]), "calibration.weights"),
    "calibration is a list": (put("calibration", value=[]), "calibration"),
    "provenance with more": (put("calibration", "provenance", value={"patients": ["x"]}), "provenance.patients"),
    "DSC of 7": (put("calibration", "provenance", value={"dsc_fitted": 7.0}), "dsc_fitted"),
    "a subset of nothing": (put("subsets", value={"": {"weights": {}, "threshold": 1.0}}), "subsets"),
    "a subset of CT": (put("subsets", value={"ct+t1": {"weights": {}, "threshold": 1.0}}), "subsets"),
    "no contrasts": (put("contrasts", value=[]), "contrasts"),
    "a contrast twice": (put("contrasts", value=["t1", "t1", "t2", "flair"]), "contrasts"),
    "an unknown contrast": (put("contrasts", value=["t1", "t1ce", "t2", "dwi"]), "contrasts"),
    "contrasts in another order": (put("contrasts", value=["flair", "t1", "t1ce", "t2"]), "contrasts"),
    "pixels of 0.0001 mm": (put("slices", "pixel_mm", value=1e-4), "pixel_mm: 0.0001 is not 0.2 to 10 mm"),
    "pixels of -2 mm": (put("slices", "pixel_mm", value=-2.0), "pixel_mm"),
    "size 0": (put("slices", "size", value=[0, 80]), "[0, 80] are not 4 to 1024 each"),
    "a huge canvas": (put("slices", "size", value=[1_000_000, 80]), "[1000000, 80] are not 4 to 1024 each"),
    "half a size": (put("slices", "size", value=[96]), "slices.size"),
    "percentiles upside down": (put("slices", "percentiles", value=[99.0, 1.0]), "percentiles"),
    "unknown normalisation": (put("slices", "normalisation", value="magic"), "normalisation"),
    "slices of 0 mm": (put("slices", "slice_mm", value=0.0), "slice_mm"),
    "a range that ends before it begins": (put("slices", "range", value=[128, 80]), "ends before it begins"),
    "map weights of 2": (put("map", "weights", value=[0.5, 0.5, 0.5, 0.5]), "sums to 2"),
    "a median of a million": (put("map", "median", value=1_000_001), "map.median"),
    "smoothing over a metre": (put("map", "smooth_mm", value=1000.0), "map.smooth_mm"),
    "unknown residual": (put("map", "residual", value="cubed"), "map.residual"),
    "settings are a list": (put("settings", value=[]), "settings"),
    "negative parameters": (put("parameters", value=-1), "parameters"),
    "figures as text": (put("figures", value={"DSC": "high"}), "figures"),
    "training cases in a list": (put("training", "cases", value=["a"]), "training.cases"),
    "weights in the folder above": (outside("../other.safetensors"), "not the name of a file"),
    "weights at an absolute path": (outside("/tmp/other.safetensors"), "not the name of a file"),
    "weights in a pickle": (outside("weights.pt"), "not the name of a file"),
    "a hash that is none": (put("weights", value={"weights.safetensors": "abc"}), "weights"),
}  # fmt: skip
WEIGHTS: dict[str, tuple[Mutation, str]] = {
    "unknown method": (put("method", value="tsgn"), "no method 'tsgn'"),
    "unknown preset": (put("preset", value="giant"), "no preset 'giant'"),
    "unknown setting": (put("settings", value={"widht": 3}), "widht"),
    "setting of another type": (put("settings", value={"width": "wide"}), "width"),
    "negative width": (put("settings", value={"width": -8}), "victim"),
    "no width": (put("settings", value={"width": 0}), "victim"),
    "a network for all memory": (put("settings", value={"width": 1 << 20}), "settings of victim"),
    "a network without end": (put("settings", value={"blocks": 10_000_000, "width": 256}), "network of more than"),
    "another network": (put("settings", value={"width": 16}), "do not fit"),
    "weights that are not there": (lambda m: (m / "weights.safetensors").unlink(), "is missing"),
    "weights that are a folder": (
        lambda m: void(((m / "weights.safetensors").unlink(), (m / "weights.safetensors").mkdir())), "is missing",
    ),
    "weights behind a link": (linked, "link to another folder"),
    "no weights named": (put("weights", value={}), "do not fit this version"),
    "changed without the hash": (
        lambda m: void((m / "weights.safetensors").open("ab").write(b"more")), "SHA-256 differs",
    ),
    "half of a file": (raw(lambda data: data[: len(data) // 2]), "is damaged"),
    "no safetensors": (raw(lambda data: b"PK\x03\x04" + data[4:]), "is damaged"),
    "an empty file": (raw(lambda data: b""), "is damaged"),
    "a header of 2^60 bytes": (raw(lambda data: (1 << 60).to_bytes(8, "little") + data[8:]), "is damaged"),
    "a NaN": (tensors(lambda state: void(state[first(state)].view(-1)[:1].fill_(math.nan))), "not finite"),
    "an infinite number": (tensors(lambda state: void(state[first(state)].view(-1)[:1].fill_(math.inf))), "not finite"),
    "a tensor too few": (tensors(lambda state: void(state.pop(first(state)))), "do not fit this version"),
    "a tensor too many": (tensors(lambda state: state.update(evil=torch.ones(2))), "do not fit this version"),
    "another shape": (
        tensors(lambda state: state.update({first(state): torch.zeros(3, 3).half()})), "do not fit its settings",
    ),
    "whole numbers for weights": (
        tensors(lambda state: state.update({first(state): state[first(state)].to(torch.int64)})), "int64",
    ),
    "eighths for weights": (
        tensors(lambda state: state.update({first(state): state[first(state)].to(torch.float8_e5m2)})), "F8_E5M2",
    ),
    "bytes for weights": (
        tensors(lambda state: state.update({first(state): state[first(state)].to(torch.uint8)})), "uint8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", DESCRIPTIONS)
def test_a_description_that_no_model_has_is_refused(fault: str, model: Path) -> None:
    change, text = DESCRIPTIONS[fault]
    change(model)
    with pytest.raises(ModelError) as error:
        read_info(model)
    assert "victim" in error.value.message and text in error.value.message
    assert not re.search("Input should|Value error|Field required", error.value.message)
    with pytest.raises(ModelError):
        load_model(str(model), CPU)


@pytest.mark.parametrize("fault", WEIGHTS)
def test_weights_that_do_not_belong_to_the_description_are_refused(fault: str, model: Path) -> None:
    change, text = WEIGHTS[fault]
    change(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError) as error:
        load_model(str(model), CPU)
    assert text in str(error.value) and "victim" in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "no more than half a GB is taken"


def test_one_bad_model_leaves_the_others_listed(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINCLI_MODELS", str(tmp_path))
    shutil.copytree(whole, tmp_path / "fine")
    for fault, (change, _) in DESCRIPTIONS.items():
        folder = tmp_path / fault.replace(" ", "-").replace("/", "-")
        shutil.copytree(whole, folder)
        change(folder)
    for arguments in (["models"], ["weights", "list"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert "fine" in result.stdout and result.stdout.count("damaged") >= len(DESCRIPTIONS)
    content = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)["models"]
    assert content["fine"]["preset"] == "tiny" and "sum to 2" in content["weights-of-2-in-all"]["damaged"]


def test_a_folder_that_may_not_be_read_is_a_model_error(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.exists

    def refused(path: Path) -> bool:
        if path.parent == model:
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(ModelError, match="victim may not be read"):
        load_model(str(model), CPU)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "nothing/at/all", "", "."])
def test_names_that_are_no_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="no model"):
        load_model(name, CPU)


def test_detect_ends_with_exit_code_4(model: Path, tmp_path: Path) -> None:
    put("slices", "size", value=[0, 0])(model)
    (tmp_path / "scan_t1.nii.gz").write_bytes(b"")
    result = CliRunner().invoke(app, ["detect", str(tmp_path / "scan_t1.nii.gz"), "--model", str(model), "-o",
                                      str(tmp_path / "mask.nii.gz")])  # fmt: skip
    assert result.exit_code == 4 and "victim" in result.stderr, result.output
