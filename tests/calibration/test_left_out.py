"""A case that cannot be read is left out of a calibration, and said to be."""

from __future__ import annotations

import json
from pathlib import Path

import phantoms
import pytest
from tinymodels import write_model
from typer.testing import CliRunner

from braincli import api
from braincli.cli import app
from braincli.config import CalibrateConfig
from braincli.errors import CohortError, InputError
from braincli.model.folder import read_info

SHAPE = (40, 48, 16)


def cohort(folder: Path, *names: str) -> Path:
    for name in names:
        matrix = phantoms.affine("LPS", (4.0, 4.0, 4.0))
        phantoms.write_case(folder / name, name, ["flair"], shape=SHAPE, matrix=matrix)
    return folder


def test_the_others_are_fitted_on_and_the_code_is_6(tmp_path: Path) -> None:
    write_model(tmp_path / "m", "threshold", calibrated=False)
    val = cohort(tmp_path / "val", "v1", "v2", "v3", "v4", "v5")
    (val / "v2" / "v2_flair.nii.gz").write_bytes(b"no scan")
    (val / "v3" / "v3_seg.nii.gz").unlink()
    (val / "v4" / "v4_seg.nii.gz").write_bytes(b"no mask")
    words = ["calibrate", "--data", str(val), "--model", str(tmp_path / "m"), "--json", "-q"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 6, result.output
    provenance = json.loads(result.stdout)["provenance"]
    assert provenance["cases"] == ["v1", "v5"] and set(provenance["left_out"]) == {"v2", "v3", "v4"}
    assert provenance["left_out"]["v3"] == "v3 has no lesion mask."
    calibration = read_info(tmp_path / "m").calibration
    assert calibration is not None and calibration.provenance.left_out == provenance["left_out"]
    assert "Left out of the calibration: 3 cases (" in result.stderr


def test_where_none_is_left_nothing_is_stored(tmp_path: Path) -> None:
    write_model(tmp_path / "m", "threshold", calibrated=False)
    val = cohort(tmp_path / "val", "v1", "v2")
    for name in ("v1", "v2"):
        (val / name / f"{name}_flair.nii.gz").write_bytes(b"no scan")
    options = CalibrateConfig(model=str(tmp_path / "m"))
    with pytest.raises(CohortError, match="2 of 2 cases failed") as raised:
        api.calibrate([val], options)
    assert "--resume" not in raised.value.hint and "healthy-quantile" in raised.value.hint
    with pytest.raises(InputError, match=r"v1_flair.nii.gz"):
        api.calibrate([val / "v1"], options)
    assert read_info(tmp_path / "m").calibration is None
