"""What one prepared case costs: seconds per phase, peak memory, slices per second, against the limits of 90 s and 4 GB.

python benchmarks/detect.py ../shared/data/tumour/val/BraTS2021_01478 --model tsgm
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S, LIMIT_GB = 90.0, 4.0


def measure(case: Path, model: str, extra: list[str]) -> None:
    """Run ``braincli detect`` in a process of its own and print what its record and the clock say."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        command = [sys.executable, "-m", "braincli", "detect", "-q", "--model", model, "-o", folder, str(case), *extra]
        subprocess.run(command, check=True)
        wall = time.perf_counter() - begin
        record = json.loads(next(Path(folder).glob("*/*_record.json")).read_text(encoding="utf-8"))
    for phase, seconds in record["seconds"].items():
        print(f"{phase:12} {seconds:7.1f} s   {seconds / wall:4.0%}")
    print(f"{'whole':12} {wall:7.1f} s   {wall / LIMIT_S:.2f} of the limit")
    memory = record["peak_memory_gb"]
    print(f"{'memory':12} {memory:7.2f} GB  {memory / LIMIT_GB:.2f} of the limit")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", type=Path)
    parser.add_argument("--model", default="tsgm")
    known, rest = parser.parse_known_args()
    measure(known.case, known.model, rest)
