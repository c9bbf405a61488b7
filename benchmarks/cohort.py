"""A cohort with 1 and 2 jobs: cases per hour, seconds and CPU seconds per case, memory of parent and workers.

python benchmarks/cohort.py DATA [COMMAND] [CASES]

DATA holds the cases; COMMAND is preprocess (default) or detect, CASES how many of them are taken (6). One more, which
is damaged, is added, and must fail alone. With one thread per job the outputs are compared to the bit. Where other
programs share the machine, the ratios and the CPU seconds say more than the seconds.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from braincli.imaging.cases import Case, find_cases
from braincli.runtime.files import sha256

RUNS = ((1, None), (1, 1), (2, 1))  # jobs, threads of each; None: all that there are
FAILED = 6  # exit code of a cohort with failed cases


@dataclass
class Measured:
    """What one run took."""

    jobs: int
    threads: int | None
    cases: int
    wall: float = 0.0
    cpu: float = 0.0
    parent_gb: float = 0.0
    worker_gb: float = 0.0
    together_gb: float = 0.0
    resting_gb: list[dict[int, float]] = field(default_factory=list)  # by process, least since the case before

    @property
    def growth_mb(self) -> float:
        """Growth of a process per case that it worked on: of what it holds when it holds least, after its first."""
        series: dict[int, list[float]] = {}
        for resting in self.resting_gb:
            for pid, held in resting.items():
                series.setdefault(pid, []).append(held)
        rates = [(held[-1] - held[1]) / (len(held) - 2) * self.jobs for held in series.values() if len(held) > 2]
        return 1000 * max(rates, default=0.0)


def processor() -> str:
    """Name of the processor and number of cores that may be used."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def damaged(case: Case, folder: Path) -> Path:
    """A copy of a case whose scans end in the middle."""
    copy = folder / "damaged"
    copy.mkdir()
    for contrast, path in case.images.items():
        content = path.read_bytes()
        (copy / f"damaged_{contrast}.nii.gz").write_bytes(content[: len(content) // 2])
    return copy


def memory_gb(pid: int) -> tuple[float, float]:
    """Memory of a process now, and its peak; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0, 0.0
    facts = dict(line.split(":", 1) for line in lines)
    now, peak = (int(facts.get(name, "0 kB").split()[0]) * 1024 / 1e9 for name in ("VmRSS", "VmHWM"))
    return now, peak


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def measure(command: str, folders: list[Path], out: Path, jobs: int, threads: int | None) -> Measured:
    """Run the shell command and watch it."""
    measured = Measured(jobs, threads, len(folders))
    options = ["--jobs", str(jobs), *(["--threads", str(threads)] if threads else [])]
    words = [sys.executable, "-m", "braincli", command, *map(str, folders), "-o", str(out), *options]
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with (out.parent / f"{out.name}.log").open("w") as log, subprocess.Popen(words, stderr=log) as process:
        least: dict[int, float] = {}
        while process.poll() is None:
            memory = {pid: memory_gb(pid) for pid in (process.pid, *children(process.pid))}
            own, *workers = memory.values()
            measured.parent_gb = max(measured.parent_gb, own[1])
            measured.worker_gb = max([measured.worker_gb, *(peak for _, peak in workers)])
            measured.together_gb = max(measured.together_gb, sum(now for now, _ in memory.values()))
            least = {pid: min(now, least.get(pid, now)) for pid, (now, _) in memory.items() if now}
            if len(list(out.glob("*/*_record.json"))) > len(measured.resting_gb):
                measured.resting_gb.append(least)
                least = {}
            time.sleep(0.1)
    measured.wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if process.returncode != FAILED:
        sys.exit((out.parent / f"{out.name}.log").read_text())
    assert len(list(out.glob("*/*_record.json"))) == len(folders) - 1, "exactly one case is damaged"
    return measured


def hashes(out: Path) -> dict[str, str]:
    """Of every image."""
    return {str(path.relative_to(out)): sha256(path) for path in sorted(out.rglob("*.nii.gz"))}


def main() -> None:
    """Print the table."""
    data, command, number = [*sys.argv[1:], *("", "preprocess", "6")[len(sys.argv) - 1 :]]
    cases = find_cases(Path(data))[: int(number)]
    folders = [next(iter(case.images.values())).parent for case in cases]
    print(f"{processor()}\nbraincli {command}, {len(folders)} cases of {Path(data).name} and a damaged one")
    print("jobs threads  cases/h  s/case  CPU s/case  ratio  parent GB  worker GB  together GB  growth MB/case")
    with tempfile.TemporaryDirectory() as scratch:
        folders.append(damaged(cases[0], Path(scratch)))
        first, images = 0.0, {}
        for jobs, threads in RUNS:
            out = Path(scratch) / f"jobs{jobs}-threads{threads or 'all'}"
            m = measure(command, folders, out, jobs, threads)
            first = first or m.wall
            each = len(folders) - 1
            print(
                f"{jobs:4d} {threads or 'all':>7}  {3600 * each / m.wall:7.0f}  {m.wall / each:6.1f}  "
                f"{m.cpu / each:10.1f}  {first / m.wall:5.2f}  {m.parent_gb:9.2f}  "
                f"{m.worker_gb if jobs > 1 else 0:9.2f}  {m.together_gb:11.2f}  {m.growth_mb:14.1f}",
                flush=True,
            )
            images[jobs, threads] = hashes(out)
            shutil.rmtree(out)
    same = images[1, 1] == images[2, 1]
    print(f"outputs of 1 and of 2 jobs, one thread each: {'the same to the bit' if same else 'NOT the same'}")


if __name__ == "__main__":
    main()
