"""One row of the leaderboard: a method trained within the budget, and judged on cases that nothing was fitted on.

Two ways to judge: on validation cases, cross-fitted (:func:`evaluate`), or by cross-validation over all labelled cases
(:func:`cross_validate`), in which every case is judged once by a model that was trained and calibrated without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from standings import learns_outlines

from braincli import api
from braincli.config import CalibrateConfig, TrainConfig
from braincli.errors import UsageError
from braincli.imaging.cases import Case, find_cases, sound
from braincli.methods import registry
from braincli.model.folder import LoadedModel, load_model, write_info
from braincli.runtime import device
from braincli.runtime.progress import PlainReporter

SAY = PlainReporter()
CALIBRATING = 3  # of the cases that a fold is not judged on, every so many calibrate, the others train


@dataclass(frozen=True)
class Plan:
    """What all methods have in common."""

    train: Path | None
    unlabelled: Path | None
    val: Path | None
    work: Path
    preset: str
    minutes: float
    seed: int
    threads: int | None
    device: str
    folds: int | None = None

    def facts(self) -> dict[str, Any]:
        """What a result depends on; results with other facts do not belong into the same table."""
        facts = {"preset": self.preset, "minutes": self.minutes, "seed": self.seed, "unlabelled": bool(self.unlabelled)}
        return facts | ({"folds": self.folds} if self.folds else {})


@dataclass(frozen=True)
class Entry:
    """One row: a method to train, or a model that was trained elsewhere (``folder``) for ``minutes``."""

    method: str
    folder: Path | None = None
    minutes: float | None = None

    @property
    def name(self) -> str:
        """Name of the row's folder."""
        return f"{self.method}-shipped" if self.folder else self.method


@dataclass(frozen=True)
class Fold:
    """Cases that train, calibrate and judge; no case has two parts."""

    train: tuple[Case, ...]
    calibrate: tuple[Case, ...]
    judge: tuple[Case, ...]


def folds(cases: Sequence[Case], count: int) -> list[Fold]:
    """``count`` folds over ``cases`` in order of id: every case is judged once.

    Raises:
        UsageError: too few cases to train, calibrate and judge on, or two with one id.
    """
    ordered = sorted(cases, key=lambda case: case.id)
    if len({case.id for case in ordered}) < len(ordered):
        raise UsageError("Two cases share an id.", "TRAIN and --val must hold different cases.")
    found = []
    for number in range(count):
        others = [case for index, case in enumerate(ordered) if index % count != number]
        train = [case for index, case in enumerate(others) if index % CALIBRATING]
        found.append(Fold(tuple(train), tuple(others[::CALIBRATING]), tuple(ordered[number::count])))
    if count < 2 or not all(fold.train and fold.calibrate and fold.judge for fold in found):
        raise UsageError(f"{len(ordered)} cases make no {count} folds.", "Take fewer folds, or more cases.")
    return found


def train(plan: Plan, method: str, data: Sequence[Path], place: str = "") -> Path:
    """Train ``method`` on ``data`` within the budget, or find it trained; the folder of the model.

    Args:
        place: below the folders of models and slices, where there are several trainings of one method.
    """
    kind = registry.method_class(method)
    experts_only = learns_outlines(method) or plan.unlabelled is None
    spec = registry.options(method, plan.preset).slices
    parts = [spec.normalisation, *(["tissue"] if kind.tissue else []), "experts" if experts_only else "all"]
    config = TrainConfig(
        method=method, preset=plan.preset, store=plan.work / "slices" / place / "-".join(parts), resume=True,
        compute_minutes=plan.minutes if kind.trained else None, seed=plan.seed, threads=plan.threads,
        device=plan.device,
    )  # fmt: skip
    out = plan.work / "models" / method / place
    api.train([*data, *([] if experts_only or plan.unlabelled is None else [plan.unlabelled])], out, config, SAY)
    return out


