"""Tables of the protocols: scores of models and folds, and the error of restored healthy scans.

tables.py table SCORES          one row per method and data set: mean and standard deviation over folds
tables.py l1 RESULTS FILE       mean |scan - restoration| of the residuals that detect --residual wrote
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from statistics import mean, stdev

import nibabel as nib
import numpy as np

COLUMNS = {"dsc": "Dice", "best_dsc": "best Dice, case by case", "auprc": "AUPRC", "precision": "precision",
           "recall": "recall", "hd95_mm": "HD95/mm"}  # fmt: skip


def table(scores: Path) -> str:
    """Markdown; figures are means over cases, then over folds (``model-fold-0`` and so on are one row)."""
    rows: dict[tuple[str, str], dict[str, list[float]]] = {}
    for file in sorted(scores.glob("*/*/*.json")):
        key = (file.parts[-3], re.sub(r"-fold-\d+$", "", file.parts[-2]))
        for name, value in (_scores if file.name == "scores.json" else json.loads)(file.read_text()).items():
            rows.setdefault(key, {}).setdefault(name, []).append(value)
    names = [*COLUMNS, "l1"] if any("l1" in row for row in rows.values()) else [*COLUMNS]
    lines = [
        "| data | model | folds | " + " | ".join(COLUMNS.get(name, "L1 of healthy (1e-3)") for name in names) + " |"
    ]
    lines.append("|---" * (3 + len(names)) + "|")
    for (data, model), row in rows.items():
        cells = [_cell(row.get(name, []), 1000 if name == "l1" else 1) for name in names]
        lines.append(f"| {data} | {model} | {max(map(len, row.values()))} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _scores(text: str) -> dict[str, float]:
    """braincli's own means over cases; a case without a mask counts as missed where that has a meaning."""
    aggregate = json.loads(text)["aggregate"]
    means = {name: aggregate.get(name, {}).get("mean") for name in COLUMNS}
    return {name: value for name, value in means.items() if value is not None}


def _cell(values: list[float], scale: int = 1) -> str:
    if not values:
        return "-"
    spread = f" ± {scale * stdev(values):.3f}" if len(values) > 1 else ""
    return f"{scale * mean(values):.3f}{spread}"


def l1(results: Path) -> dict[str, float]:
    """Mean of the residuals over whole volumes, as Behrendt et al. 2023 have it (of shares of the intensity range)."""
    files = sorted(results.rglob("*residual-*.nii.gz"))
    if not files:
        raise SystemExit(f"{results.name} holds no residuals.")
    return {"l1": mean(float(np.mean(np.asarray(nib.load(file).dataobj))) for file in files)}


def main() -> None:
    verb, *paths = sys.argv[1:]
    if verb == "table":
        print(table(Path(paths[0])))
        return
    target = Path(paths[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(l1(Path(paths[0]))) + "\n")


if __name__ == "__main__":
    main()
