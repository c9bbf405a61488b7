"""``braincli models``, and what a shell completes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from braincli.cli import app


@pytest.fixture(autouse=True)
def search(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINCLI_MODELS", str(models))


def completed(*words: str) -> list[str]:
    """What bash is offered for the last of ``words``."""
    environment = os.environ | {
        "_BRAINCLI_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("braincli", *words)),
        "COMP_CWORD": str(len(words)),
    }  # fmt: skip
    code = "from braincli.cli import app; app(prog_name='braincli')"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return run.stdout.split()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("detect", "-m", "th"), {"threshold"}),
        (("calibrate", "--model", "ts"), {"tsgm"}),
        (("train", "--method", "dpm"), {"dpm-classifier", "dpm-classifier-free"}),
        (("detect", "--contrast", "t1"), {"t1", "t1ce"}),
        (("preprocess", "--device", "c"), {"cpu", "cuda"}),
        (("score", "--empty", "p"), {"penalty"}),
        (("models", "dpm-classifier-"), {"dpm-classifier-free"}),
    ],
)
def test_names_are_completed(words: tuple[str, ...], wanted: set[str]) -> None:
    assert set(completed(*words)) == wanted


def test_a_models_name_shows_its_card_after_its_line(models: Path) -> None:
    card = (models / "threshold" / "README.md").read_text(encoding="utf-8").rstrip()
    result = CliRunner().invoke(app, ["models", "threshold"])
    assert result.exit_code == 0 and result.stdout.rstrip().endswith(card) and "trained models" in result.stdout
    assert card not in CliRunner().invoke(app, ["models"]).stdout
    (models / "threshold" / "README.md").rename(models / "kept.md")
    without = CliRunner().invoke(app, ["models", "threshold"])
    (models / "kept.md").rename(models / "threshold" / "README.md")
    assert without.exit_code == 0 and "threshold" in without.stdout


def test_a_models_folder_is_as_good_as_its_name(models: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(models / "threshold", tmp_path / "mine")
    shown = CliRunner().invoke(app, ["models", str(elsewhere)])
    card = (elsewhere / "README.md").read_text(encoding="utf-8").rstrip()
    assert shown.exit_code == 0 and shown.stdout.rstrip().endswith(card), shown.output
    assert CliRunner().invoke(app, ["models", str(tmp_path)]).exit_code == 4


def test_a_method_without_a_model_says_how_to_train_it() -> None:
    shown = {name: CliRunner().invoke(app, ["models", name]).stdout for name in ("unlearning", "vagan")}
    assert "braincli classify train cohort.tsv --method unlearning" in shown["unlearning"]
    assert "braincli train --method vagan" in shown["vagan"]
    assert not any(line == "methods" for line in shown["unlearning"].splitlines())


def test_names_of_any_length_stand_apart_from_what_is_said_of_them() -> None:
    lines = CliRunner().invoke(app, ["models"]).output.splitlines()
    starts = set()
    for name in ("tsgm", "dpm-classifier", "segmentation-guided", "descargan-classifier"):
        told = [re.match(rf"  {name} +(?=\S)", line) for line in lines]
        starts |= {match.end() for match in told if match}
    assert len(starts) == 1, "what is said begins in one column"
