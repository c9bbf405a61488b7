"""The training loop that all methods share: stages, steps, averaged weights, stopping and exact resume.

Everything random of a step comes from (seed, stage, step, shard), so a step depends on nothing but the weights, the
optimisers and the method's own memory, which a checkpoint holds: a resumed training equals one that never stopped.
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from braincli.errors import UsageError
from braincli.methods.base import Method
from braincli.runtime.progress import Reporter
from braincli.training import data, optimizers, parallel
from braincli.training.average import Average, statistics
from braincli.training.captured import CapturedStepper
from braincli.training.checkpoints import Checkpoints
from braincli.training.lengths import rate, steps_of
from braincli.training.log import Log, Watcher
from braincli.training.optimizers import Optimizers
from braincli.training.signals import Request
from braincli.training.step import Logs, Stepper, Watch
from braincli.training.store import SliceStore
from braincli.training.validation import Validation
from braincli.wording import counted

NOTE_S = 1.0  # between figures beside the progress bar: each of them waits for a GPU to finish


@dataclass(frozen=True)
class LoopOptions:
    """What the loop needs besides the method's own options.

    Attributes:
        steps: per stage; stages that are missing take the method's ``train_steps``.
        batch: slices per step, of all processes together; None takes the method's.
        shards: parts of a batch that are computed one by one, see :mod:`parallel`; None: one per process.
        minutes: stop (with a checkpoint) after this long; None never stops early.
        compute_minutes: CPU time for all stages (threads add up, other processes do not count); wall time on a GPU. A
            stage ends when its share is spent or its steps are done; what it leaves over, the later stages get.
        snapshot_every: steps between snapshots of the averaged weights.
        checkpoint_minutes, keep_checkpoints: how often the state is saved, how many of the newest stay.
        log_every: steps between entries of the log.
        graphs: steps are recorded as CUDA graphs where that is possible, see :mod:`captured`; it changes no result.
    """

    steps: dict[str, int]
    batch: int | None = None
    shards: int | None = None
    minutes: float | None = None
    compute_minutes: float | None = None
    snapshot_every: int | None = None
    checkpoint_minutes: float = 5.0
    keep_checkpoints: int = 2
    log_every: int = 20
    seed: int = 0
    graphs: bool = True


def fit(
    method: Method,
    store: SliceStore,
    folder: Path,
    options: LoopOptions,
    reporter: Reporter,
    *,
    fabric: Any = None,
    log: Log | None = None,
    stop: Request = lambda: None,
    watch: Watcher | None = None,
    validation: Validation | None = None,
) -> bool:
    """Train every stage of ``method`` in place; its weights end as the averaged ones.

    The state lies in ``folder/checkpoints``; if there is some, training goes on from there, exactly as if it had never
    stopped. Figures go to ``folder/metrics.jsonl``.

    Args:
        fabric: from :func:`parallel.launch`; by default this process alone, in float32, on the method's device.
        stop: asked before each step for the reason to stop, e.g. a signal's name; None goes on.
        validation: judges the averaged weights of every stage on the way; the best of each become its result.
        watch: is shown the averaged weights on the way, by the first process.

    Returns:
        False if it was stopped, or ``options.minutes`` ran out first, with a checkpoint (call again to go on).

    Raises:
        UsageError: a stage that the method does not have; a batch that does not split; a checkpoint that does not fit.
        InputError: the store holds no slices of the kind that a stage needs, or what a method meets teaches nothing.
        ModelError: every checkpoint is damaged.
        ResourceError: a loss or gradient is not finite; the last checkpoint is kept.
    """
    if unknown := set(options.steps) - set(method.stages):
        raise UsageError(f"No stage {sorted(unknown)[0]!r}.", f"Stages of this method: {', '.join(method.stages)}.")
    fabric = fabric or parallel.launch(next(method.parameters()).device)
    run = _Run(method, store, folder, options, reporter, fabric, log or Log(folder / "metrics.jsonl"), stop, watch)
    run.begin_with(validation)
    return all(run.fit_stage(i, name) for i, name in enumerate(method.stages) if i >= run.first)


@dataclass
class _Stage:
    """One stage while it is trained."""

    index: int
    name: str
    steps: int
    optimizers: Optimizers
    trained: dict[str, Tensor]
    average: Average
    feed: data.Feed
    stepper: Stepper
    watch: Watch
    rates: dict[str, list[float]]
    allowed: float  # seconds of compute time
    step: int = 0


class _Run:
    def __init__(
        self,
        method: Method,
        store: SliceStore,
        folder: Path,
        options: LoopOptions,
        reporter: Reporter,
        fabric: Any,
        log: Log,
        stop: Request,
        watch: Watcher | None,
    ) -> None:
        self.method, self.store, self.options, self.reporter = method, store, options, reporter
        method.held = store.held
        self.fabric, self.log, self.stop, self.watch = fabric, log, stop, watch
        self.source = data.Source(store, fabric.device)
        if method.looks_at:
            method.meet(self.source.batch(data.spread(store, method.looks_at)))
        if fabric.device.type == "cuda":
            method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as tensor cores want it
        self.batch = options.batch or method.config.train_batch
        self.shards, self.mine = parallel.shards_of(fabric, options.shards, self.batch)
        self.memory = [method.resume_state() for _ in self.mine]
        self.begin = time.monotonic()
        # a GPU works while the CPU sleeps
        self.clock = time.process_time if fabric.device.type == "cpu" else time.monotonic
        self.spent: dict[str, float] = {}  # seconds of compute time by stage
        self.checkpoints = Checkpoints(folder / "checkpoints", options.keep_checkpoints)
        self.last_saved: float | None = None
        self.told = (time.monotonic(), 0, 0.0)  # when, step and seconds waited at the last entry of the log
        self.noted = (0.0, "")  # when, and what stands beside the progress bar
        self.figures: dict[str, float] = {}  # of the last entry of the log
        self.first, self.saved = 0, self.checkpoints.load(fabric.device, reporter)
        self.validation: Validation | None = None
        if self.saved is not None:
            self._take_back(self.saved)

    def begin_with(self, validation: Validation | None) -> None:
        """Judge weights by ``validation``, which goes on where the checkpoint left it."""
        self.validation = validation
        if validation is not None and self.saved is not None and "validation" in self.saved:
            validation.load_state(self.saved["validation"])

    def fit_stage(self, index: int, name: str) -> bool:
        """Train one stage; False if it was stopped."""
        stage, config = self._open(index, name), self.method.config
        self.told = (time.monotonic(), stage.step, 0.0)
        with closing(stage.feed), self.reporter.step(f"train {name}", total=stage.steps) as bar:
            bar.skip(stage.step)
            while (progress := self._progress(stage)) < 1:
                if self._halted(stage):
                    return False
                factor = rate(stage.step, progress, config.warmup_in(name), config.decay_in(name))
                optimizers.set_rates(stage.optimizers, stage.rates, factor)
                begin = self.clock()
                turns, logs = stage.stepper.take(stage.step, stage.feed.step(stage.step))
                stage.watch.note(stage.step, turns)
                stage.average.update(stage.trained)
                stage.step += 1
                bar.advance(1, self._note(stage, logs))  # where a GPU is waited for
                self._spend(name, self.clock() - begin)
                self._validate(stage)
                if stage.step % self.options.log_every == 0 or self._progress(stage) >= 1:
                    stage.watch.look()
                    self._tell(stage, logs)
                self._show(stage)
        stage.watch.look()
        stage.average.copy_to(stage.trained)
        if stage.step:
            self.reporter.say(f"{name}: {self._result(stage)}")
        if self.validation is not None:
            self.validation.take_best(self.method, name)
        self.method.eval()
        self._save({"stage": index + 1, "step": 0})
        return True

    def _open(self, index: int, name: str) -> _Stage:
        """The stage at its beginning, or where the checkpoint left it."""
        method, config = self.method, self.method.config
        steps = steps_of(method, name, self.store, self.batch, self.options.steps)
        steppers = method.optimizers(name)
        optimizers.prepare(steppers, self.fabric.device)
        held = {id(p) for optimizer in steppers.values() for p in optimizers.parameters(optimizer)}
        trained: dict[str, Tensor] = {key: p for key, p in method.named_parameters() if id(p) in held}
        trained |= statistics(method)

        def seeds(step: int) -> list[int]:
            return [parallel.seed(self.options.seed, index, step, shard) for shard in self.mine]

        stage = _Stage(
            index=index,
            name=name,
            steps=steps,
            optimizers=steppers,
            trained=trained,
            average=Average(trained, config.ema),
            feed=data.Feed(
                self.source,
                data.pools(self.store, method.sampling(name), name) if steps else [],
                self.batch // self.shards,
                method.sequence,
                seeds,
                method.neighbours_in(name),
            ),
            stepper=self._stepper(
                method,
                name,
                steppers,
                self.fabric,
                self.shards,
                self.mine,
                self.memory,
                lambda *path: parallel.seed(self.options.seed, index, *path),
            ),
            watch=Watch(name),
            rates=optimizers.rates(steppers),
            allowed=self._allowed(index),
        )
        saved, self.saved = self.saved, None
        if saved is not None and saved["step"] > 0:
            for key, optimizer in steppers.items():
                optimizer.load_state_dict(saved["optimizers"][key])
            optimizers.prepare(steppers, self.fabric.device)
            stage.average.shadow, stage.average.steps, stage.step = saved["shadow"], saved["averaged"], saved["step"]
        method.train()
        return stage

    def _stepper(self, *given: Any) -> Stepper:
        """On a GPU with one shard steps are recorded and replayed."""
        if self.fabric.device.type == "cuda" and self.shards == 1 and self.options.graphs:
            return CapturedStepper(*given, say=self.reporter.say)
        return Stepper(*given)

    def _progress(self, stage: _Stage) -> float:
        """Share of the stage that is done: of its steps or of its compute time, whichever is further."""
        return max(stage.step / stage.steps if stage.steps else 1.0, self.spent.get(stage.name, 0) / stage.allowed)

    def _allowed(self, index: int) -> float:
        """Seconds of compute time that stage ``index`` may take."""
        if self.options.compute_minutes is None:
            return math.inf
        stages, share = self.method.stages, self.method.stage_share
        left = self.options.compute_minutes * 60 - sum(self.spent.get(stage, 0) for stage in stages[:index])
        later = sum(share.get(stage, 1.0) for stage in stages[index:])
        return max(left * share.get(stages[index], 1.0) / later, 1e-9)

    def _spend(self, stage: str, seconds: float) -> None:
        if self.options.compute_minutes is not None:  # all processes must agree on when it is spent
            seconds = parallel.total(self.fabric, [seconds])[0]
        self.spent[stage] = self.spent.get(stage, 0) + seconds

    def _halted(self, stage: _Stage) -> bool:
        """Write a checkpoint if one is due; whether to stop here. All processes decide alike."""
        options, why = self.options, self.stop()
        if options.minutes is not None and _minutes(self.begin) >= options.minutes:
            why = why or "time is up"
        due = self.last_saved is None or _minutes(self.last_saved) >= options.checkpoint_minutes
        halt, due = (votes > 0 for votes in parallel.total(self.fabric, [why is not None, due]))
        if halt or due:
            stage.watch.look()
            self._save({
                "stage": stage.index,
                "step": stage.step,
                "optimizers": {name: optimizer.state_dict() for name, optimizer in stage.optimizers.items()},
                "shadow": stage.average.shadow,
                "averaged": stage.average.steps,
            })  # fmt: skip
        if halt:
            self.reporter.say(f"{why or 'stopped'}: checkpoint written at step {stage.step} of {stage.name}")
            if self.watch is not None and self.fabric.is_global_zero:
                with stage.average.in_place(self.method, stage.trained):
                    if self.validation is not None:
                        self.validation.lend_best(self.method, stage.name)
                    self.watch.stopped(stage.name, stage.step)
        return halt

    def _save(self, state: dict[str, Any]) -> None:
        memory = self.memory if len(self.mine) > 1 else [self.method.resume_state()]
        state |= {"method": self.method.state_dict(), "memory": parallel.gathered(self.fabric, memory)}
        if self.fabric.is_global_zero:
            judged = {} if self.validation is None else {"validation": self.validation.state()}
            self.checkpoints.save(state | {"spent": self.spent} | judged)
        self.last_saved = time.monotonic()

    def _take_back(self, saved: dict[str, Any]) -> None:
        """Everything that a checkpoint holds, but for what :meth:`_open` takes."""
        try:
            self.method.load_state_dict(saved["method"])
        except RuntimeError as error:
            raise UsageError(
                "The checkpoint does not fit these options.",
                f"Resume with the options that it was begun with, or add --overwrite. ({str(error).splitlines()[-1]})",
            ) from None
        self.memory = [saved["memory"][shard % len(saved["memory"])] for shard in self.mine]
        self.method.load_resume_state(self.memory[0])
        self.first, self.spent, self.last_saved = saved["stage"], saved["spent"], time.monotonic()
        if self.fabric.is_global_zero:
            self.log.forget_after(self.method.stages, saved["stage"], saved["step"])

    def _note(self, stage: _Stage, logs: Logs) -> str:
        """Losses and rate, beside the progress bar."""
        now = time.monotonic()
        if now - self.noted[0] > NOTE_S:
            when, step, _ = self.told
            speed = f"{(stage.step - step) / max(now - when, 1e-9):.2f} steps/s"
            judged = "" if self.validation is None else self.validation.words(stage.name)
            losses = (f"{name} {value:.4g}" for name, value in _read(logs).items())
            self.noted = now, "  ".join(filter(None, [*losses, judged, speed]))
        return self.noted[1]

    def _tell(self, stage: _Stage, tensors: Logs) -> None:
        """An entry of the log: means over all processes, speed, share of the time spent waiting for data."""
        logs = _read(tensors)
        logs = dict(zip(logs, parallel.total(self.fabric, list(logs.values())), strict=True))
        (when, step, waited), now = self.told, time.monotonic()
        self.told = (now, stage.step, stage.feed.waited)
        if self.fabric.is_global_zero:
            figures = {
                "s": round(now - self.begin, 1),
                "compute_s": round(sum(self.spent.values()), 1),
                "steps_per_s": round((stage.step - step) / max(now - when, 1e-9), 3),
                "wait": round((stage.feed.waited - waited) / max(now - when, 1e-9), 4),
            }
            self.figures = means = {name: value / self.fabric.world_size for name, value in logs.items()}
            self.log.scalars(stage.name, stage.step, figures | means)

    def _validate(self, stage: _Stage) -> None:
        """Judge the averaged weights, where it is due."""
        validation, ended = self.validation, self._progress(stage) >= 1
        if validation is None or not validation.is_due(self.method, stage.name, stage.step, stage.steps, ended=ended):
            return
        begin = self.clock()
        with stage.average.in_place(self.method, stage.trained):
            value = validation.judge(self.method, stage.name, stage.step, self.fabric)
        self._spend(stage.name, self.clock() - begin)
        if self.fabric.is_global_zero:
            self.log.scalars(stage.name, stage.step, {"validation": value})

    def _show(self, stage: _Stage) -> None:
        """Snapshots and previews, where they are due."""
        every, watch = self.options.snapshot_every, self.watch
        snapshot = bool(every) and stage.step % (every or 1) == 0
        if watch is None or not (snapshot or watch.is_due(stage.step, stage.steps)):
            return
        stage.watch.look()
        if self.fabric.is_global_zero:
            with stage.average.in_place(self.method, stage.trained):
                (watch.snapshot if snapshot else watch.preview)(stage.name, stage.step)

    def _result(self, stage: _Stage) -> str:
        """What a stage came to: ``400 steps, restore 0.0123, best validation 0.011 at step 380``."""
        parts = [counted(stage.step, "step"), *(f"{name} {value:.4g}" for name, value in self.figures.items())]
        if self.validation is not None and (best := self.validation.best.get(stage.name)):
            parts.append(f"best validation {best.value:.4g} at step {best.step}")
        return ", ".join(parts)


def _read(logs: Logs) -> dict[str, float]:
    """The figures as numbers; waits until the device has computed them."""
    if not logs:
        return {}
    values = torch.stack([torch.as_tensor(value, dtype=torch.float32) for value in logs.values()]).tolist()
    return dict(zip(logs, values, strict=True))


def _minutes(since: float) -> float:
    return (time.monotonic() - since) / 60
