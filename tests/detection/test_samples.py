"""Several samples: their mean is the restoration, their spread the uncertainty, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantoms import affine, write_case
from tinymodels import write_model
from typer.testing import CliRunner

from braincli import api
from braincli.cli import app
from braincli.config import DetectConfig
from braincli.detection.restore import Restoration
from braincli.detection.samples import averaged
from braincli.errors import UsageError
from braincli.imaging.volume import load
from braincli.methods import registry

SHAPE = (40, 48, 16)  # as the case of conftest
GRID = affine("LPS", (3.0, 3.0, 4.0))


def detect(models: Path, inputs: Any, output: Path, model: str = "tsgm", **options: Any) -> None:
    config = DetectConfig(
        model=str(models / model), threads=1, device="cpu", **{"figure": False, "report": False, **options}
    )
    api.detect(inputs, output, config=config)


def test_running_moments_are_mean_and_standard_deviation() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(5, 0.01, (6, 3, 4, 5, 5)).astype(np.float32)

    def draw(number: int) -> Restoration:
        return Restoration(None, samples[number], samples[number, :, :1], "cpu")  # type: ignore[arg-type]

    found, spread = averaged(draw, 6, lambda r: r.restored[:, 0])  # type: ignore[index]
    assert found.restored is not None and found.score is not None and spread is not None
    np.testing.assert_allclose(found.restored, samples.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.score, samples[:, :, :1].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(spread, samples[:, :, 0].std(axis=0, ddof=1), rtol=1e-3)
    single, none = averaged(draw, 1, lambda r: r.restored)  # type: ignore[return-value, arg-type]
    assert none is None
    np.testing.assert_array_equal(single.restored, samples[0])


def test_samples_leave_a_mean_and_its_uncertainty(models: Path, case: Path, tmp_path: Path) -> None:
    detect(models, case, tmp_path / "one", anomaly_map=True)
    detect(models, case, tmp_path / "three", anomaly_map=True, samples=3, restored=True)
    detect(models, case, tmp_path / "batched", samples=3, batch=3)
    folders = {name: tmp_path / name / "p01" for name in ("one", "three", "batched")}
    assert not (folders["one"] / "p01_uncertainty.nii.gz").exists()
    spread = load(folders["three"] / "p01_uncertainty.nii.gz")
    assert np.array_equal(spread.affine, GRID)
    assert spread.data.min() >= 0 and spread.data.max() > 1e-4
    one, three = (load(folders[name] / "p01_anomaly.nii.gz").data for name in ("one", "three"))
    assert not spread.data[three == 0].any(), "outside the brain there is nothing to be unsure of"
    assert 1e-5 < np.abs(one - three).max() < 10 * spread.data.max()
    np.testing.assert_allclose(load(folders["batched"] / "p01_uncertainty.nii.gz").data, spread.data, atol=1e-4)
    record = json.loads((folders["three"] / "p01_record.json").read_text())
    assert record["facts"]["samples"] == 3 and "p01_uncertainty.nii.gz" in record["outputs"]


def test_a_named_file_takes_the_uncertainty_of_one_case(models: Path, case: Path, tmp_path: Path) -> None:
    named, mask = tmp_path / "far" / "spread.nii.gz", tmp_path / "out" / "mask.nii.gz"
    arguments = ["detect", case, "-o", mask, "--model", models / "tsgm", "--samples", 2, "--uncertainty", named, "-q"]
    result = CliRunner().invoke(app, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output
    assert load(named).data.max() > 0
    assert {path.name for path in mask.parent.iterdir()} == {"mask.nii.gz", "mask.json"}
    record = (tmp_path / "out" / "mask.json").read_text()
    assert json.loads(record)["elsewhere"]["uncertainty"]["file"] == "spread.nii.gz" and str(tmp_path) not in record
    options: dict[str, Any] = {"samples": 2, "uncertainty": named}
    with pytest.raises(UsageError, match=r"exists"):
        detect(models, case, tmp_path / "out2", **options)
    with pytest.raises(UsageError, match="one file for 2 cases"):
        write_case(tmp_path / "in" / "p02", "p02", shape=SHAPE, matrix=GRID)
        detect(models, tmp_path / "in", tmp_path / "out2", **options)
    with pytest.raises(UsageError, match="there is one"):
        detect(models, case, tmp_path / "out2", uncertainty=tmp_path / "new.nii.gz")


def test_a_method_that_is_always_the_same_has_no_samples(models: Path, case: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="threshold is deterministic") as error:
        detect(models, case, tmp_path / "out", "threshold", samples=3)
    assert "--samples" in error.value.hint and not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", [name for name in registry.METHODS if registry.options(name, "tiny").stochastic])
def test_every_method_with_chance_in_it_has_samples(method: str, case: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "models" / method, method)
    detect(tmp_path / "models", case, tmp_path / "out", method, samples=2, threshold=99.0)  # the maps mean nothing
    spread = load(tmp_path / "out" / "p01" / "p01_uncertainty.nii.gz")
    assert np.array_equal(spread.affine, GRID) and np.isfinite(spread.data).all()
    assert spread.data.max() > 1e-5


def test_a_chain_without_chance_is_refused_before_any_case_is_read(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "dpm-classifier", "dpm-classifier")
    for name in ("p01", "p02"):
        write_case(tmp_path / "in" / name, name, shape=SHAPE, matrix=GRID)
    with pytest.raises(UsageError, match="dpm-classifier is deterministic"):
        detect(tmp_path / "models", tmp_path / "in", tmp_path / "out", "dpm-classifier", samples=2)


def test_the_smallest_lesion_can_be_given_in_voxels(models: Path, case: Path, tmp_path: Path) -> None:
    for name, voxels in (("all", 0), ("none", 10**6)):
        detect(models, case, tmp_path / name, "threshold", min_lesion_voxels=voxels)
    sums = [load(tmp_path / n / "p01" / "p01_mask.nii.gz", labels=True).data.sum() for n in ("all", "none")]
    assert sums[0] > 0 and sums[1] == 0
