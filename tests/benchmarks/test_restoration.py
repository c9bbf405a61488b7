"""The figures of restoration: perfect and idle restorations have the values that they must, and the tables are made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import phantoms
import planting
import pytest
import restoration
import torch
from tinymodels import write_model

from braincli.errors import InputError
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.slices import from_volumes
from braincli.imaging.volume import Volume
from braincli.model.folder import load_model
from braincli.spec import SliceSpec

SHAPE, GRID = (40, 48, 20), phantoms.affine("LPS", (4.0, 4.0, 5.0))
SPEC = SliceSpec(size=(48, 40), pixel_mm=4.0)


def sample(strength: float = 1.5, radius: float = 0.2) -> planting.Sample:
    """A symmetric head in T2 and FLAIR with a lesion left of the middle."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    inside = (grid[0] / 0.75) ** 2 + (grid[1] / 0.8) ** 2 + (grid[2] / 0.7) ** 2 < 1
    healthy = np.where(inside, 100 + 40 * grid[1] + 10 * np.abs(grid[0]), 0).astype(np.float32)
    lesion = ((grid - np.array([0.35, 0, 0.1])[:, None, None, None]) ** 2).sum(0) < radius**2
    volumes = {
        contrast: Volume(np.where(lesion, healthy * strength, healthy), phantoms.affine("RAS", (4.0, 4.0, 5.0)))
        for contrast in (Contrast.T2, Contrast.FLAIR)
    }
    slices = from_volumes(volumes, SPEC)
    return planting.Sample("p", slices, slices.to_canvas(lesion, SPEC) > 0.5)


def test_nothing_is_removed_by_nothing_and_all_by_the_healthy_side() -> None:
    sick = sample()
    scan = sick.slices.image
    untouched = restoration.removed(sick, scan)
    np.testing.assert_array_equal(untouched[2:], 0)
    assert np.isnan(untouched[:2]).all(), "T1 and T1ce are not there"
    healthy = restoration.healthy_side(sick)
    known = sick.lesion[:, None] & restoration.present(sick)
    np.testing.assert_allclose(restoration.removed(sick, np.where(known, healthy, scan))[2:], 1, rtol=1e-5)
    half = np.where(known, (healthy + scan) / 2, scan)
    np.testing.assert_allclose(restoration.removed(sick, half)[2:], 0.5, rtol=1e-5)
    assert (restoration.removed(sick, np.where(known, 2 * scan - healthy, scan))[2:] < -0.9).all(), "it grew"


def test_the_healthy_side_is_what_the_mirrored_tissue_shows() -> None:
    sick, well = sample(), sample(1.0)
    healthy = restoration.healthy_side(sick)
    elsewhere = ~sick.lesion[:, None].repeat(4, 1)
    scale = sick.slices.image[elsewhere].sum() / well.slices.image[elsewhere].sum()
    there = sick.lesion[:, None] & restoration.present(sick)
    gap = np.abs(healthy - well.slices.image * scale)[there]
    assert gap.mean() < 0.05 < np.abs(sick.slices.image - well.slices.image * scale)[there].mean()
    both = replace(sick, lesion=sick.lesion | sick.lesion[..., ::-1])
    midline = restoration.healthy_side(both)
    assert np.isfinite(midline).all()
    row = int(np.flatnonzero(both.lesion.any(axis=(1, 2)))[0])
    values = midline[row, 3][both.lesion[row]]
    assert np.ptp(values) < 1e-6 and 0 < values[0] < 1, "no side is healthy: the slice's other tissue tells"


def test_errors_are_those_of_what_is_counted() -> None:
    truth = np.zeros((2, 4, 16, 16), np.float32)
    truth[:, :, 4:12, 4:12] = 0.5
    where = truth > 0
    exact = restoration.Gaps.of(truth, truth, where).errors()
    assert exact.mae == 0 and exact.ssim == pytest.approx(1) and exact.cells()[1] == "exact"
    off = restoration.Gaps.of(truth, truth + 0.1 * where, where).errors()
    assert off.mae == pytest.approx(0.1) and off.psnr == pytest.approx(20, abs=0.01)


