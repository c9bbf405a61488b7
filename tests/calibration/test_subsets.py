"""All sets of contrasts in one go: what is stored, for whom, and what the card and the table say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import phantoms
import pytest
from tinymodels import write_model
from typer.testing import CliRunner

from braincli import api
from braincli.calibration.subsets import every_set
from braincli.cli import app
from braincli.config import CalibrateConfig
from braincli.errors import InputError, UsageError
from braincli.imaging.cases import Contrast
from braincli.model.folder import read_info

SHAPE = (40, 48, 16)
GRID = phantoms.affine("LPS", (3.0, 3.0, 4.0))


def cohort(folder: Path, **contrasts: tuple[str, ...]) -> Path:
    """A case for each name, with these contrasts; noise differs from case to case."""
    for number, (name, those) in enumerate(contrasts.items()):
        for contrast in those:
            data = phantoms.brain(SHAPE, seed=len(str(folder)) * 100 + 10 * number + len(contrast))
            bright = 1.7 if contrast in ("flair", "t2") and name[0] == "v" else 1.0
            data[phantoms.lesion(SHAPE) > 0] *= bright
            phantoms.write(folder / name / f"{name}_{contrast}.nii.gz", data, GRID)
        if name[0] == "v":
            phantoms.write(folder / name / f"{name}_seg.nii.gz", phantoms.lesion(SHAPE), GRID)
    return folder


def test_there_are_fifteen_sets() -> None:
    sets = every_set()
    assert len(sets) == len(set(sets)) == 15 and len(sets[0]) == 4 and len(sets[-1]) == 1


def test_each_set_is_fitted_on_the_cases_that_have_it_and_on_nothing_else(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", "threshold", calibrated=False)
    val = cohort(tmp_path / "val", v1=("t2", "flair"), v2=("t2", "flair"), v3=("flair",))
    well = cohort(tmp_path / "healthy", h1=("flair",), h2=("t1", "flair"))
    options = CalibrateConfig(model=str(model), cross_fit=True)
    fits = api.calibrate_all(val, options.model_copy(update={"dry_run": True}), healthy=well)
    assert read_info(model).subsets == {}
    assert api.calibrate_all(val, options, healthy=well) == fits
    info = read_info(model)
    assert list(fits) == ["t2+flair", "t2", "flair"]
    assert info.subsets == fits and info.calibration is None
    assert fits["flair"].provenance.cases == ["v1", "v2", "v3"] and fits["t2"].provenance.cases == ["v1", "v2"]
    bound = fits["flair"].provenance.bound
    assert bound is not None and set(bound.images) == {"h1", "h2"} and len(bound.images["h2"]) == 1
    assert fits["t2"].provenance.bound is None
    assert all(fit.provenance.dsc_cross_fit is not None for fit in fits.values())
    alone = api.calibrate(
        val, options.model_copy(update={"contrasts": (Contrast.FLAIR,), "dry_run": True}), healthy=well
    )
    assert alone == fits["flair"], "what is fitted in one go is what is fitted by itself"
    card = (model / "README.md").read_text()
    assert card.index("| t2+flair |") < card.index("| flair | 1.00 |")
    row = next(line for line in card.splitlines() if line.startswith("| flair | 1.00 |"))
    assert f"{bound.mean_ml:.2f} ml (cross-fitted" in row


def test_a_set_whose_cases_are_unusable_costs_the_others_nothing(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", "threshold", calibrated=False)
    val = cohort(tmp_path / "val", v1=("flair",), v2=("t2",))
    (val / "v2" / "v2_seg.nii.gz").unlink()
    fits = api.calibrate_all(val, CalibrateConfig(model=str(model), cross_fit=True))
    assert list(fits) == ["flair"] and fits["flair"].provenance.cross_fit is None, "one case has no halves"
    (val / "v1" / "v1_seg.nii.gz").unlink()
    with pytest.raises(InputError, match="v2 has no lesion mask"):
        api.calibrate_all(val, CalibrateConfig(model=str(model)))


def test_the_command_shows_a_line_for_each_set(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", "threshold", calibrated=False)
    val = cohort(tmp_path / "val", v1=("t2", "flair"))
    well = cohort(tmp_path / "healthy", h1=("flair",))
    words = ["calibrate", "--model", model, "--data", val, "--all-contrasts", "--healthy", well, "--healthy-ml", "0.5"]
    run = CliRunner().invoke(app, [str(word) for word in words])
    assert run.exit_code == 0, run.output
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["contrasts", "t2+flair", "t2", "flair"]
    assert "n/a" in lines[1] and float(lines[3].split()[6]) <= 0.5, "ml in the healthy"
    listed = CliRunner().invoke(app, [str(word) for word in (*words, "--json", "-q")])
    shown = json.loads(listed.stdout)
    assert set(shown) == {"t2+flair", "t2", "flair"} and shown["flair"]["provenance"]["bound"]["limit_ml"] == 0.5
    refused = CliRunner().invoke(app, [str(word) for word in (*words, "--contrasts", "flair")])
    assert refused.exit_code == 2 and "Leave out --contrasts" in refused.stderr


def test_healthy_people_bound_only_what_they_have_the_contrasts_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from braincli.runtime.progress import PlainReporter

    model = write_model(tmp_path / "m", "threshold", calibrated=False)
    val = cohort(tmp_path / "val", v1=("t2", "flair"))
    well = cohort(tmp_path / "healthy", h1=("flair",), h2=("t1", "t2", "flair"))
    fit = api.calibrate(val, CalibrateConfig(model=str(model)), PlainReporter(), healthy=well)
    assert "healthy cases without t2+flair bound nothing: h1" in capsys.readouterr().err
    assert fit.provenance.bound is not None and len(fit.provenance.bound.images["h2"]) == 2
    with pytest.raises(UsageError, match="every set of contrasts"):
        api.calibrate_all(val, CalibrateConfig(model=str(model), contrasts=(Contrast.T1,)))
    assert np.isfinite(fit.threshold)


def test_a_rising_threshold_is_told(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", "threshold", calibrated=False)
    words = ["calibrate", "--model", str(model), "--data", str(cohort(tmp_path / "val", v1=("flair",))), "-q"]
    rising = CliRunner().invoke(app, words)
    level = read_info(model).calibration.rises_from
    assert f"exceeds {level:.4f} at its 99th percentile" in rising.stdout
    assert f"level of {level:.4f} on" in (model / "README.md").read_text()
    still = CliRunner().invoke(app, [*words, "--no-rising"])
    assert still.exit_code == 0 and "rises" not in still.stdout
    assert read_info(model).calibration.rises_from is None and "rises" not in (model / "README.md").read_text()
