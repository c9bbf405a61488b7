"""Training steps as CUDA graphs: recorded once, then replayed without the CPU, which is slower than a GPU's kernels.

A step has one graph for each loss that its method yields. What differs from step to step lies in the GPU's memory: the
batch, the learning rates, what the optimisers and the method remember, and the seeds and offsets of both generators
(the one that is handed to ``Method.losses``, and PyTorch's own, which dropout uses). So a replayed step gives what the
same step gives without graphs.

A step can be recorded if nothing in it waits for the GPU and no shape changes; the last step before the recording is
watched for that. Where it cannot, training goes on step by step, and says so once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from braincli.methods.base import Batch
from braincli.training.data import Draw
from braincli.training.step import Logs, Stepper, Turn

WARM_UP = 3  # steps that choose kernels and make what is made once


class CapturedStepper(Stepper):
    """A :class:`Stepper` for one process with one shard on a GPU.

    Args:
        say: gets the reason why steps are not recorded, once.
        rest: see :class:`Stepper`.
    """

    def __init__(self, *rest: Any, say: Callable[[str], None] = lambda text: None) -> None:
        super().__init__(*rest)
        self.say, self.taken, self.refused = say, 0, ""
        self.recorded: _Recorded | None = None
        self.turns = 0

    def take(self, step: int, draws: Sequence[Draw]) -> tuple[list[Turn], Logs]:
        (draw,) = draws
        if self.recorded is None and not self.refused and self.taken == WARM_UP:
            self._record(step, draw)
        if self.recorded is not None:
            return self.recorded.replay(step, draw)
        self.taken += 1
        if self.refused or self.taken < WARM_UP:
            return super().take(step, draws)
        with waits() as found:
            turns, logs = super().take(step, draws)
        self.turns = len(turns)
        if found:
            self._refuse(f"it waits for the GPU ({found[0]})")
        return turns, logs

    def _record(self, step: int, draw: Draw) -> None:
        """Record this step; nothing is computed yet."""
        for group in (group for optimizer in self.optimizers.values() for group in optimizer.param_groups):
            group["capturable"] = True
        try:
            self.recorded = _Recorded(self, step, draw, self.turns)
        except Exception as error:  # whatever it is, training can do without
            self._refuse(next(iter(str(error).splitlines()), type(error).__name__))

    def _refuse(self, why: str) -> None:
        self.refused = why
        self.say(f"steps of {self.stage} are not recorded as CUDA graphs: {why}")


class _Recorded:
    """The graphs of a step and the memory that they read and write."""

    def __init__(self, stepper: Stepper, step: int, draw: Draw, turns: int) -> None:
        self.stepper = stepper
        self.batch = _each(draw.batch, torch.clone)
        self.generator = torch.Generator(draw.batch.image.device)
        self.graphs: list[torch.cuda.CUDAGraph] = []
        self.turns: list[Turn] = []
        self.logs: Logs = {}
        pool = torch.cuda.graph_pool_handle()
        self.generator.manual_seed(draw.generator.initial_seed())
        self.source = stepper.method.learn(self.batch, stepper.stage, self.generator)
        for turn in range(turns):
            stepper.seed(step, turn, 0)
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(self.generator)
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):  # others may read ahead
                made = stepper.turn([self.source], self.logs)
            if made is None:
                raise RuntimeError("the number of its losses changes")
            self.turns.append(made)
            self.graphs.append(graph)

    def replay(self, step: int, draw: Draw) -> tuple[list[Turn], Logs]:
        for part, given in zip(_parts(self.batch), _parts(draw.batch), strict=True):
            part.copy_(given, non_blocking=True)
        self.generator.manual_seed(draw.generator.initial_seed())
        for turn, graph in enumerate(self.graphs):
            self.stepper.seed(step, turn, 0)
            graph.replay()
        return [turn._replace(figures=turn.figures.clone()) for turn in self.turns], self.logs


@contextmanager
def waits() -> Iterator[list[str]]:
    """Notes where the CPU waits for the GPU meanwhile: file and line of each place."""
    found: list[str] = []
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(mode)
            for warning in caught:
                if "synchronizing CUDA operation" in str(warning.message):
                    found.append(f"{warning.filename}:{warning.lineno}")


def _parts(batch: Batch) -> list[Tensor]:
    return [part for part in vars(batch).values() if part is not None]


def _each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    parts: dict[str, Any] = {name: part if part is None else change(part) for name, part in vars(batch).items()}
    return Batch(**parts)
