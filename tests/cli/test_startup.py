"""``braincli --help`` and its kin, as a process: what is loaded, what is printed, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.cli.common import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "ants", "SimpleITK", "monai", "matplotlib", "scipy", "nibabel")


def run(*arguments: str, show_imports: bool = False) -> subprocess.CompletedProcess[str]:
    options = ["-X", "importtime"] if show_imports else []
    return subprocess.run(
        [sys.executable, *options, "-m", "braincli", *arguments],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, check=False,
    )  # fmt: skip


def loaded(log: str) -> set[str]:
    """Top-level packages in the output of ``python -X importtime``."""
    return {line.rpartition("|")[2].strip().split(".")[0] for line in log.splitlines() if "import time:" in line}


@pytest.mark.parametrize("arguments", [("--help",), ("models",), ("score", "--help"), ("cite",)], ids=" ".join)
def test_starts_without_heavy_libraries(arguments: tuple[str, ...]) -> None:
    result = run(*arguments, show_imports=True)
    assert result.returncode == 0, result.stderr[-2000:]
    found = loaded(result.stderr)
    assert "typer" in found  # the log was understood
    assert not found & set(HEAVY)


def test_help_names_every_command_and_the_limits_of_use() -> None:
    text = run("--help").stdout
    for name in COMMANDS:
        assert f"  {name}" in text, name
    assert RESEARCH_USE_ONLY in text


def test_version() -> None:
    result = run("--version")
    assert result.stdout.splitlines() == [f"braincli {__version__}", RESEARCH_USE_ONLY]


@pytest.mark.parametrize("arguments", [("nonsense",), ("score",), ("--nonsense",)], ids=" ".join)
def test_usage_errors_give_exit_code_2(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode == 2 and result.stdout == "" and "Traceback" not in result.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "braincli", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert "error" not in said


def test_threads_are_told_to_sleep_before_torch_is_imported() -> None:
    """OpenMP reads its environment once: what is set after ``import torch`` changes nothing."""
    code = (
        "import os, sys, braincli; assert 'torch' not in sys.modules; "
        "print(os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])"
    )
    clean = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=clean, check=True
    )
    assert result.stdout.split() == ["PASSIVE", "0"]
