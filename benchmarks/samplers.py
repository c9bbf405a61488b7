"""DSC, AUPRC and seconds of a diffusion model against its chain, the paper's included, as a Markdown table.

python benchmarks/samplers.py --model tsgm                    few-step samplers on whole cases
python benchmarks/samplers.py --model tsgm --slow             and the paper's 2,000 calls; all rows on every 8th slice

Every row is a setting that ``train --set`` knows; the last one is the paper's. All rows have the same weights. Seconds
are CPU time on a CPU; of slices left out they are scaled up in the last column.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from validation import Row, Rows, chosen_model, dsc, evidence, figures, markdown, parser, read, with_settings

WITHIN = 0.01  # of the reference's mean DSC
Settings = dict[str, Any]


def each(sampler: str, *steps: int, **settings: Any) -> list[Settings]:
    """One row per number of steps."""
    return [{"sampler": sampler, "steps": count} | settings for count in steps]


def noisy(*levels: tuple[int, ...]) -> list[Settings]:
    """One row per set of levels that restorations are averaged over."""
    return [{"levels": chosen} for chosen in levels]


ELSEWHERE = [(350,), (250, 500, 750)]  # one level; the paper's three
FEW: dict[str, list[Settings]] = {
    "tsgm": [
        *each("dpm-solver-2m", 4, 5, 8, 10, 15, 20, 50), *each("heun", 2, 4, 5, 8, 10, 25),
        *each("ddim", 5, 10, 20, 50),
        *each("ancestral", 20, 50), *each("predictor-corrector", 10, 25),
    ],
    "anoddpm": [
        *noisy((250,), (500,)), *each("dpm-solver-2m", 5, 10, mode="iterative", levels=(250,)),
        *each("ancestral", 25, mode="iterative", levels=(250,)),
    ],
    "pddpm": [*noisy((250,), (500,)), {"sizes": (60,)}, {"sizes": (48, 60), "levels": (400, 500)}],
    **dict.fromkeys(("cddpm", "sadm", "sadm-res", "unet-res"), noisy(*ELSEWHERE)),
    "dpm-classifier": [{"steps": 8}, {"steps": 16}, {"steps": 50}, {"chain": "ddpm", "steps": 50}],
    "dpm-classifier-free": [{"steps": 8}, {"steps": 14}, {"steps": 50}],
    "diffseg": [*each("ddim", 4, 20), *each("dpm-solver-2m", 8, 20), *each("ancestral", 50)],
}  # fmt: skip
SLOW: dict[str, list[Settings]] = {
    "tsgm": [*each("predictor-corrector", 50, 100), *each("reverse-diffusion", 100, 1000),
             *each("predictor-corrector", 1000)],
    "anoddpm": each("ancestral", 250, mode="iterative", levels=(250,)),
    "dpm-classifier": [{"level": 500, "steps": 500}],
    "dpm-classifier-free": [{"level": 750, "steps": 75, "scale": 3.0}],
    "diffseg": each("ancestral", 1000, ensemble=5),
}  # fmt: skip


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--slow", action="store_true", help="also chains with many calls, the paper's among them")
    given = options.parse_args()
    given.every = given.every or (8 if given.slow else 1)
    model = chosen_model(given.model, given)
    name = model.info.method
    if name not in FEW:
        raise SystemExit(f"{name} runs no chain; there are {', '.join(FEW)}")
    rows = Rows(given.cache, model, given)
    subjects = read(model, given)
    own = model.method.config.model_dump()

    def compute(what: Settings) -> Row:
        changed = with_settings(model, own | what)
        cases, seconds = evidence(changed, subjects, given.batch)
        return figures(cases) | {"seconds": seconds, "calls": changed.method.calls()}

    table = []
    for what in [{}, *FEW[name], *(SLOW.get(name, []) if given.slow else [])]:
        row = rows.get({"benchmark": "samplers", **what}, partial(compute, what))
        table.append((words(what), row))
        print(f"{table[-1][0]}: {row['calls']} calls, DSC {row['dsc']:.4f}, {row['seconds']:.1f} s", file=sys.stderr)
    every = f"one slice in {given.every} of " if given.every > 1 else ""
    print(f"{model.info.name}: {every}{len(subjects)} cases, cross-fitted\n")
    lines = [
        (said, row["calls"], dsc(row), f"{row['auprc']:.3f}", f"{row['seconds']:.1f}",
         f"{row['seconds'] * given.every:.0f}")
        for said, row in table
    ]  # fmt: skip
    print(markdown(("settings", "calls", "DSC (halves)", "AUPRC", "s", "s, whole case"), lines))
    last = table[-1][1]
    calls, said = min((row["calls"], said) for said, row in table if row["dsc"] >= last["dsc"] - WITHIN)
    print(f"\nFewest calls within {WITHIN} of {last['calls']} calls: {calls} ({said})")


def words(settings: Settings) -> str:
    """As one would type them."""
    return " ".join(f"{key}={value}".replace(" ", "") for key, value in settings.items()) or "as it is"


if __name__ == "__main__":
    main()
