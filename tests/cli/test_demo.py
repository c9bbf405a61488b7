"""``braincli demo``: what it says, and the whole of it once (slow)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tinymodels import write_models
from typer.testing import CliRunner

from braincli.cli import app
from braincli.imaging.volume import load
from braincli.layout import bids
from braincli.model.search import find_models
from braincli.phantom import patient


def test_existing_demo_is_refused_before_any_work(tmp_path: Path) -> None:
    scan = next(iter(patient.plan(tmp_path).scans.values()))
    scan.parent.mkdir(parents=True)
    scan.write_bytes(b"mine")
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path), "--model", "threshold"])
    assert result.exit_code == 2
    assert f"{scan.name} exists" in result.stderr and "--overwrite" in result.stderr
    assert scan.read_bytes() == b"mine"


def test_unknown_model_is_refused_before_any_work(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path / "demo"), "--model", "nothing"])
    assert result.exit_code == 4
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
@pytest.mark.long
def test_demo_generates_preprocesses_detects_and_scores(tmp_path: Path) -> None:
    shipped = "tsgm" in find_models()
    model = "tsgm" if shipped else str(write_models(tmp_path / "models") / "tsgm")
    out = tmp_path / "demo"
    result = CliRunner().invoke(app, ["demo", "-o", str(out), "--json", "--model", model])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert "generated" in content["notice"] and "generated" in result.stderr
    folder = out / "detect" / bids.place(patient.CASE)
    assert (folder / "figures" / content["picture"]).read_bytes()[:4] == b"\x89PNG"
    flair = load(patient.plan(out).scans["flair"])
    mask = load(folder / "anat" / content["mask"], labels=True)
    assert mask.shape == flair.shape
    record = json.loads(next(folder.glob("*_desc-tsgm_record.json")).read_text(encoding="utf-8"))
    assert record["facts"]["preprocess"]["qc"]["atlas_dsc"] > 0.9
    if shipped:
        assert content["scores"]["cases"][0]["values"]["dsc"] > 0.6