def test_planting_leaves_the_rest_of_the_brain_alone() -> None:
    sick = sample(1.0)
    host = planting.drawn(sick, planting.healthy_rows(sick), 3, 0)
    assert len(host.slices.index) == 3 and not host.lesion.any()
    model = write_like(SPEC)
    for diseased, alpha in (planting.grown(host, model, 0), planting.transplanted(host, [sample(radius=0.5)], 0)):
        changed = np.abs(diseased - host.slices.image).max(axis=1) > 1e-6
        assert changed.any() and not (changed & (alpha == 0)).any()
        assert not diseased[:, :2].any(), "contrasts that are not there stay so"
    again = planting.drawn(sick, planting.healthy_rows(sick), 3, 0)
    np.testing.assert_array_equal(again.slices.index, host.slices.index)
    larger = planting.transplanted(host, [bigger(sample(radius=0.5))], 0)[0]
    assert larger.shape == host.slices.image.shape


def write_like(spec: SliceSpec) -> planting.LoadedModel:
    """All that planting asks of a model: its pixels."""
    from types import SimpleNamespace

    return SimpleNamespace(info=SimpleNamespace(slices=spec))  # type: ignore[return-value]


def bigger(donor: planting.Sample) -> planting.Sample:
    """The same on a wider canvas."""

    def padded(values: np.ndarray) -> np.ndarray:
        return np.pad(values, [(0, 0)] * (values.ndim - 2) + [(4, 4), (8, 8)])

    s = donor.slices
    return replace(donor, slices=replace(s, image=padded(s.image), brain=padded(s.brain)), lesion=padded(donor.lesion))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for seed, (part, name) in enumerate((("val", "v1"), ("donors", "d1"), ("healthy", "h1"))):
        for contrast in ("t1", "flair"):
            image = phantoms.brain(SHAPE, seed=3 * seed + (contrast == "t1"))
            if part != "healthy":
                image[phantoms.lesion(SHAPE) > 0] *= 1.7 if contrast == "flair" else 0.7
            phantoms.write(root / part / name / f"{name}_{contrast}.nii.gz", image, GRID)
        if part != "healthy":
            phantoms.write(root / part / name / f"{name}_seg.nii.gz", phantoms.lesion(SHAPE), GRID)
    return root


def test_the_tables_hold_every_model_that_restores(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [str(write_model(tmp_path / name, name)) for name in ("tsgm", "unet")]
    words = [*models, "--data", data / "val", "--donors", data / "donors", "--healthy", data / "healthy"]
    more = ["--slices", "2", "--device", "cpu", "-o", tmp_path / "tables.md"]
    restoration.main([str(word) for word in (*words, *more)])
    text = capsys.readouterr().out
    assert (tmp_path / "tables.md").read_text() == text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| tsgm")]
    assert [row[1].strip(" |") for row in rows[:2]] == ["planted", "transplanted"] and len(rows) == 4
    assert rows[2][2] == "n/a" and rows[2][1] != "n/a", "T1ce is not there"
    assert "unet is left out: The method unet gives a score" in text
    assert next(line for line in text.splitlines() if line.startswith("| nothing done | planted")).count("exact") == 1
    restoration.main([models[1], *map(str, words[2:]), *map(str, more[:4])])
    assert capsys.readouterr().out.startswith("unet is left out")


def test_cohorts_without_what_is_measured_are_refused(data: Path, tmp_path: Path) -> None:
    model = load_model(str(write_model(tmp_path / "m", "tsgm")), torch.device("cpu"))
    with pytest.raises(InputError, match="healthy has no slice to measure on"):
        planting.samples(model, data / "healthy", planting.lesion_rows, 2, 0)
    sick = sample()
    assert len(planting.healthy_rows(replace(sick, lesion=np.ones_like(sick.lesion)))) == 0
    assert Case("p").id == sick.case
