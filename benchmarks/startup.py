"""Seconds until the command line answers: best of ten runs of each command, wall and CPU.

python benchmarks/startup.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

COMMANDS = (("--help",), ("models",), ("score", "--help"), ("cite",))
LIMIT_S = 0.3


def seconds(arguments: tuple[str, ...], rounds: int = 10) -> tuple[float, float]:
    """Least wall time and least CPU time of ``rounds`` processes."""
    wall, cpu = [], []
    for _ in range(rounds):
        begin, spent = time.perf_counter(), _cpu()
        subprocess.run([sys.executable, "-m", "braincli", *arguments], check=True, capture_output=True)
        wall.append(time.perf_counter() - begin)
        cpu.append(_cpu() - spent)
    return min(wall), min(cpu)


def _cpu() -> float:
    """CPU seconds of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    for arguments in COMMANDS:
        wall, cpu = seconds(arguments)
        note = "" if wall < LIMIT_S else f"   over {LIMIT_S} s"
        print(f"braincli {' '.join(arguments):14} {wall:.2f} s wall   {cpu:.2f} s CPU{note}")
