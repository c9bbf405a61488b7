"""``train``: cases in, model folder out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from braincli import device as devices
from braincli import files, modelfolder
from braincli.cases import CONTRASTS, Case
from braincli.config import TrainConfig
from braincli.errors import InputError, UsageError
from braincli.methods import registry
from braincli.progress import Reporter
from braincli.slices import SliceSpec, build_store, open_store


def train_cases(
    cases: Sequence[Case], config: TrainConfig, out: Path, reporter: Reporter
) -> modelfolder.ModelInfo | None:
    """Train ``config.method`` on prepared ``cases`` and write the model folder ``out``.

    The slice store and the checkpoint lie in ``out/work`` until training is complete.

    Returns:
        What was written, or None if ``config.minutes`` ran out first (run again with ``resume``).

    Raises:
        UsageError: ``out`` holds a model, or an unfinished training without ``resume``.
        InputError: no usable cases.
    """
    work = out / "work"
    if (out / "model.json").exists() and not config.overwrite:
        raise UsageError(f"{out.name} holds a model.", "Choose another folder, or add --overwrite.")
    if work.exists() and not config.resume:
        if not config.overwrite:
            raise UsageError(f"{out.name} holds an unfinished training.", "Add --resume to go on, or --overwrite.")
        shutil.rmtree(work)
    if not config.resume:
        shutil.rmtree(out / "snapshots", ignore_errors=True)
    if not cases:
        raise InputError("There are no cases to train on.")
    device = devices.prepare(config.device, config.threads)
    import torch

    from braincli.training.loop import LoopOptions, fit, iterate_metrics

    torch.manual_seed(config.seed)
    kind = registry.method_class(config.method)
    spec = SliceSpec(normalisation=kind.normalisation)
    method = registry.build(
        config.method, preset=config.preset, settings=config.settings, channels=len(CONTRASTS), size=spec.size
    ).to(device)
    training: dict[str, object] = {"cases": {}, "minutes": 0.0}
    info = modelfolder.ModelInfo(
        name=out.name, method=config.method, preset=config.preset, settings=method.config.model_dump(mode="json"),
        slices=spec.model_dump(mode="json"), map=modelfolder.MapOptions(**kind.map | method.config.map),
    )  # fmt: skip
    if kind.trained:
        if not (work / "slices" / "store.json").exists():
            with reporter.step("cut slices"):
                build_store(cases, spec, work / "slices", stride=method.stride)
        store = open_store(work / "slices")
        reporter.say(f"{len(store)} slices of {len(store.cases)} cases: {_labels(store.label)}")
        options = LoopOptions(
            steps=config.steps, batch=config.batch, minutes=config.minutes, seed=config.seed,
            compute_minutes=config.compute_minutes, snapshot_every=config.snapshot_every,
            checkpoint_minutes=config.checkpoint_minutes, dtype=devices.precision(device, config.precision),
        )  # fmt: skip
        files.write_json(
            work / "config.json", {**config.model_dump(mode="json"), "method_config": method.config.model_dump()}
        )
        begin = time.monotonic()

        def snapshot(stage: str, step: int) -> None:
            name = f"{stage}-{step}"
            facts = {"cases": store.cases, "slices": len(store), "steps": {stage: step}, "minutes": _minutes(begin)}
            found = info.model_copy(update={"name": f"{out.name}-{name}", "training": facts})
            modelfolder.save(out / "snapshots" / name, method, found)

        if not fit(method, store, work, options, reporter, snapshot):
            reporter.say(f"time is up; go on with --resume ({out.name})")
            return None
        log = list(iterate_metrics(work))
        training = {
            "cases": store.cases, "slices": len(store), "steps": {entry["stage"]: entry["step"] for entry in log},
            "minutes": _minutes(begin), "compute_minutes": round(log[-1].get("compute_s", 0) / 60, 2) if log else 0.0,
        }  # fmt: skip
    modelfolder.save(out, method, info.model_copy(update={"training": training}))
    if (work / "metrics.jsonl").exists():
        shutil.copyfile(work / "metrics.jsonl", out / "metrics.jsonl")
    shutil.rmtree(work, ignore_errors=True)
    return modelfolder.read_info(out)


def _labels(label: object) -> str:
    import numpy as np

    values = np.asarray(label)
    counts = {name: int((values == code).sum()) for name, code in (("healthy", 0), ("diseased", 1), ("unknown", -1))}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _minutes(begin: float) -> float:
    return round((time.monotonic() - begin) / 60, 1)
