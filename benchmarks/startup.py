"""Seconds until the command line answers: least wall time of ten runs of each command, against the limit.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from measuring import Figure, best_of, limited, show

LIMITS_S = {"--help": 0.15, "models": 0.3, "score --help": 0.3, "cite": 0.3}


def figures() -> Iterator[Figure]:
    """One per command."""
    for command, limit in LIMITS_S.items():
        line = [sys.executable, "-m", "braincli", *command.split()]
        took = best_of(lambda line=line: subprocess.run(line, check=True, capture_output=True), 10)  # type: ignore[misc]
        yield limited(f"braincli {command}", took, "s", limit)


if __name__ == "__main__":
    show(figures())
