"""One training step: each loss over all shards, its gradients, its optimiser's step. Nothing here reads from a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from braincli.errors import ResourceError
from braincli.methods.base import Losses, Method
from braincli.training import optimizers, parallel
from braincli.training.data import Draw
from braincli.training.halves import Halves, widened
from braincli.training.optimizers import Optimizers

Logs = dict[str, Tensor]


class Turn(NamedTuple):
    """What became of one of a step's losses: the optimiser's name, and loss and gradient norm (2,)."""

    name: str
    figures: Tensor


class Stepper:
    """The steps of one stage.

    Args:
        mine: the shards that this process computes, of ``shards`` in all.
        memory: of each of them; see ``Method.resume_state``.
        seeds: of the random numbers at (step, turn, shard) that have no generator of their own.
    """

    def __init__(
        self,
        method: Method,
        stage: str,
        steppers: Optimizers,
        fabric: Any,
        shards: int,
        mine: range,
        memory: list[dict[str, Any]],
        seeds: Callable[[int, int, int], int],
    ) -> None:
        self.method, self.stage, self.optimizers, self.fabric = method, stage, steppers, fabric
        self.shards, self.mine, self.memory, self.seeds = shards, mine, memory, seeds
        with fabric.autocast():
            narrow = fabric.device.type == "cuda" and torch.is_autocast_enabled("cuda")
            self.halves = Halves(method, torch.get_autocast_dtype("cuda")) if narrow else None

    def take(self, step: int, draws: Sequence[Draw]) -> tuple[list[Turn], Logs]:
        """Take the step; its turns, and the figures that the method logs (means over the shards)."""
        sources = [self.method.learn(draw.batch, self.stage, draw.generator) for draw in draws]
        turns: list[Turn] = []
        logs: Logs = {}
        while made := self.turn(sources, logs, lambda shard: self.seed(step, len(turns), shard)):
            turns.append(made)
        return turns, logs

    def turn(
        self, sources: Sequence[Losses], logs: Logs, begin: Callable[[int], None] = lambda shard: None
    ) -> Turn | None:
        """The next loss of all shards, followed by its optimiser's step; None where there is none left.

        Args:
            logs: gets the figures that the method logs.
            begin: called with each shard's position before its loss is computed.
        """
        sums: list[Tensor | None] = []
        for position, source in enumerate(sources):
            begin(position)
            made = self._next(source, position)
            if made is None:
                return None
            name, loss, more = made
            parameters = optimizers.parameters(self.optimizers[name])
            gradients = _gradients(loss, parameters if self.halves is None else self.halves.of(parameters))
            sums = [_plus(a, b) for a, b in zip(sums, gradients, strict=True)] if sums else gradients
            for key, value in more.items():
                logs[key] = logs[key] + value / len(sources) if key in logs else value / len(sources)
        return Turn(name, self._descend(name, sums))

    def seed(self, step: int, turn: int, position: int) -> None:
        """Seed what has no generator of its own, as dropout."""
        torch.manual_seed(self.seeds(step, turn, self.mine[position]))

    def _next(self, source: Losses, position: int) -> tuple[str, Tensor, Logs] | None:
        """A shard's next loss, computed with (where there are several) a memory of its own."""
        several = len(self.mine) > 1
        if several:
            self.method.load_resume_state(self.memory[position])
        with self.fabric.autocast(), nullcontext() if self.halves is None else self.halves.in_place():
            made = next(source, None)
        if several:
            self.memory[position] = self.method.resume_state()
        return made

    def _descend(self, name: str, sums: Sequence[Tensor | None]) -> Tensor:
        """Step optimiser ``name`` along the mean over all shards of the gradients and, last, the loss.

        Returns:
            Loss and gradient norm (2,).
        """
        there = parallel.summed(self.fabric, [part for part in sums if part is not None])
        if self.shards > 1:
            there = list(torch._foreach_div(there, self.shards))
        *whole, loss = there
        parameters = optimizers.parameters(self.optimizers[name])
        stepped = [parameter for parameter, part in zip(parameters, sums[:-1], strict=True) if part is not None]
        gradients = [_laid_out_like(parameter, part) for parameter, part in zip(stepped, whole, strict=True)]
        norm = optimizers.clip(gradients, self.method.config.clip_norm or math.inf)
        for parameter in parameters:
            parameter.grad = None
        for parameter, gradient in zip(stepped, gradients, strict=True):
            parameter.grad = gradient
        self.optimizers[name].step()
        return torch.stack([loss, norm.float()])


class Watch:
    """Ends a training whose loss or gradient is not finite; looks at many steps at once, as each look waits for a GPU.

    The weights are spoilt until then: look before they are saved or shown.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.turns: list[tuple[int, Turn]] = []

    def note(self, step: int, turns: Sequence[Turn]) -> None:
        """Remember a step's figures."""
        self.turns += [(step, turn) for turn in turns]

    def look(self) -> None:
        """Check all that was noted.

        Raises:
            ResourceError: a figure is not finite; the first such step is named.
        """
        noted, self.turns = self.turns, []
        if not noted:
            return
        values = torch.stack([turn.figures for _, turn in noted])
        if torch.isfinite(values).all():
            return
        (step, turn), (loss, norm) = next(
            (at, figures) for at, figures in zip(noted, values.tolist(), strict=True) if not _finite(figures)
        )
        what = f"loss of {turn.name} is {loss}" if not _finite([loss]) else f"gradient of {turn.name} is {norm}"
        raise ResourceError(
            f"The {what} in stage {self.stage}, step {step}.",
            "The last checkpoint is kept; go on from it with --resume and a smaller learning rate (--set), or "
            "with --precision fp32.",
        )


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients of ``loss`` and, last, itself, in float32."""
    return [*widened(torch.autograd.grad(loss, parameters, allow_unused=True)), loss.detach().float()]


def _laid_out_like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """``gradient`` with the strides of ``parameter``, as the fused Adam wants them."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def _finite(values: Sequence[float]) -> bool:
    return all(abs(value) < float("inf") for value in values)
