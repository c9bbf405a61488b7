"""DSC and AUPRC of a diffusion model against network calls per slice, as a Markdown table.

python benchmarks/samplers.py --model tsgm                    few-step samplers on whole cases
python benchmarks/samplers.py --model tsgm --slow             and the paper's 2,000 calls; all rows on every 8th slice
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from validation import Row, Rows, dsc, evidence, figures, load_model, markdown, parser, read, with_settings

from braincli.diffusion.samplers import calls

WITHIN = 0.01  # of the reference's mean DSC
FEW: list[tuple[str, tuple[int, ...]]] = [
    ("dpm-solver-2m", (4, 5, 8, 10, 15, 20, 50)),
    ("heun", (2, 4, 5, 8, 10, 25)),
    ("ddim", (5, 10, 20, 50)),
    ("ancestral", (20, 50)),
    ("predictor-corrector", (10, 25)),
]
SLOW: list[tuple[str, tuple[int, ...]]] = [
    ("predictor-corrector", (50, 100, 1000)),
    ("reverse-diffusion", (100, 1000)),
]


def settings(slow: bool) -> Iterator[dict[str, Any]]:
    """Sampler and steps of every row, the reference last."""
    for sampler, steps in FEW + (SLOW if slow else []):
        for count in steps:
            yield {"sampler": sampler, "steps": count}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--slow", action="store_true", help="also samplers with many calls, 2,000 among them")
    given = options.parse_args()
    given.every = given.every or (8 if given.slow else 1)
    model = load_model(given.model, given)
    rows = Rows(given.cache, model, given)
    subjects = read(model, given)

    def compute(what: Row) -> Row:
        found, seconds = evidence(with_settings(model, what), subjects, given.batch)
        return figures(found) | {"seconds": seconds}

    done: list[tuple[dict[str, Any], int, Row]] = []
    for what in settings(given.slow):
        row = rows.get({"benchmark": "samplers", **what}, partial(compute, what))
        done.append((what, calls(what["sampler"], what["steps"]), row))
        print(
            f"{what['sampler']:20} {done[-1][1]:5} calls  DSC {row['dsc']:.4f}  {row['seconds']:.1f} s", file=sys.stderr
        )
    done.sort(key=lambda row: row[1])
    every = f"one slice in {given.every} of " if given.every > 1 else ""
    print(f"{model.info.name}: {every}{len(subjects)} cases, cross-fitted\n")
    table = [
        (what["sampler"], count, dsc(row), f"{row['auprc']:.3f}", f"{row['seconds']:.1f}") for what, count, row in done
    ]
    print(markdown(("sampler", "calls", "DSC (halves)", "AUPRC", "s per case"), table))
    reference = done[-1][2]["dsc"]
    near = [(what, count) for what, count, row in done if row["dsc"] >= reference - WITHIN]
    what, count = near[0]
    print(f"\nFewest calls within {WITHIN} of {done[-1][1]} calls: {count} ({what['sampler']}, {what['steps']} steps)")


if __name__ == "__main__":
    main()
