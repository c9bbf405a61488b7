"""Models of earlier versions, whose parameters and options bore other names, load and predict the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from braincli.errors import ModelError
from braincli.imaging.slices import SliceSpec
from braincli.methods import registry
from braincli.methods.base import Method
from braincli.model import earlier
from braincli.model.folder import load_model, save_model
from braincli.model.info import ModelInfo
from braincli.runtime import files

SIZE = (32, 24)
BEFORE = {new: old for old, new in earlier.RENAMED.items()}
RENAMED = [name for name in sorted(registry.METHODS) if registry.method_class(name).renamed_weights]


def build(name: str) -> Method:
    torch.manual_seed(0)
    return registry.build(name, preset="tiny", size=SIZE).eval()


def earlier(method: Method, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``state`` under the names of version 0.1."""
    old = {new: before for before, new in method.renamed_weights.items()}
    renamed = {}
    for name, value in state.items():
        new = next((prefix for prefix in old if name.startswith(prefix)), "")
        renamed[old.get(new, "") + name.removeprefix(new)] = value
    return renamed


def test_the_known_renames_are_covered() -> None:
    assert {"cyclegan", "tsgm", "isct", "cddpm", "sadm", "fae", "rd"} <= set(RENAMED)


@pytest.mark.parametrize("name", RENAMED)
def test_every_parameter_is_found_under_its_earlier_name(name: str) -> None:
    method = build(name)
    state = method.state_dict()
    old = earlier(method, state)
    assert set(old) != set(state)
    assert [method.current_name(key) for key in old] == list(state)
    assert [method.current_name(key) for key in state] == list(state), "today's names stay"


@pytest.mark.parametrize("name", ["fae", "isct", "sadm"])
def test_a_folder_of_an_earlier_version_predicts_the_same(name: str, tmp_path: Path) -> None:
    method = build(name)
    folder = tmp_path / "m"
    info = ModelInfo(
        name="m", method=name, preset="tiny", settings=method.config.model_dump(mode="json"),
        slices=SliceSpec(size=SIZE),
    )  # fmt: skip
    save_model(folder, method, info)
    weights = folder / "weights.safetensors"
    save_file(earlier(method, load_file(weights)), weights)
    content = json.loads((folder / "model.json").read_text())
    content["weights"]["weights.safetensors"] = files.sha256(weights)
    content["format"] = 1
    content["settings"] = {BEFORE.get(key, key): value for key, value in content["settings"].items()}
    (folder / "model.json").write_text(json.dumps(content))

    loaded = load_model(str(folder), torch.device("cpu")).method
    brain = torch.ones(2, 1, *SIZE, dtype=torch.bool)
    image = torch.rand(2, 4, *SIZE)
    with torch.inference_mode():
        results = [m.predict(image, brain, [torch.Generator().manual_seed(0)] * 2) for m in (method, loaded)]
    for expected, given in zip(*results, strict=True):
        assert (expected is None) == (given is None)
        assert expected is None or torch.equal(expected, given)


def test_one_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    method = build("isct")
    info = ModelInfo(name="m", method="isct", preset="tiny", slices=SliceSpec(size=SIZE))
    save_model(tmp_path / "m", method, info)
    weights = tmp_path / "m" / "weights.safetensors"
    state = load_file(weights)
    save_file({key: value.clone() for key, value in (earlier(method, state) | state).items()}, weights)
    content = json.loads((tmp_path / "m" / "model.json").read_text())
    content["weights"]["weights.safetensors"] = files.sha256(weights)
    (tmp_path / "m" / "model.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="twice"):
        load_model(str(tmp_path / "m"), torch.device("cpu"))
