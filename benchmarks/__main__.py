"""All benchmarks that need no data, in one table with the machine's name; names choose some of them.

python -m benchmarks
python -m benchmarks detect score

Each runs in a process of its own. Ends with exit code 1 where one breaks what it promises.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measuring import machine, measured, show

NAMES = ("startup", "noise", "score", "subnormals", "detect", "overlap")


def main(names: tuple[str, ...]) -> bool:
    """Print the table; whether every promise holds."""
    if unknown := set(names) - set(NAMES):
        sys.exit(f"No benchmark of these: {', '.join(sorted(unknown))}. There are {', '.join(NAMES)}.")
    print(machine(), end="\n\n")
    held = True
    for name in names or NAMES:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            held &= show(process.submit(measured, name).result(), name)
    return held


if __name__ == "__main__":
    sys.exit(0 if main(tuple(sys.argv[1:])) else 1)