def evaluate(plan: Plan, entry: Entry) -> dict[str, Any]:
    """Train (or take) a model, restore the validation cases once, cross-fit and score; what ``result.json`` holds."""
    chosen = device.prepare(plan.device, plan.threads)  # before anything imports torch
    from pictures import chosen as shown_cases
    from pictures import collect, save

    from braincli.calibration.crossfit import cross_fitted
    from braincli.calibration.fit import Recipe
    from braincli.calibration.run import conclude, stored

    assert plan.val is not None and (entry.folder or plan.train is not None)
    folder = entry.folder or train(plan, entry.method, [plan.train] if plan.train else [])
    model = load_model(str(folder), chosen)
    evidence, seconds = _restored(plan, model, sound(find_cases(plan.val)))
    begin = time.process_time()
    config = CalibrateConfig(cross_fit=True, seed=plan.seed)
    fitted = cross_fitted(evidence, Recipe(rising=config.rising))
    rows = {f.evidence.case.id: f.figures() for f in fitted}
    if entry.folder is None:
        write_info(model.folder, stored(model.info, {"": conclude(model, evidence, config)}))
    shown = [collect(f, model, plan.seed) for f in shown_cases(fitted)]
    save(shown, plan.work / entry.name / "shown.npz")
    SAY.say(f"{entry.name}: cross-fitted and scored in {time.process_time() - begin:.0f} s of CPU time")
    calibrations = {f.evidence.case.id: f.calibration.model_dump(mode="json") for f in fitted}
    facts = _facts(plan, model, seconds) | {"training_cases": list(model.info.training.cases)}
    return {"cases": rows, "calibrations": calibrations, "slices_shown": [s.words() for s in shown], **facts}


def cross_validate(plan: Plan, entry: Entry) -> dict[str, Any]:
    """Train, calibrate and judge ``plan.folds`` times, on the cases of both cohorts; what ``result.json`` holds.

    Each training has the whole budget.

    Raises:
        UsageError: a model that is trained already has seen cases that it would be judged on; or see :func:`folds`.
    """
    chosen = device.prepare(plan.device, plan.threads)
    from braincli.calibration.crossfit import CrossFitted
    from braincli.calibration.fit import Recipe

    if entry.folder or plan.folds is None:
        raise UsageError("Models that are trained already cannot be cross-validated.", "Name methods with --models.")
    cases = [case for path in (plan.train, plan.val) if path for case in sound(find_cases(path))]
    rows, calibrations, costs, spent, trained = {}, {}, [], [], set()
    for number, fold in enumerate(folds(cases, plan.folds)):
        SAY.say(f"--- {entry.name}, fold {number + 1} of {plan.folds}: judged on {', '.join(c.id for c in fold.judge)}")
        data = [next(iter(case.images.values())).parent for case in fold.train]
        model = load_model(str(train(plan, entry.method, data, f"fold{number}")), chosen)
        evidence, seconds = _restored(plan, model, [*fold.calibrate, *fold.judge])
        known = {e.case.id: e for e in evidence}
        fit = Recipe(rising=CalibrateConfig().rising).fit([known[case.id] for case in fold.calibrate])
        for case in fold.judge:
            e = known[case.id]
            rows[case.id] = CrossFitted(e, fit, e.anomaly(fit.weights), e.mask(fit)).figures()
            calibrations[case.id] = fit.model_dump(mode="json")
        costs.append(seconds)
        spent.append(model.info.training.compute_minutes or 0.0)
        trained |= set(model.info.training.cases)
    facts = _facts(plan, model, (float(np.mean([c[0] for c in costs])), float(np.mean([c[1] for c in costs]))))
    facts["training"] |= {"compute_minutes": round(float(np.mean(spent)), 2)} if any(spent) else {}
    return {"cases": rows, "calibrations": calibrations, "slices_shown": [], "training_cases": sorted(trained), **facts}


def judge(plan: Plan) -> Callable[[Plan, Entry], dict[str, Any]]:
    """How ``plan`` wants its methods judged."""
    return cross_validate if plan.folds else evaluate


def _restored(plan: Plan, model: LoadedModel, cases: Sequence[Case]) -> tuple[list[Any], tuple[float, float]]:
    """The evidence of ``cases``; seconds of wall and CPU time per case."""
    from braincli.calibration.evidence import gather
    from braincli.runtime.cohort import results

    wall, cpu = time.perf_counter(), time.process_time()
    dtype = device.precision(model.device)
    evidence = results(gather(cases, model, seed=plan.seed, batch=16, reporter=SAY, dtype=dtype))
    return evidence, ((time.perf_counter() - wall) / len(cases), (time.process_time() - cpu) / len(cases))


def _facts(plan: Plan, model: LoadedModel, seconds: tuple[float, float]) -> dict[str, Any]:
    """What the table tells beside the figures."""
    return {
        "seconds_per_case": round(seconds[0], 2), "cpu_seconds_per_case": round(seconds[1], 2),
        "calls": model.method.calls(), "parameters": model.info.parameters, "preset": model.info.preset,
        "training": model.info.training.model_dump(mode="json", exclude={"cases"}),
        "device": model.device.type, "threads": plan.threads,
    }  # fmt: skip
