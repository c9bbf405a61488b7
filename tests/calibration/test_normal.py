"""Healthy tissue says what is normal where in a brain; suspicion beyond that counts, alone where that is better."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import phantoms
import pytest
import torch
from evidences import evidence, healthy
from tinymodels import write_model
from torch import Tensor
from typer.testing import CliRunner

from braincli import api
from braincli.calibration.aims import DSC
from braincli.calibration.cut import mean_healthy_ml
from braincli.calibration.evidence import Evidence
from braincli.calibration.fit import Recipe, case_dsc, cross_calibrate
from braincli.calibration.normal import AWAY_MM, away, smoothed, tally
from braincli.cli import app
from braincli.config import CalibrateConfig, DetectConfig
from braincli.detection.suspicion import normally
from braincli.errors import InputError, ModelError, UsageError
from braincli.imaging.cases import Contrast
from braincli.imaging.volume import load
from braincli.methods.base import Prediction, Tick, no_tick
from braincli.methods.threshold import Threshold
from braincli.model.folder import load_model, read_info
from braincli.model.normal import GRID

SHAPE = (40, 48, 16)
MATRIX = phantoms.affine("LPS", (3.0, 3.0, 4.0))
CPU = torch.device("cpu")


def suspects(
    self: Threshold, image: Tensor, brain: Tensor, generators: Sequence[torch.Generator], tick: Tick = no_tick
) -> Prediction:
    """Suspects bright tissue, and all tissue in front; what it restores is darker everywhere."""
    rows = torch.arange(image.shape[2])[:, None] < image.shape[2] / 2
    odds = 8 * (image[:, 3:] - 0.7) + 6 * rows
    return Prediction((image - 0.2).clamp(min=0), suspicion=odds.sigmoid() * brain)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Threshold, "predict", suspects)
    return write_model(tmp_path / "m", "threshold", calibrated=False)


def cohort(folder: Path, *names: str, seg: bool = True) -> Path:
    for number, name in enumerate(names):
        data = phantoms.brain(SHAPE, seed=10 * len(folder.name) + number)
        data[phantoms.lesion(SHAPE) > 0] *= 1.7 if seg else 1
        phantoms.write(folder / name / f"{name}_flair.nii.gz", data, MATRIX)
        if seg:
            phantoms.write(folder / name / f"{name}_seg.nii.gz", phantoms.lesion(SHAPE), MATRIX)
    return folder


def test_the_tally_finds_what_is_normal_and_lesions_have_no_say() -> None:
    z, y, x = np.ogrid[:40, :60, :50]
    inside = ((z - 20) / 18) ** 2 + ((y - 30) / 28) ** 2 + ((x - 25) / 22) ** 2 <= 1
    odds = np.where(y < 30, 1.0, -1.0).astype(np.float32) * inside
    lesion = inside & (((z - 20) ** 2 + (y - 45) ** 2 + (x - 14) ** 2) <= 36)
    sick = np.where(lesion, np.float32(9), odds)
    spacing = (3.0, 3.0, 3.0)
    sums = tally(sick, inside, inside & away(lesion, spacing))
    assert sums.shape == (2, *GRID)
    assert sums[1].sum() == (inside & away(lesion, spacing)).sum() < inside.sum()
    normal = smoothed(*sums)
    assert normal.dtype == np.float32 and normal.shape == GRID
    np.testing.assert_array_equal(normal, normal[..., ::-1])
    found = normally(normal, inside)
    assert found[20, 10, 25] > 0.7 and found[20, 50, 25] < -0.7
    assert found[20, 45, 14] < 0, "the lesion's side takes what the other side says"
    everywhere = normally(smoothed(*tally(sick, inside, inside)), inside)
    assert everywhere[20, 45, 14] > found[20, 45, 14] + 1
    near = away(lesion, spacing)
    assert not near[20, 45, 14 + 6 + 2] and near[20, 45, 14 + 6 + int(AWAY_MM // 3) + 1]
    assert away(np.zeros_like(lesion), spacing).all()


def test_what_is_normal_is_learnt_stored_and_used(model: Path, tmp_path: Path) -> None:
    val, train = cohort(tmp_path / "val", "v1", "v2"), cohort(tmp_path / "train", "n1", "n2")
    config = CalibrateConfig(model=str(model), contrasts=(Contrast.FLAIR,), cross_fit=True)
    plain = api.calibrate(val, config)
    tried = api.calibrate(val, config.model_copy(update={"dry_run": True}), normal=train)
    assert not [*model.glob("normal-*")] and "normal" not in json.loads((model / "model.json").read_text())
    fit = api.calibrate(val, config, normal=train)
    assert fit == tried and fit.provenance.dsc_cross_fit > plain.provenance.dsc_cross_fit + 0.05
    info = read_info(model)
    assert info.normal is not None and set(info.normal.cases) == {"n1", "n2"}
    assert all(len(images) == 1 for images in info.normal.cases.values())
    loaded = load_model(str(model), CPU)
    assert set(loaded.normal) == {"flair"} and loaded.normal["flair"].shape == GRID
    front, back = (loaded.normal["flair"][:, part].mean() for part in (slice(0, 8), slice(14, 22)))
    assert front > back + 3
    assert "n1, n2" in (model / "README.md").read_text()
    again = api.calibrate(val, config)
    assert again == fit and read_info(model).normal == info.normal, "it stays"

    out = tmp_path / "out"
    (report,) = api.detect(val / "v1", out, DetectConfig(model=str(model), figure=False, precision="fp32")).cases
    assert report is not None
    found = load(next(out.rglob("*_mask.nii.gz")), labels=True).data > 0
    reference = phantoms.lesion(SHAPE) > 0
    dsc = 2 * (found & reference).sum() / (found.sum() + reference.sum())
    assert dsc == pytest.approx(fit.provenance.dsc_fitted, abs=0.02), "detect measures against it, too"
    with pytest.raises(InputError, match="n1 says what is normal"):
        api.calibrate(train, config)


def test_all_sets_get_one_from_the_cases_that_have_them(model: Path, tmp_path: Path) -> None:
    val, train = cohort(tmp_path / "val", "v1", "v2"), cohort(tmp_path / "healthy", "n1", seg=False)
    words = ["calibrate", "--model", model, "--data", val, "--normal", train, "--all-contrasts", "-q"]
    run = CliRunner().invoke(app, [str(word) for word in words])
    assert run.exit_code == 0, run.output
    assert set(load_model(str(model), CPU).normal) == {"flair"}
    both = CliRunner().invoke(app, [str(word) for word in [*words[:4], val, "--normal", val, "-q"]])
    assert both.exit_code == 3 and "v1 says what is normal" in both.stderr


def test_who_suspects_nothing_has_no_normal_map(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", "threshold", calibrated=False)
    val, train = cohort(tmp_path / "val", "v1"), cohort(tmp_path / "train", "n1")
    with pytest.raises(UsageError, match="threshold suspects nothing"):
        api.calibrate(val, CalibrateConfig(model=str(model)), normal=train)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9] + b"\0" * 9), "damaged"),
    ],
)
def test_a_damaged_map_is_refused(model: Path, tmp_path: Path, spoil, words: str) -> None:
    config = CalibrateConfig(model=str(model), contrasts=(Contrast.FLAIR,))
    api.calibrate(cohort(tmp_path / "val", "v1"), config, normal=cohort(tmp_path / "train", "n1"))
    (path,) = model.glob("normal-*")
    spoil(path)
    with pytest.raises(ModelError, match=words) as error:
        load_model(str(model), CPU)
    assert path.name in error.value.message and "--normal" in error.value.hint
    about = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(about | {"normal": None}))
    api.calibrate(cohort(tmp_path / "val", "v1"), config, normal=cohort(tmp_path / "train", "n1"))
    assert load_model(str(model), CPU).normal, "what the hint says helps"


def test_a_model_whose_calibration_was_killed_is_as_it_was(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CalibrateConfig(model=str(model), contrasts=(Contrast.FLAIR,))
    val = cohort(tmp_path / "val", "v1")
    api.calibrate(val, config, normal=cohort(tmp_path / "train", "n1"))
    (before,), info = model.glob("normal-*"), read_info(model)
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr("braincli.calibration.run.write_info", Mock(side_effect=KeyboardInterrupt))
        api.calibrate(val, config, normal=cohort(tmp_path / "another", "n2"))
    assert read_info(model) == info and load_model(str(model), CPU).normal.keys() == {"flair"}
    assert len([*model.glob("normal-*")]) == 2, "the new maps lie beside those that count"
    api.calibrate(val, config, normal=cohort(tmp_path / "another", "n2"))
    (after,) = model.glob("normal-*")
    assert after != before and load_model(str(model), CPU).normal.keys() == {"flair"}


def doubtful(case_id: str, seed: int) -> Evidence:
    """Residuals that are noise, and suspicion that knows the lesion."""
    e = evidence(case_id, seed)
    inside = e.slices.brain[:, 0]
    noise = np.random.default_rng(seed).random(e.lesion.shape).astype(np.float32) * inside
    return replace(e, maps=np.stack([noise] * 4), alone=np.where(e.lesion, 0.8, 0.2).astype(np.float32) * inside)


def test_suspicion_alone_is_the_map_where_it_reaches_more() -> None:
    cases = [doubtful(name, seed) for seed, name in enumerate("abcd")]
    fit = Recipe(rising=True).fit(cases)
    assert fit.weights == {} and fit.provenance.dsc_fitted > 0.8
    assert fit.provenance.dsc_fitted == pytest.approx(np.mean([case_dsc(e, fit) for e in cases]), abs=1e-4)
    assert all(one.weights == {} for one in cross_calibrate(cases, Recipe(rising=True)).values())
    weighed = Recipe(rising=True, suspicion=False).fit(cases)
    assert weighed.weights and weighed.provenance.dsc_fitted < fit.provenance.dsc_fitted
    equal = [replace(e, maps=np.stack([e.alone] * 4)) for e in cases]
    assert Recipe().fit(equal).weights, "residuals where it reaches no more"


def test_the_healthy_bound_suspicion_alone() -> None:
    cases = [doubtful("a", 0), doubtful("b", 1)]
    quiet = healthy("h", 0.1)
    lesion = evidence("h").lesion
    loud = replace(quiet, alone=np.where(lesion, 0.7, 0.2).astype(np.float32) * quiet.slices.brain[:, 0])
    fit = Recipe(DSC, (loud,), 0.05).fit(cases)
    free = Recipe().fit(cases)
    assert fit.weights == free.weights == {} and fit.threshold > free.threshold
    assert mean_healthy_ml([loud], fit) <= 0.05 < mean_healthy_ml([loud], free)
