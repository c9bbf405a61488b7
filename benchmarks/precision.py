"""What bfloat16 changes: brain masks of raw scans, and maps and lesion masks of prepared cases, beside float32.

python benchmarks/precision.py [--raw FOLDER] [--cases FOLDER] [--count 2] [--model tsgm] [--threads 2]

Prints the DSC between the two brain masks, the largest and mean difference of the two maps as a share of the model's
threshold, the DSC with the reference of each, and CPU seconds of both. Ends with exit code 1 where a limit is broken.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braincli.config import DetectConfig
from braincli.imaging import brain, volume
from braincli.imaging.cases import Case, find_cases
from braincli.imaging.reading import load_images
from braincli.preprocessing.extract import Extractor, to_mask
from braincli.preprocessing.quality import dice
from braincli.runtime import device as devices
from braincli.runtime.progress import Reporter

if TYPE_CHECKING:
    from braincli.detection.find import Findings
    from braincli.model.folder import LoadedModel

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BRAIN_DSC = 0.999  # at least, between the two brain masks
MAP_LARGEST = 0.05  # of the threshold, at most: largest difference of the two maps inside the brain
LESION_DSC = 0.002  # at most: difference between the two DSC with the reference


@contextmanager
def clocked(seconds: list[float]) -> Iterator[None]:
    """Append the CPU seconds of the block."""
    begin = time.process_time()
    yield
    seconds.append(time.process_time() - begin)


def brains(folder: Path) -> bool:
    """Brain masks of all raw scans in ``folder``; whether all are alike."""
    import torch

    cpu, within = torch.device("cpu"), True
    print(f"{'brain of':32} {'fp32, CPU s':>12} {'bf16, CPU s':>12} {'DSC':>9}")
    for case in find_cases(folder):
        for contrast, path in case.images.items():
            scan = volume.load(path)
            if not brain.has_skull(scan):
                continue
            masks: list[np.ndarray] = []
            seconds: list[float] = []
            for dtype in (None, torch.bfloat16):
                with clocked(seconds):
                    probability = Extractor("fast", "minimal", cpu, dtype).probability(scan, Reporter())
                masks.append(to_mask(probability).data)
            alike = dice(*masks)
            within &= alike >= BRAIN_DSC
            print(f"{case.id + ' ' + contrast:32} {seconds[0]:12.1f} {seconds[1]:12.1f} {alike:9.5f}", flush=True)
    return within


def lesions(cases: list[Case], model: LoadedModel) -> bool:
    """Maps and lesion masks of prepared cases; whether all are alike."""
    from braincli.detection.find import find_lesions

    titles = f"{'fp32, CPU s':>12} {'bf16, CPU s':>12} {'map: largest':>13} {'mean':>7} {'DSC, each':>15}"
    print(f"\n{'lesions of':24} {titles}")
    within = True
    for case in cases:
        assert case.lesion is not None
        lesion = volume.load(case.lesion, labels=True).data > 0
        both: list[Findings] = []
        seconds: list[float] = []
        for precision in ("fp32", "bf16"):
            with clocked(seconds):
                config = DetectConfig(precision=precision, figure=False, report=False)
                both.append(find_lesions(case.id, load_images(case), model, config))
        one, other = both
        inside = one.brain.data
        apart = np.abs(one.anomaly.data - other.anomaly.data)[inside] / one.threshold
        with_reference = [dice(findings.mask.data > 0, lesion) for findings in both]
        within &= float(apart.max()) <= MAP_LARGEST and abs(with_reference[0] - with_reference[1]) <= LESION_DSC
        print(
            f"{case.id:24} {seconds[0]:12.1f} {seconds[1]:12.1f} {apart.max():13.3f} {apart.mean():7.4f}"
            f" {with_reference[0]:7.4f} {with_reference[1]:7.4f}",
            flush=True,
        )
    return within


def main(options: argparse.Namespace) -> bool:
    """Print both tables; whether every limit holds."""
    chosen = devices.prepare("cpu", options.threads)
    from braincli.model.folder import load_model

    auto = devices.precision_name(devices.precision(chosen))
    print(f"bf16 convolves {devices.bf16_gain():.1f} times as fast as fp32; auto takes {auto}\n")
    within = brains(options.raw)
    cases = [case for case in find_cases(options.cases) if case.lesion is not None][: options.count]
    within &= lesions(cases, load_model(options.model, chosen))
    limits = f"brain DSC >= {BRAIN_DSC}, maps {MAP_LARGEST} of the threshold apart, DSC within {LESION_DSC}"
    print(f"\nlimits ({limits}): {'met' if within else 'MISSED'}")
    return within


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, default=DATA / "raw")
    parser.add_argument("--cases", type=Path, default=DATA / "tumour" / "val")
    parser.add_argument("--count", type=int, default=2, help="prepared cases (default 2)")
    parser.add_argument("--model", default="tsgm")
    parser.add_argument("--threads", type=int)
    sys.exit(0 if main(parser.parse_args()) else 1)
