"""The training loop that all methods share: stages, averaged weights, precision, checkpoints, resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from braincli import files
from braincli.errors import InputError, ResourceError, UsageError
from braincli.methods.base import Batch, Method
from braincli.progress import Reporter
from braincli.slices import SliceStore

LOG_EVERY = 20
Snapshot = Callable[[str, int], None]  # (stage, step)


@dataclass(frozen=True)
class LoopOptions:
    """What the loop needs besides the method's own options.

    Attributes:
        steps: per stage; stages that are missing take the method's ``train_steps``.
        batch: slices per step; None takes the method's.
        minutes: stop (with a checkpoint) after this long; None never stops early.
        compute_minutes: CPU time for all stages (threads add up, other processes do not count); wall time on a GPU. A
            stage ends when its share is spent or its steps are done; what it leaves over, the later stages get.
        snapshot_every: steps between snapshots of the averaged weights.
        checkpoint_minutes: how often the state is saved.
        dtype: autocast type or None for float32.
    """

    steps: dict[str, int]
    batch: int | None = None
    minutes: float | None = None
    compute_minutes: float | None = None
    snapshot_every: int | None = None
    checkpoint_minutes: float = 5.0
    dtype: torch.dtype | None = None
    seed: int = 0


class Average:
    """Exponential moving average of parameters; with a short memory at the start (Karras et al. 2022)."""

    def __init__(self, parameters: dict[str, Tensor], decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.shadow = {name: p.detach().clone() for name, p in parameters.items()}

    def update(self, parameters: dict[str, Tensor]) -> None:
        """Take in the current parameters."""
        self.steps += 1
        decay = min(self.decay, self.steps / (10 + self.steps))
        shadow, now = list(self.shadow.values()), [parameters[name].detach() for name in self.shadow]
        torch._foreach_lerp_(shadow, now, 1 - decay)

    @torch.no_grad()
    def copy_to(self, parameters: dict[str, Tensor]) -> None:
        """The averaged weights become the weights."""
        for name, value in self.shadow.items():
            parameters[name].copy_(value)

    @contextmanager
    def in_place(self, method: Method, parameters: dict[str, Tensor]) -> Iterator[None]:
        """``method`` predicts with the averaged weights meanwhile; afterwards it is as it was."""
        state = {name: value.clone() for name, value in method.state_dict().items()}
        self.copy_to(parameters)
        method.eval()
        yield
        method.load_state_dict(state)
        method.train()


def fit(
    method: Method,
    store: SliceStore,
    folder: Path,
    options: LoopOptions,
    reporter: Reporter,
    snapshot: Snapshot | None = None,
) -> bool:
    """Train every stage of ``method`` in place; its weights end as the averaged ones.

    The state lives in ``folder/checkpoint.pt``; if that exists, training goes on from there, exactly as if it had never
    stopped. Figures go to ``folder/metrics.jsonl``. ``snapshot(stage, step)`` is called every
    ``options.snapshot_every`` steps, while the averaged weights are in place.

    Returns:
        False if ``options.minutes`` ran out first (call again to go on).

    Raises:
        UsageError: a stage that the method does not have.
        InputError: the store holds no slices of the kind that a stage needs.
        ResourceError: a loss or gradient is not finite; the last checkpoint is kept.
    """
    if unknown := set(options.steps) - set(method.stages):
        raise UsageError(f"No stage {sorted(unknown)[0]!r}.", f"Stages of this method: {', '.join(method.stages)}.")
    run = _Run(method, store, folder, options, reporter, snapshot)
    for index, stage in enumerate(method.stages):
        if index >= run.stage_index and not run.fit_stage(index, stage):
            return False
    return True


class _Run:
    def __init__(
        self,
        method: Method,
        store: SliceStore,
        folder: Path,
        options: LoopOptions,
        reporter: Reporter,
        snapshot: Snapshot | None = None,
    ) -> None:
        self.method, self.store, self.folder, self.options, self.reporter = method, store, folder, options, reporter
        self.snapshot = snapshot
        self.device = next(method.parameters()).device
        self.generator = torch.Generator().manual_seed(options.seed)
        self.begin = time.monotonic()
        self.stage_index, self.saved = 0, None
        self.spent: dict[str, float] = {}  # seconds of compute time by stage
        # a GPU works while the CPU sleeps
        self.clock = time.process_time if self.device.type == "cpu" else time.monotonic
        if (folder / "checkpoint.pt").exists():
            self.saved = torch.load(folder / "checkpoint.pt", map_location=self.device, weights_only=True)
            method.load_state_dict(self.saved["method"])
            method.load_resume_state(self.saved["extra"])
            self.generator.set_state(self.saved["generator"].cpu())
            self.stage_index, self.spent = self.saved["stage"], self.saved["spent"]

    def fit_stage(self, index: int, stage: str) -> bool:
        """Train one stage; False if the time ran out."""
        method, config = self.method, self.method.config
        steps = self.options.steps.get(stage, config.train_steps.get(stage, 0))
        batch = self.options.batch or config.train_batch
        optimizers = method.optimizers(stage)
        rates = {name: [g["lr"] for g in o.param_groups] for name, o in optimizers.items()}
        trained = _trained(method, optimizers)
        average, step = Average(trained, config.ema), 0
        if self.saved is not None and self.saved["step"] > 0:
            for name, optimizer in optimizers.items():
                optimizer.load_state_dict(self.saved["optimizers"][name])
            average.shadow, average.steps, step = self.saved["shadow"], self.saved["averaged"], self.saved["step"]
        pools = _pools(self.store, method.diet(stage), stage)
        method.train()
        last_saved = time.monotonic()

        def checkpoint(at: int) -> None:
            self._save(index, at, optimizers, average)

        with self.reporter.step(f"train {stage}", total=steps) as bar:
            bar.skip(step)
            allowed = self._allowed(index)
            while (progress := max(step / max(steps, 1), self.spent.get(stage, 0) / allowed)) < 1 and step < steps:
                scale = _rate(step, progress, config.warmup, config.decay)
                for name, optimizer in optimizers.items():
                    for group, rate in zip(optimizer.param_groups, rates[name], strict=True):
                        group["lr"] = rate * scale
                begin = self.clock()
                try:
                    logs = self._step(stage, pools, batch, optimizers)
                except FloatingPointError as error:
                    raise ResourceError(
                        f"{error} in stage {stage}, step {step}.",
                        "The last checkpoint is kept; resume with a smaller learning rate or --precision fp32.",
                    ) from None
                average.update(trained)
                self.spent[stage] = self.spent.get(stage, 0) + self.clock() - begin
                step += 1
                note = "  ".join(f"{k} {v:.4g}" for k, v in logs.items())
                bar.advance(1, note)
                if step % LOG_EVERY == 0 or step == steps or self.spent[stage] >= allowed:
                    seconds = {"s": time.monotonic() - self.begin, "compute_s": sum(self.spent.values())}
                    times = {name: round(value, 1) for name, value in seconds.items()}
                    self._log({"stage": stage, "step": step, **times, **logs})
                if self.snapshot and self.options.snapshot_every and step % self.options.snapshot_every == 0:
                    with average.in_place(method, trained):
                        self.snapshot(stage, step)
                out_of_time = self.options.minutes is not None and _minutes(self.begin) >= self.options.minutes
                if out_of_time or _minutes(last_saved) >= self.options.checkpoint_minutes:
                    checkpoint(step)
                    last_saved = time.monotonic()
                if out_of_time:
                    return False
        average.copy_to(trained)
        method.eval()
        self.saved = None
        self._save(index + 1, 0, {}, None)
        return True

    def _allowed(self, index: int) -> float:
        """Seconds of compute time that stage ``index`` may take."""
        if self.options.compute_minutes is None:
            return math.inf
        stages, share = self.method.stages, self.method.stage_share
        left = self.options.compute_minutes * 60 - sum(self.spent.get(stage, 0) for stage in stages[:index])
        later = sum(share.get(stage, 1.0) for stage in stages[index:])
        return max(left * share.get(stages[index], 1.0) / later, 1e-9)

    def _step(
        self, stage: str, pools: list[np.ndarray], batch: int, optimizers: dict[str, torch.optim.Optimizer]
    ) -> dict[str, float]:
        rows = _choose(pools, batch, self.generator, self.method.run)
        logs: dict[str, float] = {}
        with torch.autocast(self.device.type, dtype=self.options.dtype, enabled=self.options.dtype is not None):
            for name, loss, more in self.method.losses(self._batch(rows), stage, self.generator):
                with torch.autocast(self.device.type, enabled=False):
                    optimizer = optimizers[name]
                    if not torch.isfinite(loss):
                        raise FloatingPointError(f"The loss of {name} is {loss.item()}")
                    parameters = [p for group in optimizer.param_groups for p in group["params"]]
                    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
                    for parameter, gradient in zip(parameters, gradients, strict=True):
                        parameter.grad = gradient
                    torch.nn.utils.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=False)
                    optimizer.step()
                logs |= more
        return logs

    def _batch(self, rows: np.ndarray) -> Batch:
        store = self.store
        image = torch.from_numpy(store.image[rows]).float() / 255
        parts = (
            torch.from_numpy(np.ascontiguousarray(part[rows]))
            for part in (store.brain, store.label, store.lesion, store.position)
        )
        brain, label, lesion, position = parts
        return Batch(image * brain, brain, label.long(), lesion, position).to(self.device)

    def _save(
        self, stage: int, step: int, optimizers: dict[str, torch.optim.Optimizer], average: Average | None
    ) -> None:
        state: dict[str, Any] = {
            "stage": stage,
            "step": step,
            "method": self.method.state_dict(),
            "extra": self.method.resume_state(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
            "shadow": average.shadow if average else {},
            "spent": self.spent,
            "averaged": average.steps if average else 0,
            "generator": self.generator.get_state(),
        }
        with files.atomic_path(self.folder / "checkpoint.pt") as temporary:
            torch.save(state, temporary)

    def _log(self, entry: dict[str, Any]) -> None:
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")


def _trained(method: Method, optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Parameters that the stage's optimisers hold, by name."""
    held = {id(p) for o in optimizers.values() for group in o.param_groups for p in group["params"]}
    return {name: p for name, p in method.named_parameters() if id(p) in held}


