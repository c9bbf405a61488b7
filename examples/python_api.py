"""The main job from Python: detect a case, look into the result, score it where a reference mask is known.

python examples/python_api.py sub01/ out/ [--model tsgm] [--raw] [--reference sub01_seg.nii.gz]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import braincli
from braincli.runtime.progress import PlainReporter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path, help="folder with one case's scans")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="tsgm")
    parser.add_argument("--raw", action="store_true", help="the scans have not been preprocessed")
    parser.add_argument("--reference", type=Path, help="known mask on the grid of the result")
    arguments = parser.parse_args()

    report = braincli.detect(
        arguments.case, arguments.out, reporter=PlainReporter(),
        model=arguments.model, preprocess=arguments.raw, anomaly_map=True, resume=True,
    )  # fmt: skip
    for result in report:
        for space, name in result.masks.items():
            print(f"{name}: {result.array('mask', space).sum()} voxels on {space or 'the grid of the scans'}")
        for lesion in result.lesion_table:
            x, y, z = lesion.centroid_mm
            print(f"  lesion {lesion.lesion}: {lesion.volume_ml:.1f} ml at ({x:.0f}, {y:.0f}, {z:.0f}) mm RAS")
        if arguments.reference:
            print(braincli.score(report, {result.case: arguments.reference}).as_table())


if __name__ == "__main__":
    main()
