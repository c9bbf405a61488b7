"""Seconds until the command line answers: best of ten runs of each command.

    python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time

COMMANDS = (("--help",), ("models",), ("score", "--help"), ("cite",))
LIMIT_S = 0.3


def seconds(arguments: tuple[str, ...], rounds: int = 10) -> float:
    """Wall time of the fastest of ``rounds`` processes."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "braincli", *arguments], check=True, capture_output=True)
        best = min(best, time.perf_counter() - begin)
    return best


if __name__ == "__main__":
    for arguments in COMMANDS:
        took = seconds(arguments)
        print(f"braincli {' '.join(arguments):14} {took:.2f} s{'' if took < LIMIT_S else f'   over {LIMIT_S} s'}")
