"""Validation: a method's own criterion on cases that it does not learn from; the best weights become the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from braincli.errors import InputError
from braincli.methods.base import Method
from braincli.model.info import Judged
from braincli.training import data, parallel
from braincli.training.store import SliceStore

DRAWN = 256  # slices per judgement
TIMES = 50  # judgements per stage, where nothing else is asked for


class Validation:
    """Judges weights on fixed draws of ``store``, and keeps the best of the stage.

    The slices, and everything random that is done with them, are the same at every judgement, so that two judgements
    differ in the weights alone.

    Args:
        store: slices of cases that the method does not learn from.
        batch: slices at a time.
        every: steps between judgements; None: a fiftieth of the stage's.

    Attributes:
        best: by stage the best judgement so far.
    """

    def __init__(self, store: SliceStore, *, batch: int, every: int | None = None, seed: int = 0) -> None:
        self.store, self.batch, self.every, self.seed = store, batch, every, seed
        self.best: dict[str, Judged] = {}
        self.weights: dict[str, Tensor] = {}  # of the stage that is trained, at its best step
        self.last: float | None = None  # judgement
        self._source: data.Source | None = None

    def is_due(self, method: Method, stage: str, step: int, steps: int, *, ended: bool) -> bool:
        """Whether weights are to be judged after ``step`` of ``steps``."""
        every = self.every or max(1, steps // TIMES)
        return method.is_judged(stage) and (ended or step % every == 0)

    @torch.no_grad()
    def judge(self, method: Method, stage: str, step: int, fabric: Any) -> float:
        """The criterion of ``method``, which predicts with the weights that would be kept; all processes agree on it.

        Raises:
            InputError: the cases hold no slices of the kind that the stage learns from.
        """
        source = self._source = self._source or data.Source(self.store, fabric.device)
        try:
            pools = data.pools(self.store, method.sampling(stage), stage)
        except InputError as error:
            raise InputError(f"To validate: {error.message}", error.hint) from None
        values = []
        for number in range(max(1, DRAWN // self.batch)):
            seed = parallel.seed(self.seed, method.stages.index(stage), number)
            chosen = data.choose(pools, self.batch, torch.Generator().manual_seed(seed), method.sequence)
            around = data.around(self.store, chosen, method.neighbours_in(stage), torch.Generator().manual_seed(seed))
            batch, generator = source.batch(chosen, around), torch.Generator(fabric.device).manual_seed(seed)
            with fabric.autocast():
                values.append(method.criterion(batch, stage, generator).float())
        value = parallel.total(fabric, [float(torch.stack(values).mean())])[0] / fabric.world_size
        self.last = value
        if stage not in self.best or value < self.best[stage].value:
            self.best[stage] = Judged(step=step, value=value)
            self.weights = {name: tensor.clone() for name, tensor in method.state_dict().items()}
        return value

    def words(self, stage: str) -> str:
        """``validation 0.012 (best 0.011)`` of ``stage``; empty before the first judgement."""
        best = self.best.get(stage)
        if best is None or self.last is None:
            return ""
        return f"validation {self.last:.4g} (best {best.value:.4g})"

    def lend_best(self, method: Method, stage: str) -> None:
        """Load the weights of the best judgement of ``stage``, where there was one; they stay kept here."""
        if stage in self.best and self.weights:
            method.load_state_dict(self.weights)

    def take_best(self, method: Method, stage: str) -> None:
        """Give ``method`` the weights of the best judgement of ``stage``, where there was one."""
        self.lend_best(method, stage)
        self.weights = {}

    def state(self) -> dict[str, Any]:
        """What an exact resume needs."""
        return {"best": {stage: one.model_dump() for stage, one in self.best.items()}, "weights": self.weights}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        self.best = {stage: Judged(**one) for stage, one in state["best"].items()}
        self.weights = dict(state["weights"])
