"""The examples run as their readers would run them, with a tiny model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from phantoms import affine, write_case
from tinymodels import write_models

ROOT = Path(__file__).resolve().parents[1]
SHAPE = (40, 48, 16)
GRID = affine("LPS", (3.0, 3.0, 4.0))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    models = write_models(tmp_path_factory.mktemp("models"))
    python = f"{sys.executable} -m braincli"
    return os.environ | {"BRAINCLI_MODELS": str(models), "BRAINCLI": python, "PYTHONPATH": str(ROOT)}


def run(environment: dict[str, str], *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)


def test_python_api(environment: dict[str, str], tmp_path: Path) -> None:
    case = write_case(tmp_path / "p01", shape=SHAPE, matrix=GRID)
    result = run(
        environment, sys.executable, ROOT / "examples" / "python_api.py", case, tmp_path / "out",
        "--model", "threshold", "--reference", case / "p01_seg.nii.gz",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "p01_mask.nii.gz:" in result.stdout and "lesion 1:" in result.stdout and "DSC" in result.stdout


@pytest.mark.slow
def test_cohort_loop(environment: dict[str, str], tmp_path: Path) -> None:
    for name in ("a a", "b"):  # a blank in a name must not break the loop
        write_case(tmp_path / "cohort" / name, name.replace(" ", ""), ("flair",), shape=SHAPE, matrix=GRID)
    broken = tmp_path / "cohort" / "c"
    broken.mkdir()
    (broken / "c_flair.nii.gz").write_bytes(b"not a scan")
    script = ROOT / "examples" / "cohort.sh"
    result = run(environment, "bash", script, tmp_path / "cohort", tmp_path / "out", "threshold", "--no-figure")
    assert result.returncode == 6, result.stderr
    assert "failed: c" in result.stderr and "DSC" in result.stderr
    assert (tmp_path / "out" / "scores" / "scores.csv").is_file()
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"aa", "b", "scores"}
