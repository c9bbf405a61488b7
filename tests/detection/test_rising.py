"""A threshold that rises with a case's own map: detect makes the mask that calibration judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tinymodels import write_model

from braincli import api
from braincli.calibration.evidence import gather
from braincli.config import DetectConfig
from braincli.imaging.cases import find_cases
from braincli.imaging.volume import load
from braincli.model.folder import load_model, read_info
from braincli.runtime.progress import Reporter

ONLY_FLAIR = {"weights": {"t1": 0.0, "t1ce": 0.0, "t2": 0.0, "flair": 1.0}}


def found(case: Path, model: Path, out: Path, **options: object) -> tuple[np.ndarray, float]:
    """The mask, and the threshold that the record names."""
    api.detect(case, out, DetectConfig(model=str(model), figure=False, **options))
    record = json.loads(next(out.rglob("*_record.json")).read_text())
    return load(next(out.rglob("*_mask.nii.gz")), labels=True).data > 0, _threshold(record)


def _threshold(content: object) -> float:
    """The one number called threshold in a record that is not the option."""
    if isinstance(content, dict):
        for name, value in content.items():
            if name == "threshold" and isinstance(value, float):
                return value
            if (inner := _threshold(value)) >= 0:
                return inner
    return -1.0


@pytest.mark.parametrize(("method", "stored", "level"), [("threshold", 0.6, 0.4), ("tsgm", 0.06, 0.05)])
def test_detect_makes_the_mask_that_calibration_judged(
    method: str, stored: float, level: float, case: Path, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "m", method, **ONLY_FLAIR, threshold=stored, rises_from=level)
    info = read_info(model)
    assert info.calibration is not None and info.calibration.rises_from == level
    loaded = load_model(str(model), torch.device("cpu"))
    (outcome,) = gather(find_cases(case), loaded, seed=0, batch=16, reporter=Reporter())
    assert outcome.result is not None
    factor = outcome.result.rise(info.calibration)
    assert factor > 1.2
    mask, threshold = found(case, model, tmp_path / "out", precision="fp32")
    assert threshold == pytest.approx(stored * factor, rel=1e-5)
    assert int(mask.sum()) == int(outcome.result.mask(info.calibration).sum()) > 0


def test_a_threshold_that_the_user_names_is_the_threshold(case: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", "threshold", **ONLY_FLAIR, threshold=0.5, rises_from=0.3)
    higher, risen = found(case, model, tmp_path / "risen")
    still, named = found(case, model, tmp_path / "named", threshold=0.5)
    assert named == 0.5 < risen and int(still.sum()) > int(higher.sum())


def test_a_calibration_that_does_not_rise_is_written_as_before(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", "threshold")
    assert "rises_from" not in (model / "model.json").read_text()
    rising = write_model(tmp_path / "r", "threshold", rises_from=0.25)
    assert json.loads((rising / "model.json").read_text())["calibration"]["rises_from"] == 0.25
