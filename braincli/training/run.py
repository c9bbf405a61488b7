"""``train``: cases in, model folder out."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from braincli.config import TrainConfig
from braincli.errors import InputError, UsageError
from braincli.imaging.case import taken
from braincli.imaging.cases import Case
from braincli.methods import registry
from braincli.model.folder import read_info, save_model
from braincli.model.info import ModelInfo, Training
from braincli.runtime import device as devices
from braincli.runtime import files
from braincli.runtime.locks import locked
from braincli.runtime.progress import Reporter
from braincli.runtime.provenance import fingerprint
from braincli.training.asked import asked, changes, refuse_training, take_over, unheeded
from braincli.training.output import CONFIG, FILES, Output
from braincli.training.store import SliceStore, build_store, identity, is_built, open_store, refuse_common
from braincli.weights import pretrained

if TYPE_CHECKING:
    from braincli.methods.base import Method
    from braincli.training.signals import Request
    from braincli.training.validation import Validation


def train_cases(
    cases: Sequence[Case], config: TrainConfig, out: Path, reporter: Reporter, *, validation: Sequence[Case] = ()
) -> ModelInfo | None:
    """Train ``config.method`` on prepared ``cases`` and write the model folder ``out``.

    Slice store, checkpoints and resolved options lie in ``out/work`` until training is complete
    (:mod:`braincli.training.output`). Under torchrun every process calls this; the first one writes, and holds the
    folder against other trainings.

    Args:
        validation: cases that choose among the weights (:mod:`braincli.training.validation`).

    Returns:
        What was written (where ``resume`` finds a complete model: what is there), or None if training stopped before
        its end (``dry_run``, ``max_time``, SIGTERM or SIGUSR1; run again with ``resume``). What stops in its last stage
        leaves a model all the same, whose ``training.left`` says so.

    Raises:
        UsageError: ``out`` holds a model, an unfinished training without ``resume``, or something else; another
            training writes there; the data changed since it began; an option that does not fit.
        InputError: no usable cases, or one without the number that is to be learnt.
        ModelError: the model that is complete there, or the one to begin with, is damaged.
        ResourceError: a loss or gradient is not finite; the last checkpoint is kept.
    """
    from braincli.training import signals

    with locked(out) if _writes() else nullcontext():
        output = Output(out)
        if output.is_complete(resume=config.resume, overwrite=config.overwrite):
            if _writes():
                output.tidy()
                for line in unheeded(config, out / CONFIG):
                    reporter.warn(f"{out.name} is complete: another option changes nothing: {line}")
            reporter.say(f"{out.name} is complete")
            return read_info(out)
        if not cases:
            raise InputError("There are no cases to train on.")
        if problem := next((case.problem for case in [*cases, *validation] if case.problem), None):
            raise problem
        for text in taken([*cases, *validation]) if _writes() else ():
            reporter.say(text)
        refuse_common({case.id: [] for case in cases}, {case.id: [] for case in validation})
        with signals.noted() as stop:
            return _Training(cases, config, output, reporter, stop, validation).run()


def _writes() -> bool:
    """Whether this process is the only or the first of a training; known before torch is loaded."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


