"""What damaged files and sudden deaths do to braincli: the whole corpus, and a kill at every change of the disk.

python benchmarks/reliability.py                    some five minutes on two cores
python benchmarks/reliability.py --no-kills         the corpus only
python benchmarks/reliability.py --count 100000 --seed 1

Prints a table; exits with 1 where a damaged file was accepted as something else than it is, where anything crashed,
or where a kill left something behind, lost something, or changed the result. ``tests/reliability`` runs a sample.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from reliability.corpus import COUNT, Verdict, judge, variant  # noqa: E402

KINDS = ("tried", "refused", "identical", "silent", "crashed", "slow")
BAD = ("silent", "crashed", "slow")
COMMANDS = ("detect", "preprocess", "train")


def shard(work: tuple[range, int]) -> list[Verdict]:
    """Judge the variants of these numbers."""
    numbers, seed = work
    with tempfile.TemporaryDirectory() as folder:
        return [judge(variant(number, seed), Path(folder)) for number in numbers]


def corpus(count: int, seed: int, workers: int) -> list[Verdict]:
    """All verdicts, from ``workers`` processes."""
    step = 40 * workers
    shards = [(range(start, count, step), seed) for start in range(step)]
    with get_context("spawn").Pool(workers) as pool:
        return [verdict for verdicts in pool.imap_unordered(shard, shards) for verdict in verdicts]


def table(verdicts: list[Verdict]) -> str:
    """Rows by what was damaged, columns by what came of it."""
    rows: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        damage = verdict.variant.split(", ", 1)[1]
        rows.setdefault(damage, Counter()).update([verdict.kind, "tried"])
    total = sum(rows.values(), Counter())
    lines = [f"{'':26}" + "".join(f"{kind:>11}" for kind in KINDS)]
    for name, row in [*sorted(rows.items()), ("all", total)]:
        lines.append(f"{name:26}" + "".join(f"{row[kind]:11,}" for kind in KINDS))
    return "\n".join(lines)


def kills(workers: int) -> tuple[str, list[str]]:
    """Every command killed at every moment; each is shared between ``workers`` processes."""
    lines, complaints = [], []
    for command in COMMANDS:
        program = [sys.executable, str(TESTS / "reliability" / "kills.py"), command, str(workers)]
        running = [subprocess.Popen([*program, str(i)], stdout=subprocess.PIPE, text=True) for i in range(workers)]
        parts = [json.loads(process.communicate()[0]) for process in running]
        wrong = [line for part in parts for line in part["complaints"]]
        lines.append(f"{command:26}{sum(part['kills'] for part in parts):5} kills{len(wrong):5} complaints")
        complaints += wrong
    return "\n".join(lines), complaints


def main() -> int:
    """Print both tables; 1 where anything is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help="damaged files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-kills", action="store_true")
    options = parser.parse_args()
    begin = time.perf_counter()
    verdicts = corpus(options.count, options.seed, options.workers)
    print(table(verdicts), f"\n{time.perf_counter() - begin:.0f} s")
    bad = [" | ".join(verdict) for verdict in verdicts if verdict.kind in BAD]
    if not options.no_kills:
        begin = time.perf_counter()
        lines, complaints = kills(options.workers)
        print(lines, f"\n{time.perf_counter() - begin:.0f} s")
        bad += complaints
    print("\n".join(bad[:100]))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
