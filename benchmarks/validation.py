"""What the benchmarks of models share: a cohort with masks read once, cross-fitted figures, rows that are kept.

Cross-fitted: contrast weights, threshold and smallest lesion come from one half of the cases, the figure from the
other.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from braincli.calibration.evidence import Evidence, refuse_trained
from braincli.calibration.fit import case_dsc, cross_calibrate
from braincli.calibration.units import highest
from braincli.detection.maps import channels
from braincli.detection.restore import restore
from braincli.imaging.cases import CONTRASTS, Case, find_cases, sound
from braincli.imaging.slices import Slices, load_case
from braincli.imaging.volume import load, mask_on_grid_of, reorient
from braincli.model.folder import LoadedModel, load_model
from braincli.model.info import Calibration
from braincli.runtime import device, files
from braincli.scoring.curves import curve

VAL = Path("../shared/data/tumour/val")
Row = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A case, cut into slices (every n-th only), with its lesion there: ``reference`` (X, Y, Z) bool in RAS order."""

    case: Case
    slices: Slices
    reference: np.ndarray


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all of them have."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--model", default="tsgm", help="name or folder")
    arguments.add_argument("--data", type=Path, default=VAL, help="cohort with masks that the model has not seen")
    arguments.add_argument("--every", type=int, help="only every n-th slice, in all rows alike")
    arguments.add_argument("--batch", type=int, default=16)
    arguments.add_argument("--device", default="auto")
    arguments.add_argument("--threads", type=int)
    arguments.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "braincli-rows.json",
                       help="finished rows are kept here and not computed again")  # fmt: skip
    return arguments


def chosen_model(name: str, options: argparse.Namespace) -> LoadedModel:
    """The model on the chosen device."""
    return load_model(name, device.prepare(options.device, options.threads))


def read(model: LoadedModel, options: argparse.Namespace) -> list[Subject]:
    """The cohort, as ``model`` wants its slices."""
    spec = model.info.slices
    cases = sound(find_cases(options.data))
    refuse_trained(cases, model.info)
    subjects = []
    for case in cases:
        slices, _ = load_case(replace(case, lesion=None), spec, stride=model.method.stride)
        assert case.lesion is not None, f"{case.id} has no mask"
        labels = load(case.lesion, labels=True)
        reference = reorient(mask_on_grid_of(labels, slices.grid)[0]).data > 0
        subjects.append(Subject(case, *_every(slices, reference, options.every or 1)))
    return subjects


def _every(slices: Slices, reference: np.ndarray, step: int) -> tuple[Slices, np.ndarray]:
    """Every ``step``-th slice from the middle of a step on; brain and lesion elsewhere do not count."""
    rows = np.arange(step // 2, len(slices.index), step)
    planes = np.zeros(reference.shape[2], dtype=bool)
    planes[slices.shown_planes(np.isin(np.arange(len(slices.index)), rows))] = True
    z, y, x = slices.spacing
    kept = replace(slices.rows_of(rows), brain_volume=slices.brain_volume & planes, spacing=(z * step, y, x))
    return kept, reference & planes


def with_settings(model: LoadedModel, settings: Row) -> LoadedModel:
    """``model`` with other options of its method, of those that need no other weights."""
    method = model.method
    old = method.config
    new = type(old).model_validate(old.model_dump() | settings)
    for name, value in list(vars(method).items()):  # classes keep it under names of their own as well
        if value is old:
            setattr(method, name, new)
    return model


def evidence(model: LoadedModel, subjects: Sequence[Subject], batch: int) -> tuple[list[Evidence], float]:
    """What calibration needs of each subject, and the seconds that restoring took per case (CPU time on a CPU)."""
    collected, seconds = [], 0.0
    clock = time.process_time if model.device.type == "cpu" else time.perf_counter
    spec = model.info.slices
    for subject in subjects:
        begin = clock()
        result = restore(subject.slices, model, case_id=subject.case.id, batch=batch)
        seconds += clock() - begin
        lesion = subject.slices.to_canvas(subject.reference, spec) > 0.5
        maps = channels(result, model.info.map)
        collected.append(Evidence(subject.case, subject.slices, maps, lesion, subject.reference))
    return collected, seconds / len(subjects)


def figures(
    cases: Sequence[Evidence], fit: Callable[[Sequence[Evidence]], dict[str, Calibration]] | None = None
) -> Row:
    """Means over cases of DSC and AUPRC, and the DSC of each case.

    Args:
        fit: calibrations by case id; by default cross-fitted ones.
    """
    fitted = (fit or cross_calibrate)(cases)
    overlap = {e.case.id: round(case_dsc(e, fitted[e.case.id]), 4) for e in cases}
    areas = [
        curve(score=e.anomaly(fitted[e.case.id].weights), ref=e.reference, domain=e.slices.brain_volume).auprc()
        for e in cases
    ]
    known = [area for area in areas if area is not None]
    return {"dsc": float(np.mean(list(overlap.values()))), "auprc": float(np.mean(known)), "cases": overlap}


def fixed_weights(weights: dict[Any, float]) -> Callable[[Sequence[Evidence]], dict[str, Calibration]]:
    """Cross-fitting in which only the threshold is fitted; weights are given, the smallest lesion is the fitted one."""

    def fit(cases: Sequence[Evidence]) -> dict[str, Calibration]:
        from braincli.calibration.search import edges, present_only

        learned, top = cross_calibrate(cases), highest(cases)
        vector = np.array([[weights[c] for c in CONTRASTS]], dtype=np.float32)
        result = {}
        for e in cases:
            half = [other for other in cases if learned[other.case.id] is not learned[e.case.id]]
            curves = [other.dsc(present_only(vector, other.slices.contrasts), top)[0] for other in half]
            threshold = float(edges(top)[int(np.mean(curves, axis=0).argmax())])
            result[e.case.id] = learned[e.case.id].model_copy(update={"weights": weights, "threshold": threshold})
        return result

    return fit


def dsc(row: Row) -> str:
    """Mean DSC, and that of each half of the cases in order of id."""
    values = [value for _, value in sorted(row["cases"].items())]
    middle = len(values) // 2
    return f"{row['dsc']:.3f} ({np.mean(values[:middle]):.2f}, {np.mean(values[middle:]):.2f})"


class Rows:
    """Finished rows by what they depend on, in a JSON file: a benchmark that was stopped goes on where it was."""

    def __init__(self, path: Path, model: LoadedModel, options: argparse.Namespace) -> None:
        self.path = path
        known = model.info
        self.base: list[Any] = [sorted(known.weights.values()), known.map.model_dump(), str(options.data.resolve())]
        self.base.append(options.every or 1)
        self.kept: dict[str, Row] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def get(self, what: Row, compute: Callable[[], Row]) -> Row:
        """The row of ``what``, computed unless it is kept."""
        key = hashlib.sha256(json.dumps([*self.base, what], sort_keys=True).encode()).hexdigest()[:16]
        if key not in self.kept:
            self.kept[key] = compute() | {"what": what}
            files.write_json(self.path, self.kept)
        return self.kept[key]


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
