"""The leaderboard of ``benchmarks/leaderboard.py``: results of many methods on the same cases -> Markdown.

A result is the content of a ``result.json``: ``name``, ``method``, ``shipped``, ``status`` (``done``, or ``failed``
with a ``reason``), ``plan`` (preset, minutes, seed, unlabelled, and folds where there are any), ``given`` (of shipped
models), ``external`` (what was run, of a row from outside: ``nnunet.py``), ``cases`` (figures of
:meth:`braincli.calibration.crossfit.CrossFitted.figures` by id), timings, sizes and what training recorded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from braincli import RESEARCH_USE_ONLY
from braincli.errors import UsageError
from braincli.methods import registry
from braincli.scoring.statistics import bootstrap_interval, sign_flip_test

Result = dict[str, Any]
BASELINE = "threshold"


def learns_outlines(method: str) -> bool:
    """Whether lesion masks are what ``method`` learns, not only tissue that it leaves out."""
    return registry.spec(method).supervision.outlines


def is_ours(result: Result) -> bool:
    """Whether a method of braincli was trained for this table: neither shipped nor from outside."""
    return not result["shipped"] and "external" not in result


def results(work: Path) -> list[Result]:
    """All results, the highest mean DSC first, failures last."""
    loaded = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(work.glob("*/result.json"))]
    return sorted(loaded, key=lambda r: -mean(r, "dsc") if r["status"] == "done" else 1.0)


def values(result: Result, figure: str) -> np.ndarray:
    """(N,) ``figure`` of the cases that define it, in order of id."""
    cases = result["cases"]
    return np.array([cases[case][figure] for case in sorted(cases) if cases[case][figure] is not None], dtype=float)


def mean(result: Result, figure: str) -> float:
    """Mean of ``figure`` over the cases that define it; NaN where none does."""
    defined = values(result, figure)
    return float(defined.mean()) if len(defined) else float("nan")


HEADINGS = (
    "method", "DSC", "95 %", "best DSC", "AUPRC", "HD95, mm", "healthy FP, ml", "s / case (CPU s)", "calls / slice",
    "parameters", "compute minutes", "steps", f"p against `{BASELINE}`",
)  # fmt: skip


def row(result: Result, baseline: Result | None) -> list[str]:
    """The cells of one result."""
    label = f"`{result['method']}`"
    training = result.get("training", {})
    if result["shipped"]:
        minutes = result["given"].get("minutes") or training.get("compute_minutes") or training.get("minutes") or 0
        label += f" (shipped in `models/`, {minutes:g} min of its own training)"
    if "external" in result:
        label += f" ({result['external']}; {len(result['cases'])} cases, its own threshold)"
    if result["status"] != "done":
        return [label, f"failed: {result['reason']}".replace("|", "/"), *[""] * (len(HEADINGS) - 2)]
    interval = bootstrap_interval(values(result, "dsc"))
    distances = values(result, "hd95_mm")
    missing = len(result["cases"]) - len(distances)
    hd95 = f"{distances.mean():.1f}" if len(distances) else "n/a"
    minutes = training.get("compute_minutes") or (0 if not result["training_cases"] else None)
    return [
        label,
        f"**{mean(result, 'dsc'):.3f}**",
        f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "n/a",
        f"{mean(result, 'best_dsc'):.3f}",
        f"{mean(result, 'auprc'):.3f}",
        hd95 + (f" ({missing} undefined)" if missing else ""),
        f"{mean(result, 'healthy_fp_ml'):.2f}",
        f"{result['seconds_per_case']:.1f} ({result['cpu_seconds_per_case']:.1f})",
        f"{result['calls']}",
        f"{result['parameters']:,}",
        "n/a" if minutes is None else f"{minutes:.1f}",
        ", ".join(f"{stage} {count:,}" for stage, count in training.get("steps", {}).items()) or "none",
        p_value(result, baseline),
    ]


def p_value(result: Result, baseline: Result | None) -> str:
    """Two-sided p of the paired sign-flip test on the DSC, where both know the same cases."""
    if baseline is None or result["name"] == baseline["name"] or set(result["cases"]) != set(baseline["cases"]):
        return ""
    test = sign_flip_test(values(result, "dsc"), values(baseline, "dsc"))
    return f"{test.p:.3f} ({test.difference:+.3f})" if test else ""


def table(entries: Sequence[Result]) -> str:
    """``LEADERBOARD.md`` from :func:`results`.

    Raises:
        UsageError: there is none.
    """
    done = [r for r in entries if r["status"] == "done"]
    if not entries:
        raise UsageError("There is no result yet.", "Run the leaderboard with --models first.")
    baseline = next((r for r in done if r["name"] == BASELINE), None)
    parts = [*_preface(entries, done), *_rows(entries, baseline), "", *_per_case(done), *_legend(done)]
    return "\n".join(["# Leaderboard\n", *parts]) + "\n"


def _preface(entries: Sequence[Result], done: Sequence[Result]) -> list[str]:
    budgets = sorted({(r["plan"]["preset"], r["plan"]["minutes"]) for r in entries if is_ours(r)})
    what = "; ".join(f"preset `{preset}`, {minutes:g} compute minutes each" for preset, minutes in budgets)
    cases = _judged(done)
    judged = (
        f"{cases} validation cases, cross-fitted: threshold, contrast weights and smallest lesion are fitted on one "
        "half (in order of id) and reported on the other."
    )
    if count := next((r["plan"]["folds"] for r in entries if r["plan"].get("folds")), None):
        judged = (
            f"{cases} labelled cases, cross-validated in {count} folds (in order of id): each is judged once, by a "
            "model that two thirds of the other folds' cases trained, with threshold, contrast weights and smallest "
            "lesion of the last third. Every training had the whole budget."
        )
    return [
        f"{RESEARCH_USE_ONLY} Written by `benchmarks/leaderboard.py`.\n",
        f"{what or 'Nothing was trained for this table'}. {judged}\n",
        *_missing(entries),
    ]


def _judged(done: Sequence[Result]) -> int:
    """How many cases judge; those of rows from outside where there are no others."""
    inside = [r for r in done if "external" not in r]
    return max((len(r["cases"]) for r in inside or done), default=0)


def _missing(entries: Sequence[Result]) -> list[str]:
    """Methods without a row."""
    names = [f"`{name}`" for name in registry.METHODS if name not in {r["method"] for r in entries}]
    return [f"Not run yet: {', '.join(names)}.\n"] if names else []


def _per_case(done: Sequence[Result]) -> list[str]:
    """DSC of each case."""
    ids = sorted({case for r in done for case in r["cases"]})
    lines = ["## DSC by case\n", "| method | " + " | ".join(ids) + " |", "|---" * (len(ids) + 1) + "|"]
    for r in done:
        cells = [f"{r['cases'][case]['dsc']:.3f}" if case in r["cases"] else "" for case in ids]
        lines.append("| " + " | ".join([f"`{r['name']}`", *cells]) + " |")
    return [*lines, ""]


def _legend(done: Sequence[Result]) -> list[str]:
    count = _judged(done)
    smallest = 2 / 2**count
    verdict = ": no difference can be significant at 5 %" if smallest > 0.05 else ""
    experts = [f"`{r['method']}`" for r in done if "external" in r or learns_outlines(r["method"])]
    exempt = f" {', '.join(experts)}: only the cases with expert masks, because outlines are learnt." if experts else ""
    lines = [
        "## What the columns mean\n",
        "- **DSC**: mean over cases, on the scan's own grid; **95 %**: percentile bootstrap of that mean over cases.",
        "- **best DSC**: best possible, the threshold being chosen on each case's own reference: an upper bound.",
        "- **AUPRC**: average precision of the cross-fitted anomaly map inside the brain, mean over cases.",
        "- **HD95**: 95th-percentile Hausdorff distance of the cross-fitted masks; undefined where a mask is empty, "
        "and left out of the mean then.",
        "- **healthy FP**: ml of mask per case in slices two or more away from the reference.",
        "- **s / case**: reading, restoring and filtering one case, wall seconds; in parentheses CPU seconds "
        f"({_machine(done)}).",
        "- **compute minutes**: CPU time of the training (wall time on a GPU), the same budget for all; a preset's own "
        "number of steps may end it earlier. `n/a`: not recorded.",
        "- **p**: paired two-sided sign-flip test of the DSC (mean difference in parentheses), not corrected for the "
        f"number of methods. With {count} cases no p is below {smallest:.3g}{verdict}.",
        "- All methods learn from the same slices. Cases without expert mask come with generous masks of what looks "
        f"suspicious (`examples/exclude_suspects.py`): tissue to leave out, no truth.{exempt}",
        "- Options of the presets (levels, steps, shares of a stage) were chosen with validation cases in view, of "
        "some methods with more trials than of others: expect less on other cases.",
    ]
    if any("external" in r for r in done):
        lines.append(
            "- Rows from outside (`benchmarks/nnunet.py`) learn with their own planning, augmentation and threshold; "
            "nothing of them is calibrated, and they may be judged on other cases than the rest (see their row)."
        )
    if any(r["shipped"] for r in done):
        lines.append("- Shipped rows had their own, longer training, and choices made on these cases: see their cards.")
    return lines


def _machine(done: Sequence[Result]) -> str:
    return "; ".join(sorted({f"{r['device']}, {r['threads'] or 'all'} threads" for r in done}))


def card_notes(result: Result, verdict: tuple[Result, Result], data_note: str) -> str:
    """The notes of a shipped model's card, from what was measured and what ``data_note`` says of the data.

    Args:
        verdict: the model's row and the baseline's, by which it is shipped.
    """
    plan, training, cases = result["plan"], result["training"], result["training_cases"]
    judged, baseline = verdict
    where = "its cross-fitted DSC there"
    if count := judged["plan"].get("folds"):
        where = f"the DSC of its method over {len(judged['cases'])} cases in {count} folds"
    unlabelled = "--unlabelled MANIFEST " if plan["unlabelled"] else ""
    experts = ", only those with expert masks" if learns_outlines(result["method"]) else ""
    budget, seen = plan["minutes"], training.get("slices", 0)
    spent = f"{training.get('compute_minutes', 0):g} minutes of compute time ({result['device']})"
    lines = [
        "\n## How it was trained\n",
        f"    python benchmarks/leaderboard.py TRAIN {unlabelled}--val VAL --out WORK --models {result['method']} "
        f"--minutes {budget:g}\n",
        f"Preset `{plan['preset']}`, seed {plan['seed']}, {spent}, {seen:,} slices of {len(cases)} cases{experts}. "
        f"{data_note}\n",
        "Threshold, contrast weights and smallest lesion above were fitted on all validation cases. The model is "
        f"shipped because {where} beats that of `{BASELINE}`; nothing else was chosen on them.\n",
        "## On the leaderboard\n",
        *_rows((judged, baseline), baseline),
        "",
        "All methods, and what the columns mean: `models/LEADERBOARD.md`.\n",
        "## Two slices in numbers\n",
        *[f"- {words}" for words in result["slices_shown"]],
        "",
        "Masks are the cross-fitted ones; intensities are shares of the scan's range in the brain.\n",
        "## Limits\n",
        f"It learnt from the {len(cases)} cases named above, at 2 mm, within {budget:g} minutes of compute time: a "
        "baseline to compare with, not the best that the method can do.\n",
    ]
    return "\n".join(lines)


def _rows(entries: Sequence[Result], baseline: Result | None) -> list[str]:
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
    return lines + ["| " + " | ".join(row(r, baseline)) + " |" for r in entries]
