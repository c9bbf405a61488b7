"""The command that tests start again and again is braincli's, with its caller's words, folder, streams, variables."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import warm
from phantoms import write_case


@pytest.mark.slow
def test_arguments_folder_streams_variables_and_exit_code_are_the_callers(tmp_path: Path) -> None:
    write_case(tmp_path / "p 1", "p1", ("flair",), shape=(12, 14, 6))

    def run(words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", f"{warm.command()} {words}"], cwd=tmp_path, env=os.environ | variables, capture_output=True,
            text=True,
        )  # fmt: skip

    assert run("--version").stdout.startswith("braincli ") and run("--version >/dev/null").stdout == ""
    done = run("check 'p 1' --json")
    assert done.returncode == 0 and "p1_flair.nii.gz" in done.stdout
    missing = run("models nothing")
    assert missing.returncode == 4 and missing.stderr.startswith("error: ") and not missing.stdout
    wrong = run("detect 'p 1' -o out -m threshold", BRAINCLI_NUM_THREADS="two")
    assert wrong.returncode == 2 and "BRAINCLI_NUM_THREADS" in wrong.stderr
