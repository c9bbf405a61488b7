"""The model card: ``README.md`` of a model folder, written from ``model.json``.

What stands below the line :data:`NOTES` is written by hand and survives; so does a whole page that was there before.
"""

from __future__ import annotations

from pathlib import Path

from braincli import RESEARCH_USE_ONLY
from braincli.methods.registry import METHODS
from braincli.model.info import WORTHLESS, Healthy, ModelInfo, Provenance
from braincli.model.normal import file_of
from braincli.runtime import files
from braincli.spec import SliceSpec
from braincli.wording import counted

NOTES = "<!-- notes: what stands below is kept when the card is written again -->"


def write_card(folder: Path, info: ModelInfo) -> None:
    """Write or renew ``folder/README.md``."""
    path = folder / "README.md"
    files.write_text(path, render(info) + NOTES + _kept(path))


def _kept(path: Path) -> str:
    """What stands below NOTES; all of it where it is no card of ours. A link is replaced, what it leads to stays."""
    if path.is_symlink() or not path.is_file():
        return "\n"
    text = path.read_text(encoding="utf-8", errors="replace")
    _, ours, below = text.partition(NOTES)
    return below if ours else f"\n\n{text}"


def render(info: ModelInfo) -> str:
    """The card in Markdown."""
    method = METHODS[info.method]
    parts = [
        f"# {info.name}\n",
        f"{method.summary[0].upper()}{method.summary[1:]} ({method.paper}). {RESEARCH_USE_ONLY}\n",
        _input(info),
        _training(info),
        _calibration(info),
    ]
    return "\n".join(part for part in parts if part)


def _input(info: ModelInfo) -> str:
    spec = info.slices
    return "\n".join(
        [
            "## Input and output\n",
            f"Skull-stripped scans on one grid, any of {', '.join(info.contrasts)}; axial slices at "
            f"{spec.pixel_mm:g} mm{_planes(spec)}, normalised per volume inside the brain ({spec.normalisation}). "
            "Out: restorations in [0, 1], anomaly map, mask.\n",
            "| | |\n|---|---|",
            f"| method, preset | `{info.method}`, `{info.preset}` |",
            f"| parameters | {info.parameters:,} |",
            f"| map | {_map(info)} |",
            f"| licence | {info.licence} |\n",
        ]
    )


def _training(info: ModelInfo) -> str:
    training = info.training
    if not training.cases:
        return "## Training\n\nNothing is trained.\n"
    compute = "" if training.compute_minutes is None else f", {training.compute_minutes:g} of compute time in all"
    begun = ""
    if before := training.init:
        begun = (
            f" It began with the weights of `{before.name}` ({_steps(before.steps)}), whose cases are among those "
            "named."
        )
    judged = ""
    if training.best:
        steps = ", ".join(f"{stage} at step {one.step:,}" for stage, one in training.best.items())
        judged = f" The weights are those that {', '.join(training.validation)} found best: {steps}."
    stopped = f" It stopped before its end: left are {_steps(training.left)} steps." if training.left else ""
    return "\n".join(
        [
            "## Training\n",
            f"{counted(training.slices or 0, 'slice')} of {counted(len(training.cases), 'case')} "
            f"({', '.join(training.cases)}); steps: {_steps(training.steps)}; "
            f"{training.minutes or 0:g} minutes of wall time in the last run{compute}.{begun}{judged}{stopped}\n",
        ]
    )


def _steps(by_stage: dict[str, int]) -> str:
    return ", ".join(f"{stage} {count:,}" for stage, count in by_stage.items())


def _calibration(info: ModelInfo) -> str:
    c = info.calibration
    if c is None:
        nothing = ["Not calibrated yet: `braincli calibrate --model ... --data ...`\n"]
        return "\n".join(["## Calibration\n", *_normal(info), *(_subsets(info) or nothing)])
    names = [str(name) for name in info.contrasts if c.weights]
    cells = [*(f"{c.weights[name]:.2f}" for name in info.contrasts if c.weights), f"{c.threshold:.4f}"]
    facts = c.provenance
    lines = [
        "## Calibration\n",
        f"| {' | '.join([*names, 'threshold', 'smallest lesion'])} |",
        "|---" * (len(names) + 2) + "|",
        f"| {' | '.join(cells)} | {c.min_lesion_mm3:g} mm3 |\n",
        f"Fitted on {', '.join(facts.cases)} (objective: {facts.objective or '?'})"
        + (
            f"; mean DSC {facts.dsc_fitted:.3f} on these very cases: optimistic."
            if facts.dsc_fitted is not None
            else "."
        )
        + (f" {facts.false_positive_rate:.2%} of healthy brain lie above." if facts.false_positive_rate else "")
        + "\n",
    ]
    if c.rises_from is not None:
        lines.append(
            "The threshold rises with the root of a scan's own level (99th percentile of its map in the brain), from a "
            f"level of {c.rises_from:.4f} on.\n"
        )
    lines += _normal(info)
    if facts.cross_fit is not None:
        lines += ["Cross-fitted (each half reported with values fitted on the other):\n", "| case | DSC |\n|---|---|"]
        lines += [f"| {case} | {dsc:.3f} |" for case, dsc in facts.cross_fit.items()]
        lines += [f"| **mean** | **{facts.dsc_cross_fit:.3f}** |\n"]
    return "\n".join([*lines, *_lesion_wise(facts), *_bound(facts), *_subsets(info), *_healthy(facts.healthy)])


