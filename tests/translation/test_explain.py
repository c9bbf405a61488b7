"""``braincli explain`` as its user sees it: maps on the scan's grid, a table, a picture, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from phantoms import affine, write_case
from tinymodels import write_model
from typer.testing import CliRunner, Result

from braincli.cli import app
from braincli.imaging.volume import load
from braincli.methods import registry
from braincli.methods.base import Method

SHAPE = (40, 48, 16)
GRID = affine("LPS", (3.0, 3.0, 4.0), degrees=(6.0, 0.0))


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("given")
    for method in ("dpm-classifier", "vae"):
        write_model(root / "models" / method, method)
    write_case(root / "p01", shape=SHAPE, matrix=GRID)
    return root


@pytest.fixture(autouse=True)
def search(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINCLI_MODELS", str(given / "models"))
    monkeypatch.chdir(given)


def explain(*words: object, model: str = "dpm-classifier") -> Result:
    return CliRunner().invoke(app, ["explain", *map(str, words), "--model", model, "--threads", "1", "--device", "cpu"])


def test_maps_lie_on_the_scan(given: Path, tmp_path: Path) -> None:
    result = explain("p01", "-o", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    (content,) = json.loads(result.stdout)
    scan, folder = load(given / "p01" / "p01_flair.nii.gz"), tmp_path / "p01"
    for kind in ("saliency", "cam"):
        made = load(folder / f"p01_{kind}.nii.gz")
        assert made.shape == scan.shape and np.allclose(made.affine, scan.affine, atol=1e-5)
        assert made.data.min() >= 0 and 0.5 < made.data.max() <= 1 + 1e-5 and not made.data[scan.data == 0].any()
    rows = [line.split("\t") for line in (folder / "p01_explain.tsv").read_text().splitlines()]
    assert rows[0] == ["slice", "log-odds of a lesion"] and len(rows) > 5
    values = {int(number): float(value) for number, value in rows[1:]}
    said = content["readings"]
    assert said["highest"] == max(values.values()) == values[said["slice"]]
    assert (folder / "p01_explain.png").is_file() and (folder / "p01_explain_record.json").is_file()
    assert explain("p01", "-o", tmp_path).exit_code == 2, "nothing is overwritten"


def test_the_table_says_what_the_classifier_does(given: Path, tmp_path: Path) -> None:
    from braincli.imaging.cases import find_cases
    from braincli.imaging.slices import load_case
    from braincli.model.folder import load_model

    assert explain("p01", "-o", tmp_path, "--slices", "6:8", "--no-figure").exit_code == 0
    model = load_model("dpm-classifier", torch.device("cpu"))
    (case,) = find_cases(given / "p01")
    slices, _ = load_case(case, model.info.slices, stride=model.method.stride)
    chosen = torch.from_numpy(slices.image[np.isin(slices.index, (6, 7, 8))])
    with torch.inference_mode():
        logits = model.method.get_submodule("classifier")(model.method.config.scaled(chosen), torch.ones(3))  # type: ignore[attr-defined]
    rows = (tmp_path / "p01" / "p01_explain.tsv").read_text().splitlines()[1:]
    np.testing.assert_allclose([float(row.split("\t")[1]) for row in rows], logits[:, 1] - logits[:, 0], atol=1e-3)


def test_a_model_without_a_classifier_is_refused_and_others_are_named(tmp_path: Path) -> None:
    result = explain("p01", "-o", tmp_path, model="vae")
    assert result.exit_code == 4 and "vae is a model of vae, which holds no classifier of slices" in result.stderr
    named = set(result.stderr.rpartition("Methods that do: ")[2].strip().rstrip(".").split(", "))
    assert {"dpm-classifier", "regression-guided"} <= named


CLASSIFYING = [name for name in registry.METHODS if registry.method_class(name).verdict is not Method.verdict]


@pytest.mark.parametrize("contrasts", ["stacked", "single"])
@pytest.mark.parametrize("name", CLASSIFYING)
def test_whoever_says_to_hold_a_classifier_can_be_explained(name: str, contrasts: str) -> None:
    from braincli.networks.attribution import attributions

    torch.manual_seed(0)
    method = registry.build(name, preset="tiny", settings={"contrasts": contrasts}, size=(32, 32)).eval()
    verdict = method.verdict()
    assert verdict is not None and len(verdict.name) > 5
    image = torch.rand(3, 4, 32, 32)
    with torch.inference_mode():
        value, saliency, activation = attributions(verdict.value, verdict.features, image)
        alone = attributions(verdict.value, verdict.features, image[:1])
    assert value.shape == (3,) and saliency.shape == activation.shape == (3, 1, 32, 32)
    assert saliency.max() > 0
    torch.testing.assert_close(saliency[:1], alone[1], rtol=1e-4, atol=1e-6)
