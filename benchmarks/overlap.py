"""Cases of a cohort that overlap in one process: cases per second beside the slowest of their three parts.

python benchmarks/overlap.py
python benchmarks/overlap.py ../shared/data/tumour/val/BraTS2021_01478 --device cuda --cases 12

While the network of one case runs, the next is read and cut, and the last is segmented and written. Without a case one
is generated, on the grid of BraTS. On a GPU the network is the model's; without one it is a wait of ``--network``
seconds, as a GPU would make the CPU wait (on a CPU the parts compete for the same cores). The time until the second
case is written does not count, nor does that of the last one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from detect import generated
from measuring import Figure, machine, show

from braincli.config import DetectConfig
from braincli.detection import find
from braincli.detection.restore import Restoration
from braincli.detection.run import detect_cases
from braincli.imaging.cases import find_cases
from braincli.imaging.slices import Slices
from braincli.runtime import device as devices
from braincli.runtime.progress import Reporter, Step
from braincli.runtime.provenance import peak_memory_gb

PROMISED = 0.9  # of the slowest part's rate
PARTS = (("read", "slice"), ("restore",), ("post-process", "write"))


@dataclass
class Clock(Reporter):
    """Notes when each case comes out."""

    ends: list[float] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        yield _Case(self.ends) if name == "cases" else Step()


@dataclass
class _Case(Step):
    ends: list[float]

    def advance(self, count: int = 1, note: str = "") -> None:
        self.ends.append(time.perf_counter())


def waits(seconds: float) -> Any:
    """A network that gives every slice back, after ``seconds`` for each case, in which the CPU has nothing to do."""

    def restore(slices: Slices, *given: Any, **options: Any) -> Restoration:
        time.sleep(seconds)
        return Restoration(slices, slices.image, None, "wait")

    return patch.object(find, "restore", restore)


def figures(options: argparse.Namespace | None = None) -> Iterator[Figure]:
    """Seconds of each part, cases per second beside the slowest one, memory."""
    options = options or arguments().parse_args([])
    gpu = devices.prepare(options.device, options.threads).type == "cuda"
    # nothing exceeds the threshold: an untrained or waiting network finds nothing that is worth its time
    config = DetectConfig(model=options.model, threshold=1.0, device=options.device, threads=options.threads)
    with tempfile.TemporaryDirectory() as folder:
        (case,) = find_cases(options.case or generated(Path(folder) / "case"))
        cases = [replace(case, id=f"{case.id}-{number}") for number in range(options.cases)]
        clock = Clock()
        with nullcontext() if gpu else waits(options.network):
            detect_cases(cases, Path(folder) / "out", config, clock)
        records = [json.loads(path.read_text()) for path in Path(folder, "out").glob("*/*_record.json")]
    seconds = [statistics.mean(sum(r["seconds"][step] for step in part) for r in records) for part in PARTS]
    for part, took in zip(PARTS, seconds, strict=True):
        yield Figure(" and ".join(part), took, "s")
    # the first is written slowly, as libraries are loaded, and beside the last no network runs
    rate, slowest = (len(cases) - 3) / (clock.ends[-2] - clock.ends[1]), max(seconds)
    share = rate * slowest
    against = f"slowest part ({1 / slowest:.3g} cases/s)"
    yield Figure(f"{len(cases)} cases", rate, "cases/s", against, share, share >= PROMISED)
    yield Figure("one after the other", 1 / sum(seconds), "cases/s", against, slowest / sum(seconds))
    yield Figure("memory", peak_memory_gb(), "GB")


def arguments() -> argparse.ArgumentParser:
    """Case, model and machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path, nargs="?")
    parser.add_argument("--model", default="tsgm")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--network", type=float, default=2.0, help="seconds, without a GPU")
    return parser


if __name__ == "__main__":
    given = arguments().parse_args()
    print(machine())
    show(figures(given))
