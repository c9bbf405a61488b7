"""What is kept of the weights on the way: snapshots, previews, and a model where a training stops before its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braincli.config import TrainConfig
from braincli.methods.base import Method
from braincli.model.folder import save_model
from braincli.model.info import Heritage, ModelInfo, Training
from braincli.runtime.progress import Reporter
from braincli.training.lengths import steps_of
from braincli.training.log import Log, iterate_metrics
from braincli.training.pictures import ROWS, as_one, restored_slices
from braincli.training.store import SliceStore
from braincli.training.validation import Validation

TIMES = 10  # previews per stage, where they are cheap
COST = 0.05  # of the training, at most: network calls of a preview by those of the steps since the one before
PASSES = 3  # of a network in a step, counted in calls: forward, and twice as much backward


@dataclass
class Watch:
    """Called by the loop while the weights are in place that would be kept."""

    out: Path
    info: ModelInfo
    method: Method
    store: SliceStore
    log: Log
    config: TrainConfig
    heritage: ModelInfo | None
    reporter: Reporter
    validation: Validation | None = None

    def is_due(self, step: int, steps: int) -> bool:
        """Whether a preview is wanted after ``step`` of ``steps`` of a stage."""
        every = max(1, steps // TIMES)
        return step % every == 0 and step < steps and self._is_cheap(every)

    def _is_cheap(self, steps: int) -> bool:
        batch = self.config.batch or self.method.config.train_batch
        return self.method.calls() * ROWS * self.method.sequence <= COST * PASSES * steps * batch

    def snapshot(self, stage: str, step: int) -> None:
        """Save the weights as a model of its own."""
        name = f"{stage}-{step}"
        training = learnt(self.store, self.heritage, steps={stage: step})
        info = self.info.model_copy(update={"name": f"{self.out.name}-{name}", "training": training})
        save_model(self.out / "snapshots" / name, self.method, info)
        self.preview(stage, step)

    def look(self, stage: str, step: int, steps: int) -> None:
        """A preview at the end of a training of ``steps`` in all, unless it costs too much for so short a one."""
        if self._is_cheap(steps):
            self.preview(stage, step)

    def preview(self, stage: str, step: int) -> None:
        """The same few slices each time, restored: in ``previews``, and for TensorBoard."""
        from PIL import Image

        from braincli.runtime import files

        shown = dict(restored_slices(self.method, self.store, seed=self.config.seed))
        for name, image in shown.items():
            self.log.picture(f"{stage}/{name}", step, image)
        path = self.out / "previews" / f"{stage}-{step:07d}.png"
        path.parent.mkdir(exist_ok=True)
        with files.atomic_path(path) as temporary:
            Image.fromarray(as_one(shown.values())).save(temporary, format="png")

    def stopped(self, stage: str, step: int) -> None:
        """Save the weights as the model, which is not yet what it will be; without the last stage there is none."""
        last, name = self.method.stages[-1], self.out.name
        if stage != last or not step:
            advice = "--compute-minutes shares a time out among the stages, so that a model comes of it."
            several = len(self.method.stages) > 1
            self.reporter.say(
                f"{name} is no model yet: stage {last} has not begun. {advice if several else ''}".rstrip()
            )
            return
        steps = steps_of(self.method, stage, self.store, self.config.batch or 1, self.config.steps)
        taken = steps_taken(iterate_metrics(self.log.metrics)) | {stage: step}
        judged: dict[str, Any] = {}
        if self.validation is not None:
            judged = {"validation": self.validation.store.cases, "best": self.validation.best}
        training = learnt(self.store, self.heritage, steps=taken, left={stage: steps - step}, **judged)
        save_model(self.out, self.method, self.info.model_copy(update={"training": training}))
        self.preview(stage, step)
        self.reporter.say(f"{name} can be used as it is, after step {step} of {steps} of {stage}")


def steps_taken(entries: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """By stage the last step that the log tells of."""
    return {entry["stage"]: entry["step"] for entry in entries}


def learnt(store: SliceStore, heritage: ModelInfo | None, **facts: Any) -> Training:
    """Cases that the model has seen, those of the model that it began with too: none of them may calibrate it."""
    if heritage is None:
        return Training(cases=store.cases, slices=len(store), **facts)
    before = heritage.training
    init = Heritage(name=heritage.name, steps=before.steps, weights=heritage.weights)
    facts["validation"] = before.validation | facts.get("validation", {})
    return Training(cases=before.cases | store.cases, slices=len(store), **facts, init=init)
