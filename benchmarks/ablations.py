"""The ablations of TSGM (Wang et al. 2023, Fig. 7 and Table III) in small, as Markdown tables: signal-to-noise ratio
and number of levels of the predictor-corrector, learned weights against equal ones, one contrast at a time against a
stack.

python benchmarks/ablations.py --model tsgm
python benchmarks/ablations.py --model tsgm --single FOLDER      FOLDER: trained with contrasts = "single"
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from validation import (
    Row,
    Rows,
    Subject,
    chosen_model,
    dsc,
    evidence,
    figures,
    fixed_weights,
    markdown,
    parser,
    read,
    with_settings,
)

from braincli.imaging.cases import CONTRASTS
from braincli.methods.presets import TSGM_WEIGHTS
from braincli.model.folder import LoadedModel

RATIOS, LEVELS = (0.01, 0.04, 0.075, 0.16, 0.3), (10, 25, 50, 100, 200)
AT_RATIO, AT_LEVELS = 0.075, 50  # what stays fixed while the other is varied
EVERY = 8


def sweep(model: LoadedModel, subjects: Sequence[Subject], rows: Rows, batch: int, many: bool) -> str:
    """Ratio and levels of the predictor-corrector."""
    before = model.method.config.model_dump()
    levels = (*LEVELS, 1000) if many else LEVELS
    points = [(ratio, AT_LEVELS) for ratio in RATIOS] + [(AT_RATIO, n) for n in levels if n != AT_LEVELS]
    table = []
    for ratio, count in points:
        what: Row = {"sampler": "predictor-corrector", "snr": ratio, "steps": count}

        def compute(what: Row = what) -> Row:
            return figures(evidence(with_settings(model, what), subjects, batch)[0])

        row = rows.get({"benchmark": "ablations", **what}, compute)
        table.append((ratio, count, dsc(row), f"{row['auprc']:.3f}"))
        print(f"snr {ratio}, N {count}: DSC {row['dsc']:.4f}", file=sys.stderr)
    with_settings(model, before)
    return markdown(("snr", "N", "DSC (halves)", "AUPRC"), table)


def fusion(model: LoadedModel, subjects: Sequence[Subject], rows: Rows, batch: int) -> str:
    """Learned weights, the paper's, equal ones, and each contrast alone; the restorations are the same."""

    def compute() -> Row:
        cases, _ = evidence(model, subjects, batch)
        paper = dict(zip(CONTRASTS, TSGM_WEIGHTS, strict=True))
        fixed = {"the paper's": paper, "equal": dict.fromkeys(CONTRASTS, 1 / len(CONTRASTS))}
        fixed |= {f"{c.value} alone": {other: float(other is c) for other in CONTRASTS} for c in CONTRASTS}
        return {"learned": figures(cases)} | {name: figures(cases, fixed_weights(w)) for name, w in fixed.items()}

    row = rows.get({"benchmark": "fusion"}, compute)
    names = [name for name in row if name != "what"]
    rows_of = [(name, dsc(row[name]), f"{row[name]['auprc']:.3f}") for name in names]
    return markdown(("weights", "DSC (halves)", "AUPRC"), rows_of)


def default(model: LoadedModel, given: argparse.Namespace) -> Row:
    """The model as it is."""
    return figures(evidence(model, read(model, given), given.batch)[0])


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--single", help="model of single contrasts, to compare")
    options.add_argument("--many", action="store_true", help="also N = 1,000")
    given = options.parse_args()
    given.every = given.every or EVERY
    model = chosen_model(given.model, given)
    subjects, rows = read(model, given), Rows(given.cache, model, given)
    print(f"{model.info.name}: one slice in {given.every} of {len(subjects)} cases, cross-fitted\n")
    print(fusion(model, subjects, rows, given.batch), end="\n\n")
    if given.single:
        other = chosen_model(given.single, given)
        table = []
        for name, each in ((f"stacked ({model.info.name})", model), (f"single ({other.info.name})", other)):
            row = Rows(given.cache, each, given).get({"benchmark": "contrasts"}, partial(default, each, given))
            table.append((name, dsc(row), f"{row['auprc']:.3f}"))
        print(markdown(("input", "DSC (halves)", "AUPRC"), table), end="\n\n")
    print(sweep(model, subjects, rows, given.batch, given.many))


if __name__ == "__main__":
    main()