def _pools(store: SliceStore, diet: str, stage: str) -> list[np.ndarray]:
    """Indices to draw from: one pool, or two of which each gives half of a batch."""
    diets: dict[str, list[int | None]] = {"healthy": [0], "balanced": [0, 1], "any": [None]}
    kinds = diets[diet]
    pools = [np.flatnonzero(store.label >= 0 if kind is None else store.label == kind) for kind in kinds]
    if any(len(pool) == 0 for pool in pools):
        needs = {"healthy": "healthy slices", "balanced": "healthy and diseased slices", "any": "labelled slices"}[diet]
        raise InputError(
            f"The cohort has no {needs}, which stage {stage} needs.",
            "Put lesion masks (*_seg.nii.gz) beside the scans, or mark healthy cases in a manifest (group = healthy).",
        )
    return pools


def _choose(pools: list[np.ndarray], batch: int, generator: torch.Generator, run: int = 1) -> np.ndarray:
    """``batch`` slice indices with replacement, an equal share from each pool (at least one).

    With ``run`` > 1 they come in runs of adjacent entries of the pool: one case's slices, in order.
    """
    share = max(1, batch // len(pools) // run)
    first = [torch.randint(max(1, len(pool) - run + 1), (share,), generator=generator).numpy() for pool in pools]
    steps = np.arange(run)
    parts = [pool[(f[:, None] + steps).clip(max=len(pool) - 1).ravel()] for pool, f in zip(pools, first, strict=True)]
    return np.concatenate(parts)


def _rate(step: int, progress: float, warmup: int, decay: bool) -> float:
    """Factor of the learning rate: linear rise, then constant or a cosine down to 2 % as ``progress`` reaches 1."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)) if decay else 1.0)


def _minutes(since: float) -> float:
    return (time.monotonic() - since) / 60


def iterate_metrics(folder: Path) -> Iterator[dict[str, Any]]:
    """The entries of ``metrics.jsonl``; none where nothing was trained."""
    if not (folder / "metrics.jsonl").exists():
        return
    with (folder / "metrics.jsonl").open(encoding="utf-8") as log:
        yield from (json.loads(line) for line in log)
