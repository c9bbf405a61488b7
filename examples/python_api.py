"""The main job from Python: detect a case, look into the result, score it where a reference mask is known.

python examples/python_api.py sub01/ out/ [--model tsgm] [--raw] [--reference sub01_seg.nii.gz]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import braincli
from braincli.config import DetectConfig
from braincli.imaging.volume import load
from braincli.runtime.progress import PlainReporter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path, help="folder with one case's scans")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="tsgm")
    parser.add_argument("--raw", action="store_true", help="the scans have not been preprocessed")
    parser.add_argument("--reference", type=Path, help="known mask on the grid of the result")
    arguments = parser.parse_args()

    config = DetectConfig(model=arguments.model, preprocess=arguments.raw, anomaly_map=True, resume=True)
    report = braincli.detect(arguments.case, arguments.out, config=config, reporter=PlainReporter())
    for result in report.cases:
        folder = arguments.out / result.case
        for space, name in result.masks.items():
            mask = load(folder / name, labels=True)
            print(f"{name}: {mask.data.sum() * mask.voxel_ml:.1f} ml on {space or 'the grid of the scans'}")
        table = json.loads((folder / f"{result.case}_lesions.json").read_text(encoding="utf-8"))
        for lesion in table["lesions"]:
            x, y, z = lesion["centroid_mm"]
            print(f"  lesion {lesion['lesion']}: {lesion['volume_ml']:.1f} ml at ({x:.0f}, {y:.0f}, {z:.0f}) mm RAS")
        if arguments.reference and "" in result.masks:
            scores = braincli.score(folder / result.masks[""], arguments.reference)
            print(scores.as_table())


if __name__ == "__main__":
    main()
