"""Tables of the protocols: ``tables.py table SCORES`` prints a row per method and data set, with the mean and the
standard deviation over folds of what ``braincli score`` found below the folder SCORES.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from statistics import mean, stdev

COLUMNS = {"dsc": "Dice", "best_dsc": "best Dice, case by case", "auprc": "AUPRC", "precision": "precision",
           "recall": "recall", "hd95_mm": "HD95/mm"}  # fmt: skip
L1 = "l1_volume"  # of healthy cases, as Behrendt et al. 2023 have it


def table(scores: Path) -> str:
    """Markdown; figures are means over cases, then over folds (``model-fold-0`` and so on are one row)."""
    rows: dict[tuple[str, str], dict[str, list[float]]] = {}
    for file in sorted(scores.glob("*/*/scores.json")):
        key = (file.parts[-3], re.sub(r"-fold-\d+$", "", file.parts[-2]))
        for name, value in _scores(file.read_text()).items():
            rows.setdefault(key, {}).setdefault(name, []).append(value)
    names = [*COLUMNS, L1] if any(L1 in row for row in rows.values()) else [*COLUMNS]
    lines = [
        "| data | model | folds | " + " | ".join(COLUMNS.get(name, "L1 of healthy (1e-3)") for name in names) + " |"
    ]
    lines.append("|---" * (3 + len(names)) + "|")
    for (data, model), row in rows.items():
        cells = [_cell(row.get(name, []), 1000 if name == L1 else 1) for name in names]
        lines.append(f"| {data} | {model} | {max(map(len, row.values()))} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _scores(text: str) -> dict[str, float]:
    """braincli's own means over cases; a case without a mask counts as missed where that has a meaning."""
    aggregate = json.loads(text)["aggregate"]
    means = {name: aggregate.get(name, {}).get("mean") for name in (*COLUMNS, L1)}
    return {name: value for name, value in means.items() if value is not None}


def _cell(values: list[float], scale: int = 1) -> str:
    if not values:
        return "-"
    spread = f" ± {scale * stdev(values):.3f}" if len(values) > 1 else ""
    return f"{scale * mean(values):.3f}{spread}"


def main() -> None:
    if len(sys.argv) != 3 or sys.argv[1] != "table":
        raise SystemExit("usage: tables.py table SCORES")
    print(table(Path(sys.argv[2])))


if __name__ == "__main__":
    main()
