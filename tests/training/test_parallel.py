"""Two processes equal one that computes the same shards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toymethod

from braincli.training.log import iterate_metrics

ROOT = Path(__file__).resolve().parents[2]


def test_what_fabric_says_is_for_a_log_and_not_for_the_screen(tmp_path: Path) -> None:
    """In a process of its own: lightning sets up its logger for stderr when it is first imported."""
    code = (
        "import sys, torch; from pathlib import Path; from contextlib import nullcontext\n"
        "from braincli.runtime import logs; from braincli.training import parallel\n"
        "with logs.listening(Path(sys.argv[1])) if len(sys.argv) > 1 else nullcontext():\n"
        "    parallel.launch(torch.device('cpu'), torch.bfloat16)\n"
    )
    log = tmp_path / "run.log"
    for arguments in ((), (str(log),)):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "bfloat16 Automatic Mixed Precision" in log.read_text()


@pytest.mark.slow
def test_torchrun_with_two_processes_equals_one_with_twice_the_batch(tmp_path: Path) -> None:
    """Each of two gloo processes takes four slices per step, the single one eight, in two shards."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, ROOT / "tests" / "toymethod.py", tmp_path / "two"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    threads = torch.get_num_threads()
    toymethod.main(tmp_path / "one", shards=2)
    torch.set_num_threads(threads)
    one, two = (list(iterate_metrics(tmp_path / name / "metrics.jsonl")) for name in ("one", "two"))
    assert [(e["stage"], e["step"]) for e in one] == [(e["stage"], e["step"]) for e in two]
    assert len(one) == 9
    for a, b in zip(one, two, strict=True):
        loss = "judged" if a["stage"] == "play" else "clean"
        assert a[loss] == pytest.approx(b[loss], abs=1e-5)
    weights = [torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("one", "two")]
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], rtol=0, atol=1e-5)