def _subsets(info: ModelInfo) -> list[str]:
    """What was fitted for scans that lack contrasts."""
    if not info.subsets:
        return []
    lines = [
        "Scans that have these contrasts alone get values of their own, fitted on the same cases cut down to them "
        "(cross-fitted: each half with values fitted on the other). Other scans are judged by the set that keeps most "
        f"of the weight above; where none is left, or it reached less than {WORTHLESS:g}, they are refused. Without "
        "weights the map is the method's score, or its suspicion alone.\n",
        "| contrasts | weights | threshold | smallest lesion | DSC, fitted | DSC, cross-fitted | in the healthy |",
        "|---" * 7 + "|",
    ]
    for name, c in sorted(info.subsets.items(), key=lambda item: (-item[0].count("+"), item[0])):
        weights = ", ".join(f"{w:.2f}" for w in c.weights.values()) or "none"
        dsc = (c.provenance.dsc_fitted, c.provenance.dsc_cross_fit)
        figures = " | ".join("n/a" if value is None else f"{value:.3f}" for value in dsc)
        healthy = _marked(c.provenance) or "n/a"
        lines.append(f"| {name} | {weights} | {c.threshold:.4f} | {c.min_lesion_mm3:g} mm3 | {figures} | {healthy} |")
    return [*lines, ""]


def _normal(info: ModelInfo) -> list[str]:
    """What suspicion is measured against."""
    if info.normal is None:
        return []
    cases = ", ".join(info.normal.cases)
    return [
        "Suspicion is measured against what healthy tissue at the same place of a brain is suspected of "
        f"(`{file_of(info.normal.sha256)}`), in {counted(len(info.normal.cases), 'case')}: {cases}.\n"
    ]


def _lesion_wise(facts: Provenance) -> list[str]:
    """Lesion-wise F1, where that was fitted."""
    if facts.lesion_f1_fitted is None:
        return []
    crossed = "" if facts.lesion_f1_cross_fit is None else f", cross-fitted {facts.lesion_f1_cross_fit:.3f}"
    return [f"Lesion-wise F1 {facts.lesion_f1_fitted:.3f} on these cases{crossed}.\n"]


def _bound(facts: Provenance) -> list[str]:
    """What healthy people allowed."""
    if facts.bound is None:
        return []
    cases = ", ".join(facts.bound.images)
    return [f"Bounded by {facts.bound.limit_ml:g} ml in healthy people ({cases}): {_marked(facts)}.\n"]


def _marked(facts: Provenance) -> str:
    """What is marked in healthy people as a mean, and what the bound cost; empty where none bounded the fit."""
    bound = facts.bound
    if bound is None:
        return ""
    words = f"{bound.mean_ml:.2f} ml"
    if bound.mean_ml_cross_fit is not None:
        words += f" (cross-fitted {bound.mean_ml_cross_fit:.2f})"
    if bound.dsc_without is not None and facts.dsc_fitted is not None:
        words += f"; costs {bound.dsc_without - facts.dsc_fitted:.3f} of DSC, threshold {bound.threshold_without:.4f}"
        words += " without"
    return words


def _healthy(marked: dict[str, Healthy]) -> list[str]:
    """What is marked where nothing is to be found."""
    if not marked:
        return []
    lines = [
        "Healthy tissue (slices two or more away from a lesion, and healthy people): what is marked there is false.\n",
        "| case | slices | brain, ml | marked, ml | map, mean | map, 99th percentile |\n|---|---|---|---|---|---|",
    ]
    for case, f in marked.items():
        lines.append(
            f"| {case} | {f.slices} | {f.brain_ml:.0f} | {f.mask_ml:.2f} | {f.map_mean:.4f} | {f.map_p99:.4f} |"
        )
    return [*lines, ""]


def _map(info: ModelInfo) -> str:
    o = info.map
    filters = [f"median of {o.median} pixels"] if o.median > 1 else []
    filters += [f"smoothed with {o.smooth_mm:g} mm", f"brain eroded by {o.erode_mm:g} mm"]
    return f"{o.residual} residuals (or the method's score), {', '.join(filters)}"


def _planes(spec: SliceSpec) -> str:
    """Distance and range of the slices, where they are not the scan's own and all."""
    apart = "" if spec.slice_mm == "own" else f", {spec.slice_mm:g} mm apart"
    return apart + ("" if spec.range == "all" else f", of these {spec.range[0]} to {spec.range[1]} from the bottom")
