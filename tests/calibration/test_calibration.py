"""Calibration finds what was planted, and refuses what would be cheating."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import phantoms
import pytest
import torch
from evidences import SHAPE, evidence
from tinymodels import write_model
from typer.testing import CliRunner, Result

from braincli import api
from braincli.calibration import fit as calibration
from braincli.calibration.evidence import Evidence
from braincli.calibration.search import around, edges, present_only, simplex
from braincli.cli import app
from braincli.config import CalibrateConfig, DetectConfig, TrainConfig
from braincli.errors import InputError, ModelError, UsageError
from braincli.imaging.cases import Contrast
from braincli.imaging.slices import SliceSpec
from braincli.imaging.volume import load
from braincli.methods import registry
from braincli.model.folder import load_model, read_info, save_model, write_info
from braincli.model.info import Calibration, ModelInfo
from braincli.model.search import locate
from braincli.runtime import files


def test_what_a_contrast_does_not_show_counts_nothing_in_the_search() -> None:
    whole = evidence("a")
    upper = np.zeros(whole.maps.shape[1], bool)
    upper[: len(upper) // 2] = True
    counts = np.repeat(whole.slices.brain[:, 0][None], 4, axis=0)
    counts[3, ~upper] = False  # FLAIR ends there: T2, which equals it, has its weight
    maps = whole.maps.copy()
    maps[2], maps[3, ~upper] = whole.maps[3], 0
    part = replace(whole, maps=maps, counts=counts, curves={})
    full = replace(whole, maps=np.stack([*whole.maps[:2], whole.maps[3], whole.maps[3]]), curves={})
    vectors, top = np.array([[0, 0, 0.5, 0.5]], np.float32), 0.5
    assert part.slices.contrasts == (Contrast.T1, Contrast.FLAIR)
    both = replace(whole.slices, contrasts=(Contrast.T2, Contrast.FLAIR))
    part, full = replace(part, slices=both), replace(full, slices=both)
    np.testing.assert_allclose(part.dsc(vectors, top), full.dsc(vectors, top), atol=1e-6)
    weights = {Contrast.T2: 0.5, Contrast.FLAIR: 0.5}
    np.testing.assert_allclose(part.fused(weights), full.fused(weights), atol=1e-6)


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
    assert found.provenance.cases == ["a", "b"]
    assert found.provenance.dsc_fitted > 0.8
    scores = calibration.cross_fit(cases)
    assert set(scores) == {"a", "b"}
    assert min(scores.values()) > 0.75


def scored(case_id: str) -> Evidence:
    """A score in units of its own: 60 on the lesion, 15 elsewhere."""
    e = evidence(case_id)
    return replace(e, maps=e.maps[3:] * 150, curves={})


def test_a_score_beyond_one_is_calibrated_without_weights() -> None:
    cases = [scored("a"), scored("b")]
    found = calibration.calibrate(cases)
    assert found.weights == {} and 15 < found.threshold < 60
    assert found.provenance.dsc_fitted > 0.8
    assert min(calibration.cross_fit(cases).values()) > 0.75


def test_the_search_counts_what_segmentation_counts() -> None:
    """Every DSC of the curves is that of a mask made with that threshold."""
    e = evidence("a")
    vectors, top = np.array([[0.2, 0.3, 0.1, 0.4], [0, 0, 0, 1]], np.float32), 0.9
    curves = e.dsc(vectors, top)
    inside = e.slices.brain[:, 0]
    weights = present_only(vectors, e.slices.contrasts)
    np.testing.assert_allclose(weights[0], [1 / 3, 0, 0, 2 / 3], rtol=1e-6)
    for vector, curve in zip(weights, curves, strict=True):
        fused = np.tensordot(vector, e.maps, axes=1)
        for cut in (0, 37, 180, 499):
            mask = (fused >= edges(top)[cut] - 1e-7) & inside
            expected = 2 * (mask & e.lesion).sum() / (mask.sum() + e.lesion.sum())
            assert curve[cut] == pytest.approx(expected, abs=2e-3)


def test_finer_weights_are_tried_around_the_best() -> None:
    near = around(np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    np.testing.assert_allclose(near.sum(axis=1), 1, rtol=1e-6)
    assert np.abs(near - [0.1, 0.2, 0.3, 0.4]).max() < 0.11
    assert any(np.allclose(row, [0.05, 0.2, 0.3, 0.45]) for row in near)
    assert 50 < len(near) < 150
    weights = calibration.calibrate([evidence("a")]).weights
    assert all(round(20 * weight, 6) == round(20 * weight) for weight in weights.values())


def test_a_healthy_quantile_needs_no_mask() -> None:
    healthy = replace(evidence("h"), curves={})
    healthy.reference[:] = False
    found = calibration.healthy_quantile([healthy], 0.02, None)
    assert found.weights == dict.fromkeys(Contrast, 0.25) and found.provenance.false_positive_rate == 0.02
    inside = healthy.slices.brain[:, 0]
    share = (healthy.fused(found.weights)[inside] > found.threshold).mean()
    assert share == pytest.approx(0.02, abs=0.002)
    known = Calibration(weights={Contrast.FLAIR: 1.0}, threshold=9, min_lesion_mm3=50)
    kept = calibration.healthy_quantile([healthy], 0.02, known)
    assert kept.weights == known.weights and kept.min_lesion_mm3 == 50


def test_healthy_slices_keep_away_from_the_lesion() -> None:
    e = evidence("a")
    sick = np.flatnonzero(e.reference.any(axis=(0, 1)))
    kept = e.slices.index[e.healthy_slices()]
    assert set(kept) == {z for z in e.slices.index if np.abs(z - sick).min() >= 2}
    loose = Calibration(weights={Contrast.FLAIR: 1.0}, threshold=0.05)
    found = calibration.false_positives(e, e.anomaly(loose.weights), e.mask(loose))
    assert found is not None
    assert found.slices == len(kept) and 0.5 * found.brain_ml < found.mask_ml <= found.brain_ml
    assert found.map_mean == pytest.approx(0.1, abs=0.03)
    strict = loose.model_copy(update={"threshold": 0.3})
    none = calibration.false_positives(e, e.anomaly(strict.weights), e.mask(strict))
    assert none is not None and none.mask_ml == 0
    e.reference[:] = True
    assert calibration.false_positives(e, e.anomaly(loose.weights), e.mask(loose)) is None


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
    assert found.provenance.dsc_cross_fit > 0.7
    info = read_info(tmp_path / "m")
    assert info.calibration == found
    assert info.figures["DSC (cross-fitted)"] == found.provenance.dsc_cross_fit
    assert list(info.figures) == ["DSC (cross-fitted)", "AUPRC", "HD95 (mm)", "healthy FP (ml)"]
    assert 0.5 < info.figures["AUPRC"] <= 1 and info.figures == info.figures | found.provenance.figures
    assert set(found.provenance.images) == {"v1", "v2", "v3"}
    healthy = cohort(tmp_path / "healthy", ("h1",), lesions=False)
    (healthy / "h1" / "h1_seg.nii.gz").unlink()
    options = CalibrateConfig(model=str(tmp_path / "m"), objective="healthy-quantile", false_positive_rate=0.05)
    quiet = api.calibrate([healthy], options, healthy=[val])
    assert quiet.weights == found.weights and set(quiet.provenance.healthy) == {"h1", "v1", "v2", "v3"}
    assert quiet.provenance.healthy["h1"].mask_ml < 0.1 * quiet.provenance.healthy["h1"].brain_ml
    assert "DSC (cross-fitted)" not in read_info(tmp_path / "m").figures
    card = (tmp_path / "m" / "README.md").read_text()
    assert "5.00% of healthy brain" in card and "| h1 |" in card
    with pytest.raises(UsageError, match="Cross-fitting"):
        api.calibrate([healthy], options.model_copy(update={"cross_fit": True}))
    with pytest.raises(InputError, match="h1 lies in both"):
        api.calibrate([healthy], options, healthy=[healthy])


def test_scans_that_lack_contrasts_have_a_calibration_of_their_own(tmp_path: Path) -> None:
    val, new = cohort(tmp_path / "val", ("v1", "v2")), cohort(tmp_path / "new", ("n",))
    for name in ("v1", "v2"):  # T1, in which the lesion does not show
        matrix = phantoms.affine("LPS", (3.0, 3.0, 4.0))
        phantoms.write(val / name / f"{name}_t1.nii.gz", phantoms.brain(SHAPE, 3), matrix)
    model = tmp_path / "m"
    api.train([cohort(tmp_path / "train", ("a",))], model, TrainConfig(method="threshold"))
    both = api.calibrate([val], CalibrateConfig(model=str(model), cross_fit=True))
    options = CalibrateConfig(model=str(model), contrasts=(Contrast.FLAIR,), cross_fit=True)
    assert api.calibrate([val], options.model_copy(update={"dry_run": True})).weights == {Contrast.FLAIR: 1.0}
    alone = api.calibrate([val], options)
    info = read_info(model)
    assert info.calibration == both and info.subsets == {"flair": alone}
    assert alone.weights == {Contrast.FLAIR: 1.0}
    assert info.figures["DSC (cross-fitted)"] == both.provenance.dsc_cross_fit
    assert info.calibration_for([Contrast.FLAIR]) == alone
    assert info.calibration_for([Contrast.T1, Contrast.FLAIR]) == both
    card = (model / "README.md").read_text()
    assert f"| flair | 1.00 | {alone.threshold:.4f} |" in card
    stricter = alone.model_copy(update={"threshold": 10.0})
    for subsets, expected in (({"flair": alone}, 0.7), ({"flair": stricter}, 0.0)):
        write_info(model, info.model_copy(update={"subsets": subsets}))
        out = tmp_path / f"out{expected}"
        report = api.detect(new, out, config=DetectConfig(model=str(model), figure=False, report=False))
        assert "those calibrated for flair" in report.cases[0].warnings[0]
        mask = load(out / "n" / "n_mask.nii.gz", labels=True).data > 0
        truth = load(new / "n" / "n_seg.nii.gz", labels=True).data > 0
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) >= expected
        assert mask.any() == (expected > 0)
    with pytest.raises(InputError, match="v1 has no T2"):
        api.calibrate([val], options.model_copy(update={"contrasts": (Contrast.T2,)}))


def test_cases_that_were_trained_on_are_refused(tmp_path: Path) -> None:
    val = cohort(tmp_path / "val", ("v1", "v2"))
    method = registry.build("threshold")
    for known in ({"v1": []}, {"other": [files.sha256(val / "v2" / "v2_flair.nii.gz")]}):
        info = ModelInfo(
            name="m", method="threshold", preset="compact", training={"cases": known},
            slices=SliceSpec(normalisation="equalise"),
        )  # fmt: skip
        save_model(tmp_path / "m", method, info)
        with pytest.raises(InputError, match=r"v[12] was trained on"):
            api.calibrate([val], CalibrateConfig(model=str(tmp_path / "m")))
    healthy = cohort(tmp_path / "healthy", ("h1",), lesions=False)
    with pytest.raises(InputError, match="No case has a lesion"):
        api.calibrate([healthy], CalibrateConfig(model=str(tmp_path / "m")))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    method = registry.build("tsgm", preset="tiny")
    info = ModelInfo(
        name="m", method="tsgm", preset="tiny", settings=method.config.model_dump(mode="json"),
        slices=SliceSpec(),
    )  # fmt: skip
    save_model(tmp_path / "m", method, info)
    weights = tmp_path / "m" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="damaged"):
        load_model(str(tmp_path / "m"), torch.device("cpu"))
    weights.unlink()
    with pytest.raises(ModelError, match="missing"):
        load_model(str(tmp_path / "m"), torch.device("cpu"))
    with pytest.raises(ModelError, match="no model 'nothing'") as error:
        locate("nothing")
    assert "braincli train" in error.value.hint


def test_the_command_reports_what_it_found_and_leaves_the_model_alone_when_asked(tmp_path: Path) -> None:
    write_model(tmp_path / "m", "threshold")
    before = (tmp_path / "m" / "model.json").read_bytes()
    healthy = cohort(tmp_path / "healthy", ("h1",), lesions=False)
    arguments = ["calibrate", "--model", tmp_path / "m", "--data", healthy, "--dry-run", "--objective"]

    def run(*more: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in (*arguments, *more)])

    quantile = run("healthy-quantile", "--false-positive-rate", 0.02, "-q")
    assert quantile.exit_code == 0, quantile.output
    assert "threshold  0." in quantile.stdout and "ml of" in quantile.stdout and "mean DSC" not in quantile.stdout
    assert (tmp_path / "m" / "model.json").read_bytes() == before
    refused = run("dsc")
    assert refused.exit_code == 3 and "healthy-quantile" in refused.stderr
