"""A sample of the kills; ``benchmarks/reliability.py`` kills at every change of the disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reliability import kills

pytestmark = pytest.mark.slow  # processes of their own, minutes in all

ROOT = Path(__file__).resolve().parents[2]


def test_the_killer_ends_the_process_where_a_file_would_be_moved(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    child = os.fork()
    if not child:
        with kills.killed_at(1):
            (tmp_path / "a").rename(tmp_path / "b")
            (tmp_path / "b").unlink()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == kills.KILLED
    assert (tmp_path / "b").exists()


@pytest.mark.long
@pytest.mark.parametrize(("command", "every"), [("detect", 7), ("preprocess", 17), ("train", 11)])
def test_killed_run_leaves_nothing_partial_and_resumes_to_the_same_bytes(command: str, every: int) -> None:
    done = subprocess.run(
        [sys.executable, kills.__file__, command, str(every), "2"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["complaints"] == [] and report["kills"] > 1
