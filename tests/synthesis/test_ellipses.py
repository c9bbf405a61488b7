"""The data set of DeScarGAN: what is drawn, how it is warped, and that every command reads it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from skimage.filters import threshold_otsu
from typer.testing import CliRunner

from braincli import api
from braincli.cli import app
from braincli.config import SynthConfig
from braincli.errors import CohortError
from braincli.imaging.cases import find_cases
from braincli.imaging.slices import SliceSpec, load_case
from braincli.synthesis import drawn
from braincli.synthesis.drawn import Stack
from braincli.synthesis.ellipses import APART, THRESHOLD, Drawing, draw
from braincli.training.store import build_store

run = CliRunner().invoke
SIZES = (3, 2, 2)


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    return [draw(np.random.default_rng(seed)) for seed in range(24)]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ellipses") / "set"
    api.synth([], out, SynthConfig(kind="ellipses", images=SIZES))
    return out


def volume(folder: Path, role: str) -> np.ndarray:
    return np.asarray(nib.load(folder / f"{folder.name}_{role}.nii.gz").dataobj)  # type: ignore[attr-defined]


def test_parameters_are_those_of_the_supplement(drawings: list[Drawing]) -> None:
    for one in drawings:
        assert np.hypot(*np.subtract(one.small.centre, one.large.centre)) > APART
        assert one.small.fits and one.large.fits
        assert one.small.axes == pytest.approx((40, 20), abs=5) and one.large.axes == pytest.approx((70, 35), abs=5)
        assert one.waves[1].centre == one.large.centre
        assert all(0.2 <= wave.height <= 0.4 for wave in one.waves)
        assert 0.2 <= one.waves[0].frequency <= 0.35 <= one.waves[1].frequency <= 0.5
    assert 4 <= np.mean([one.small.thickness for one in drawings]) <= 6


def test_contours_are_as_thick_as_they_should_be(drawings: list[Drawing]) -> None:
    for one in (drawing.large for drawing in drawings[:4]):
        a, b = (axis - one.thickness / 2 for axis in one.axes)
        length = np.pi * (3 * (a + b) - np.sqrt((3 * a + b) * (a + 3 * b)))  # Ramanujan's
        assert one.contour().sum() == pytest.approx(length * one.thickness, rel=0.05)


def test_the_warp_shrinks_the_small_ellipse_and_leaves_the_large_one(drawings: list[Drawing]) -> None:
    for one in drawings[:6]:
        healthy, diseased = one.healthy(), one.diseased()
        rows, columns = np.indices(healthy.shape)
        distance = np.hypot(rows - one.small.centre[0], columns - one.small.centre[1])
        around = distance < 50
        reach = [float(distance[(image > 0.95) & around].max()) for image in (healthy, diseased)]
        assert reach[1] < reach[0] - 8, "its tips lie 40 pixels out and move by up to 12.8"
        inner = np.zeros_like(around)
        inner[2:-2, 2:-2] = True
        away = inner & (distance > 100)
        assert np.abs(healthy - diseased)[away].max() < 0.05
        assert np.abs(healthy - diseased)[around].max() > 0.5
        assert healthy.max() == pytest.approx(1, abs=1e-5) and diseased.max() == pytest.approx(1, abs=0.02)


def test_the_reference_begins_at_the_mean_of_otsus_thresholds(drawings: list[Drawing]) -> None:
    found = [threshold_otsu(np.abs(one.healthy() - one.diseased())) for one in drawings]
    assert np.mean(found) == pytest.approx(THRESHOLD, abs=0.02)


def test_cohorts_hold_as_many_images_as_asked_for(cohort: Path) -> None:
    for part, count in zip(drawn.PARTS, SIZES, strict=True):
        cases = find_cases(cohort / part)
        assert [case.id for case in cases] == [f"{part}-diseased-001", f"{part}-healthy-001"]
        for case in cases:
            folder = cohort / part / case.id
            image, inner, seg = (volume(folder, role) for role in ("t1", "brainmask", "seg"))
            assert image.shape == (272, 272, count) == seg.shape
            assert inner.sum() == count * 252**2 and (image[inner == 0] == 0).all() and (image[inner > 0] > 0).all()
            assert seg.any(axis=(0, 1)).all() == ("diseased" in case.id) == seg.any()
            facts = json.loads((folder / f"{case.id}_synth.json").read_text())["facts"]
            assert len(facts["images"]) == count


def test_the_reference_mask_is_where_healthy_and_diseased_differ(cohort: Path) -> None:
    folder = cohort / "test" / "test-diseased-001"
    residual, seg = volume(folder, "residual-t1"), volume(folder, "seg")
    assert (np.abs(residual[seg > 0]) >= 1000 * THRESHOLD - 1).all()
    assert (np.abs(residual[seg == 0]) <= 1000 * THRESHOLD + 1).all()
    shown = Stack("test", diseased=True, number=1, first=0, last=2).drawings(0)
    inside = volume(folder, "brainmask")[..., 1] > 0
    truth = 1000 * (shown[1].healthy() - shown[1].diseased())
    placed = residual[8:-8, 8:-8, 1].T[::-1]
    assert np.abs(placed - truth)[inside[8:-8, 8:-8].T[::-1]].max() <= 1.01
    assert not (cohort / "test" / "test-healthy-001" / "test-healthy-001_residual-t1.nii.gz").exists()


def test_an_image_depends_on_its_number_and_class_alone() -> None:
    few, many = (Stack("train", diseased=False, number=1, first=0, last=count).drawings(0) for count in (1, 2))
    sick = Stack("train", diseased=True, number=1, first=0, last=1).drawings(0)
    assert few[0] == many[0] != many[1]
    assert sick[0] != few[0], "classes are unpaired"
    assert Stack("train", diseased=False, number=1, first=0, last=1).drawings(1)[0] != few[0]


@pytest.mark.parametrize("count", [2, 50, 51, 101, 2000])
def test_no_case_holds_a_single_image_or_more_than_fifty(count: int) -> None:
    cuts = drawn._cuts(count)
    assert (cuts[0], cuts[-1]) == (0, count)
    assert 2 <= min(np.diff(cuts)) <= max(np.diff(cuts)) <= 50
    assert len(cuts) - 1 == -(-count // 50)


@pytest.mark.parametrize(("side", "mm"), [(256, 1.0), (128, 2.0)])
def test_a_canvas_holds_the_image_pixel_by_pixel(cohort: Path, side: int, mm: float) -> None:
    case = next(case for case in find_cases(cohort / "test") if "healthy" in case.id)
    spec = SliceSpec(pixel_mm=mm, size=(side, side), percentiles=(0.0, 100.0))
    slices, lesion = load_case(case, spec)
    assert slices.image.shape == (2, 4, side, side) and lesion is not None and not lesion.any()
    image = Stack("test", diseased=False, number=1, first=0, last=1).drawings(0)[0].healthy()[2:-2, 2:-2]
    factor, rim = 256 // side, 2 * side // 256
    expected = image.reshape(252 // factor, factor, 252 // factor, factor).mean(axis=(1, 3))
    shown = slices.image[0, 0, rim:-rim, rim:-rim]
    fit = np.corrcoef(expected.ravel(), shown.ravel())[0, 1]
    assert fit > (0.9999 if factor == 1 else 0.97)


def test_training_finds_both_classes(cohort: Path, tmp_path: Path) -> None:
    spec = SliceSpec(pixel_mm=4.0, size=(64, 64))
    store = build_store(find_cases(cohort / "train"), spec, tmp_path / "store")
    assert sorted(store.label.tolist()) == [0] * 3 + [1] * 3
    assert store.held == (0,)


def test_what_means_nothing_is_refused(tmp_path: Path, cohort: Path) -> None:
    def refused(*words: str) -> str:
        result = run(app, ["synth", *words, "-o", str(tmp_path / "out")])
        assert result.exit_code == 2, result.output
        return " ".join(result.output.split())

    assert "it takes no scans" in refused(str(cohort), "--kind", "ellipses")
    assert "nothing to plant anomalies into" in refused()
    assert "--count means nothing with kind ellipses" in refused("--kind", "ellipses", "--count", "2")
    assert "--images means nothing with kind growth" in refused(str(cohort), "--images", "2", "2", "2")
    for asked in (("2", "-1", "2"), ("2", "1", "2"), ("0", "0", "0")):
        told = refused("--kind", "ellipses", "--images", *asked)
        assert f"--images {' '.join(asked)}: each is 0, or 2 and more" in told
    assert not (tmp_path / "out").exists()
    with pytest.raises(CohortError, match="exists"):
        api.synth([], cohort, SynthConfig(kind="ellipses", images=(0, 2, 0)))


def test_from_the_shell(tmp_path: Path) -> None:
    result = run(app, ["synth", "--kind", "ellipses", "-o", str(tmp_path), "--images", "0", "2", "0", "--json"])
    assert result.exit_code == 0, result.output
    cases = json.loads(result.stdout)
    assert [case["case"] for case in cases] == ["val-healthy-001", "val-diseased-001"]
    assert cases[0]["planted_ml"] == [] and cases[1]["planted_ml"][0] > 20
    assert not (tmp_path / "train").exists()


def test_in_memory_as_anything_else() -> None:
    drawn_ones = api.synth([], kind="ellipses", images=(0, 0, 2))
    assert [one.case for one in drawn_ones] == ["test-healthy-001", "test-diseased-001"]
    assert drawn_ones[1].image("seg").get_fdata().any() and drawn_ones[1].image("t1").shape == (272, 272, 2)
