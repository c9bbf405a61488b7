"""The model card: ``README.md`` of a model folder, written from ``model.json``.

What stands below the line :data:`NOTES` is written by hand and survives.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from braincli import RESEARCH_USE_ONLY
from braincli.methods.registry import METHODS
from braincli.runtime import files

if TYPE_CHECKING:
    from braincli.model.info import ModelInfo

NOTES = "<!-- notes: what stands below is kept when the card is written again -->"


def write_card(folder: Path, info: ModelInfo) -> None:
    """Write or renew ``folder/README.md``."""
    path = folder / "README.md"
    kept = path.read_text(encoding="utf-8").partition(NOTES)[2] if path.exists() else "\n"
    files.write_text(path, render(info) + NOTES + kept)


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
            f"{spec['pixel_mm']:g} mm, normalised per volume inside the brain ({spec['normalisation']}). "
            "Out: restorations in [0, 1], anomaly map, mask.\n",
            "| | |\n|---|---|",
            f"| method, preset | `{info.method}`, `{info.preset}` |",
            f"| parameters | {info.parameters:,} |",
            f"| map | {_map(info)} |",
            f"| licence | {info.licence} |\n",
        ]
    )


def _training(info: ModelInfo) -> str:
    found = info.training
    if not found.get("cases"):
        return "## Training\n\nNothing is trained.\n"
    steps = ", ".join(f"{stage} {count:,}" for stage, count in found.get("steps", {}).items())
    names = ", ".join(found["cases"])
    compute = f", {found['compute_minutes']:g} of compute time in all" if "compute_minutes" in found else ""
    before = found.get("init", {})
    begun = ""
    if before:
        earlier = ", ".join(f"{stage} {count:,}" for stage, count in before["steps"].items())
        begun = f" It began with the weights of `{before['name']}` ({earlier}), whose cases are among those named."
    return "\n".join(
        [
            "## Training\n",
            f"{found.get('slices', 0):,} slices of {len(found['cases'])} cases ({names}); steps: {steps}; "
            f"{found.get('minutes', 0):g} minutes of wall time in the last run{compute}.{begun}\n",
        ]
    )


def _calibration(info: ModelInfo) -> str:
    c = info.calibration
    if c is None:
        return "## Calibration\n\nNot calibrated yet: `braincli calibrate --model ... --data ...`\n"
    names = [str(name) for name in info.contrasts if c.weights]
    cells = [*(f"{c.weights[name]:.2f}" for name in info.contrasts if c.weights), f"{c.threshold:.4f}"]
    facts = c.provenance
    lines = [
        "## Calibration\n",
        f"| {' | '.join([*names, 'threshold', 'smallest lesion'])} |",
        "|---" * (len(names) + 2) + "|",
        f"| {' | '.join(cells)} | {c.min_lesion_mm3:g} mm3 |\n",
        f"Fitted on {', '.join(facts.get('cases', []))} (objective: {facts.get('objective', '?')})"
        + (f"; mean DSC {facts['dsc_fitted']:.3f} on these very cases: optimistic." if "dsc_fitted" in facts else ".")
        + (f" {facts['false_positive_rate']:.2%} of healthy brain lie above." if "false_positive_rate" in facts else "")
        + "\n",
    ]
    if "cross_fit" in facts:
        lines += ["Cross-fitted (each half reported with values fitted on the other):\n", "| case | DSC |\n|---|---|"]
        lines += [f"| {case} | {dsc:.3f} |" for case, dsc in facts["cross_fit"].items()]
        lines += [f"| **mean** | **{facts['dsc_cross_fit']:.3f}** |\n"]
    return "\n".join([*lines, *_subsets(info), *_healthy(facts.get("healthy", {}))])


def _subsets(info: ModelInfo) -> list[str]:
    """What was fitted for scans that lack contrasts."""
    if not info.subsets:
        return []
    lines = [
        "Scans that have these contrasts alone get values of their own, fitted on the same cases cut down to them "
        "(last column: each half with values fitted on the other). All others get the values above.\n",
        "| contrasts | weights | threshold | smallest lesion | DSC, fitted | DSC, cross-fitted |",
        "|---" * 6 + "|",
    ]
    for name, c in sorted(info.subsets.items()):
        weights = ", ".join(f"{w:.2f}" for w in c.weights.values()) or "none"
        fitted, crossed = (c.provenance.get(key) for key in ("dsc_fitted", "dsc_cross_fit"))
        figures = " | ".join("n/a" if value is None else f"{value:.3f}" for value in (fitted, crossed))
        lines.append(f"| {name} | {weights} | {c.threshold:.4f} | {c.min_lesion_mm3:g} mm3 | {figures} |")
    return [*lines, ""]


def _healthy(found: dict[str, Any]) -> list[str]:
    """What is marked where nothing is to be found."""
    if not found:
        return []
    lines = [
        "Healthy tissue (slices two or more away from a lesion, and healthy people): what is marked there is false.\n",
        "| case | slices | brain, ml | marked, ml | map, mean | map, 99th percentile |\n|---|---|---|---|---|---|",
    ]
    for case, f in found.items():
        lines.append(
            f"| {case} | {f['slices']} | {f['brain_ml']:.0f} | {f['mask_ml']:.2f} | {f['map_mean']:.4f} | "
            f"{f['map_p99']:.4f} |"
        )
    return [*lines, ""]


def _map(info: ModelInfo) -> str:
    o = info.map
    filters = [f"median of {o.median} pixels"] if o.median > 1 else []
    filters += [f"smoothed with {o.smooth_mm:g} mm", f"brain eroded by {o.erode_mm:g} mm"]
    return f"{o.residual} residuals (or the method's score), {', '.join(filters)}"
