"""Calibration finds what was planted, and refuses what would be cheating."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import phantoms
import pytest
import torch

from braincli import api, modelfolder, modelsearch
from braincli.cases import Case, Contrast
from braincli.config import CalibrateConfig, TrainConfig
from braincli.detection import calibration
from braincli.detection.evidence import Evidence
from braincli.detection.search import simplex
from braincli.errors import InputError, ModelError
from braincli.methods import registry
from braincli.slices import SliceSpec, from_volumes
from braincli.volume import Volume

SHAPE = (40, 48, 16)


def evidence(case_id: str, seed: int = 0) -> Evidence:
    """FLAIR residual 0.4 on the lesion and 0.1 elsewhere; T1 residual is noise that would only harm."""
    rng = np.random.default_rng(seed)
    ras = Volume(phantoms.brain(SHAPE, seed), phantoms.affine("RAS", (1.0, 1.0, 2.0)))
    slices = from_volumes({Contrast.T1: ras, Contrast.FLAIR: ras}, SliceSpec(size=(32, 24), pixel_mm=2.0))
    reference = (phantoms.lesion(SHAPE) > 0) & (ras.data > 0)
    lesion = slices.to_canvas(reference, SliceSpec(size=(32, 24), pixel_mm=2.0)) > 0.5
    maps = np.zeros((4, *lesion.shape), np.float32)
    inside = slices.brain[:, 0]
    maps[0] = rng.random(lesion.shape) * inside
    maps[3] = np.where(lesion, 0.4, 0.1) * inside
    return Evidence(Case(case_id), slices, maps, lesion, reference)


def test_the_simplex_has_286_corners_that_sum_to_one() -> None:
    grid = simplex(0.1)
    assert grid.shape == (286, 4)
    np.testing.assert_allclose(grid.sum(axis=1), 1, rtol=1e-6)
    assert len({tuple(row) for row in grid.round(1).tolist()}) == 286


def test_weights_and_threshold_find_the_lesion() -> None:
    cases = [evidence("a"), evidence("b", 1)]
    found = calibration.calibrate(cases)
    assert found.weights[Contrast.FLAIR] > 2 * found.weights[Contrast.T1]
    assert 0.05 < found.threshold < 0.4
    assert found.provenance["cases"] == ["a", "b"]
    assert found.provenance["dsc_fitted"] > 0.8
    scores = calibration.cross_fit(cases)
    assert set(scores) == {"a", "b"}
    assert min(scores.values()) > 0.75


def cohort(folder: Path, names: tuple[str, ...], *, lesions: bool = True) -> Path:
    matrix = phantoms.affine("LPS", (3.0, 3.0, 4.0))
    for seed, name in enumerate(names):
        case = folder / name
        case.mkdir(parents=True)
        data = phantoms.brain(SHAPE, seed + 10 * len(names))
        phantoms.write(case / f"{name}_flair.nii.gz", np.where(phantoms.lesion(SHAPE) > 0, 180, data), matrix)
        lesion = phantoms.lesion(SHAPE) if lesions else np.zeros(SHAPE, np.uint8)
        phantoms.write(case / f"{name}_seg.nii.gz", lesion, matrix)
    return folder


def test_the_intensity_baseline_is_trained_calibrated_and_stored(tmp_path: Path) -> None:
    api.train([cohort(tmp_path / "train", ("t1a",))], tmp_path / "m", TrainConfig(method="threshold"))
    val = cohort(tmp_path / "val", ("v1", "v2", "v3"))
    found = api.calibrate([val], CalibrateConfig(model=str(tmp_path / "m"), cross_fit=True))
    assert found.provenance["dsc_cross_fit"] > 0.7
    info = modelfolder.read_info(tmp_path / "m")
    assert info.calibration == found
    assert info.figures["DSC (cross-fitted)"] == found.provenance["dsc_cross_fit"]


def test_cases_that_were_trained_on_are_refused(tmp_path: Path) -> None:
    val = cohort(tmp_path / "val", ("v1", "v2"))
    method = registry.build("threshold")
    for known in ({"v1": []}, {"other": [calibration.files.sha256(val / "v2" / "v2_flair.nii.gz")]}):
        info = modelfolder.ModelInfo(
            name="m", method="threshold", preset="compact", training={"cases": known},
            slices=SliceSpec(normalisation="equalise").model_dump(mode="json"),
        )  # fmt: skip
        modelfolder.save(tmp_path / "m", method, info)
        with pytest.raises(InputError, match=r"v[12] was trained on"):
            api.calibrate([val], CalibrateConfig(model=str(tmp_path / "m")))
    healthy = cohort(tmp_path / "healthy", ("h1",), lesions=False)
    with pytest.raises(InputError, match="No case has a lesion"):
        api.calibrate([healthy], CalibrateConfig(model=str(tmp_path / "m")))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    method = registry.build("tsgm", preset="tiny")
    info = modelfolder.ModelInfo(
        name="m", method="tsgm", preset="tiny", settings=method.config.model_dump(mode="json"),
        slices=SliceSpec().model_dump(mode="json"),
    )  # fmt: skip
    modelfolder.save(tmp_path / "m", method, info)
    weights = tmp_path / "m" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="damaged"):
        modelfolder.load(str(tmp_path / "m"), torch.device("cpu"))
    weights.unlink()
    with pytest.raises(ModelError, match="missing"):
        modelfolder.load(str(tmp_path / "m"), torch.device("cpu"))
    with pytest.raises(ModelError, match="no model 'nothing'") as error:
        modelsearch.locate("nothing")
    assert "braincli train" in error.value.hint