class _Training:
    def __init__(
        self,
        cases: Sequence[Case],
        config: TrainConfig,
        output: Output,
        reporter: Reporter,
        stop: Request,
        validation: Sequence[Case],
    ) -> None:
        self.begin = time.monotonic()
        device = devices.prepare(config.device, config.threads)
        import torch

        from braincli.training import parallel

        self.fabric = parallel.launch(device, devices.precision(device, config.precision))
        torch.manual_seed(config.seed)
        kind = registry.method_class(config.method)
        if not kind.trained:
            refuse_training(config, validation)
        method, self.config, begun = asked(config, device)
        self.method: Method = method.to(self.fabric.device)
        self.spec = self.method.config.slices
        if name := self.method.pretrained:
            self.method.load_pretrained(pretrained.load(name))
        if begun:
            take_over(self.method, begun)
        self.heritage = begun.info if begun else None
        if kind.trained:  # refuse before slices are cut
            parallel.shards_of(self.fabric, config.shards, self.config.batch or 1)
        self.cases, self.output, self.stop = cases, output, stop
        self.judging = validation
        if column := self.method.column:
            _ = [case.number(column) for case in (*cases, *validation)]  # refuse before slices are cut
        self.out, self.work = output.folder, output.work
        self.first: bool = self.fabric.is_global_zero
        self.reporter = reporter if self.first else Reporter()
        self.info = ModelInfo(
            name=output.folder.name, method=config.method, preset=self.config.preset,
            options=self.method.config,
        )  # fmt: skip

    def run(self) -> ModelInfo | None:
        self.fabric.barrier()  # every process has looked at the folder before the first one writes
        if self.first:
            self._begin()
        self.fabric.barrier()
        training = Training(cases={}, minutes=0.0)
        if type(self.method).trained:
            fitted = self._fit()
            if fitted is None:
                return None
            training = fitted
        if self.first:
            save_model(self.out, self.method, self.info.model_copy(update={"training": training}))
            self.output.finish(read_info(self.out))
        self.fabric.barrier()
        return read_info(self.out) if self.first else None

    def _begin(self) -> None:
        """Take the folder; drop what an earlier training left, unless this one goes on from it."""
        from importlib.util import find_spec

        folders = {
            "work": True, "previews": True, "tensorboard": bool(find_spec("tensorboard")),
            "snapshots": self.config.snapshot_every,
        }  # fmt: skip
        if not type(self.method).trained:
            folders = {}
        made = {name for name, needed in folders.items() if needed}
        self.output.begin({*FILES, *made}, resume=self.config.resume)
        for line in changes(self.work / CONFIG, self.config):
            self.reporter.warn(f"resumed with another option: {line}")

    def _fit(self) -> Training | None:
        """Train; what ``model.json`` tells about it, or None if it stopped before its end."""
        from braincli.training import log, plan
        from braincli.training.loop import LoopOptions, fit
        from braincli.training.watch import Watch, learnt, steps_taken

        store, validation = self._stores()
        judging = None if validation is None else validation.store
        config, text = self.config, plan.describe(self.method, self.config, store, judging)
        self.reporter.say(text)
        if self.first:
            files.write_text(self.work / CONFIG, text)
        if config.dry_run:
            self.reporter.say(f"dry run: start it with --resume ({self.out.name})")
            return None
        left = None if config.max_time is None else config.max_time - _minutes(self.begin)
        options = LoopOptions(
            steps=config.steps, batch=config.batch, shards=config.shards, minutes=left, seed=config.seed,
            compute_minutes=config.compute_minutes, snapshot_every=config.snapshot_every,
            checkpoint_minutes=config.checkpoint_minutes, keep_checkpoints=config.keep_checkpoints,
        )  # fmt: skip
        metrics = self.work / "metrics.jsonl"
        told = log.Log(metrics, self.out / "tensorboard" if self.first else None)
        watch = Watch(self.out, self.info, self.method, store, told, config, self.heritage, self.reporter, validation)
        if not fit(
            self.method, store, self.work, options, self.reporter,
            fabric=self.fabric, log=told, stop=self.stop, watch=watch, validation=validation,
        ):  # fmt: skip
            self.reporter.say(f"go on with the same command and --resume ({self.out.name})")
            return None
        entries = list(log.iterate_metrics(metrics))
        if self.first and entries:
            watch.look(self.method.stages[-1], entries[-1]["step"], sum(steps_taken(entries).values()))
        compute = entries[-1]["compute_s"] / 60 if entries else 0.0
        steps = steps_taken(entries)
        judged = {} if validation is None else {"validation": validation.store.cases, "best": validation.best}
        return learnt(
            store, self.heritage, steps=steps, minutes=round(_minutes(self.begin), 1),
            compute_minutes=round(compute, 2), **judged,
        )  # fmt: skip

    def _stores(self) -> tuple[SliceStore, Validation | None]:
        """The slices to learn from, and the validation by those that judge.

        Raises:
            UsageError: a case is among both; the data changed since the training began; see :meth:`_store`.
        """
        from braincli.training.validation import Validation
        from braincli.training.watch import learnt

        store = self._store(self.cases, self.config.store or self.work / "slices")
        judging = self._store(self.judging, self.work / "validation") if self.judging else None
        if judging is not None:
            refuse_common(learnt(store, self.heritage).cases, judging.cases)
        if self.first:  # what the first process refuses ends the others
            parts = [store.fingerprint, *([judging.fingerprint] if judging is not None else [])]
            self.output.learns_from(parts[0] if len(parts) == 1 else fingerprint({"parts": parts}))
        config = self.config
        batch = config.batch or self.method.config.train_batch
        if judging is None:
            return store, None
        return store, Validation(judging, batch=batch, every=config.validate_every, seed=config.seed)

    def _store(self, cases: Sequence[Case], folder: Path) -> SliceStore:
        """The slices of ``cases``, cut by the first process or by an earlier training.

        Raises:
            UsageError: the shared store holds other cases, or slices cut otherwise.
        """
        tissue, column = type(self.method).tissue, self.method.column
        if self.first and not is_built(folder):
            with locked(folder), self.reporter.step("cut slices"):
                build_store(
                    cases, self.spec, folder, stride=self.method.stride, tissue=tissue, column=column,
                    reporter=self.reporter,
                )  # fmt: skip
        while not is_built(folder):  # a barrier would give up after some minutes
            time.sleep(0.2)
        store = open_store(folder)
        advice = "Name another --store, or --overwrite an unfinished training."
        if (tissue and store.tissue is None) or column not in ("", store.column) or store.spec != self.spec:
            raise UsageError(f"The slices in {folder.name} are cut for another kind of method.", advice)
        if self.first and (changed := _changed_case(store.sources, identity(cases, store.column))):
            raise UsageError(f"The slices in {folder.name} are of other cases or scans: {changed}.", advice)
        return store


def _changed_case(before: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> str:
    """What differs first between two :func:`braincli.training.store.identity`; empty where nothing does."""
    for case in [*before, *now]:
        if case not in now or case not in before:
            return f"{case} is {'new' if case in now else 'gone'}"
        for role in sorted({*before[case], *now[case]}):
            if before[case].get(role) != now[case].get(role):
                return f"the {role} of {case} has changed"
    return "" if list(before) == list(now) else "their order has changed"


def _minutes(begin: float) -> float:
    return (time.monotonic() - begin) / 60
