"""The training loop of classifiers: steps, judgements, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from braincli.classification.approaches.base import Approach
from braincli.classification.draw import Data, Draw
from braincli.errors import ResourceError
from braincli.runtime.progress import Reporter

NOTE_EVERY = 10  # steps between looks at the losses, which wait for a GPU
AT_ONCE = 16  # volumes that are looked at without learning


@dataclass
class Progress:
    """How far a training is; with the approach's and the optimisers' states it is all that a checkpoint needs.

    Attributes:
        step: how many are done.
        best: criterion, step and weights that validation found best.
        since: judgements since then.
    """

    step: int = 0
    best: tuple[float, int] | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)
    since: int = 0


@dataclass(frozen=True)
class Keep:
    """Where checkpoints go: ``save`` takes a state, every ``minutes``; ``stop`` tells whether to stop, and why."""

    save: Callable[[dict[str, Any]], None]
    minutes: float
    stop: Callable[[], str | None]


def fit(
    approach: Approach,
    data: Data,
    train: Tensor,
    judging: Tensor,
    *,
    seed: int,
    steps: int,
    precision: torch.dtype | None,
    reporter: Reporter,
    keep: Keep | None = None,
    saved: Mapping[str, Any] | None = None,
) -> Progress | None:
    """Train ``approach``; at the end it has the weights that ``judging`` found best, or else the last.

    Args:
        train, judging: indices into ``data`` of the volumes to learn from and of those that judge (there may be none).
        precision: of the networks, see :func:`braincli.runtime.device.precision`.
        saved: the checkpoint to go on from.

    Returns:
        How it went; None where ``keep.stop`` ended it before, with a checkpoint.

    Raises:
        ResourceError: a loss is not finite.
    """
    optimizers, done = approach.optimizers(), Progress()
    if saved is not None:
        approach.load_state_dict(saved["approach"])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(saved["optimizers"][name])
        done = Progress(saved["step"], saved["best"], saved["weights"], saved["since"])
    draw, config = Draw(data, train, approach, seed), approach.config
    last = time.monotonic()

    def checkpoint() -> None:
        assert keep is not None
        state = {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
        keep.save(
            {
                "stage": 0, "step": done.step, "best": done.best, "weights": done.weights, "since": done.since,
                "approach": approach.state_dict(), "optimizers": state,
            }
        )  # fmt: skip

    with reporter.step("train", total=steps) as bar:
        bar.skip(done.step)
        note = ""
        while done.step < steps and done.since < config.patience:
            if keep is not None and (why := keep.stop()):
                checkpoint()
                reporter.say(f"{why}: checkpoint written at step {done.step}")
                return None
            if keep is not None and time.monotonic() - last > 60 * keep.minutes:
                checkpoint()
                last = time.monotonic()
            logs = _step(approach, draw, optimizers, done.step, steps, precision)
            done.step += 1
            if done.step % NOTE_EVERY == 0 or done.step == steps:
                note = _noted(logs, done.step)
            if len(judging) and (done.step % config.validate_every == 0 or done.step == steps):
                _judge(approach, data, judging, done, precision)
            bar.advance(1, note)
    if done.weights:
        approach.load_state_dict(done.weights)
    approach.eval()
    return done


def _step(
    approach: Approach,
    draw: Draw,
    optimizers: Mapping[str, torch.optim.Optimizer],
    number: int,
    steps: int,
    precision: torch.dtype | None,
) -> dict[str, Tensor]:
    """One step; what its losses were."""
    data, logs = draw.data, dict[str, Tensor]()
    if approach.looks_at(number):
        known = torch.cat(draw.source)
        rows = data.rows(known).label
        approach.meet(
            embeddings(approach, data, known, precision), rows, embeddings(approach, data, draw.target, precision)
        )  # fmt: skip
    approach.train()
    batch = draw.step(number)
    turns = approach.losses(batch, number / steps)
    while True:
        with autocast(data.image.device, precision):
            turn = next(turns, None)
        if turn is None:
            return logs
        name, loss, told = turn
        optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        optimizers[name].step()
        logs |= told


def _noted(logs: Mapping[str, Tensor], step: int) -> str:
    """The losses in words.

    Raises:
        ResourceError: one is not finite.
    """
    values = {name: float(value) for name, value in logs.items()}
    for name, value in values.items():
        if not abs(value) < float("inf"):
            raise ResourceError(f"The loss {name} is not finite at step {step}.", "Try --precision fp32.")
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def _judge(approach: Approach, data: Data, judging: Tensor, done: Progress, precision: torch.dtype | None) -> None:
    """Keep the weights if they are the best so far."""
    value = float(_each(approach, data, judging, precision, approach.criterion).mean())
    if done.best is None or value < done.best[0]:
        done.best, done.since = (value, done.step), 0
        done.weights = {key: part.detach().clone() for key, part in approach.state_dict().items()}
    else:
        done.since += 1


def embeddings(approach: Approach, data: Data, rows: Tensor, precision: torch.dtype | None) -> Tensor:
    """(R, latent) of the volumes ``rows``."""
    return _each(approach, data, rows, precision, lambda image, label: approach.encoder(image))


def probabilities(approach: Approach, data: Data, rows: Tensor, precision: torch.dtype | None) -> Tensor:
    """(R, classes) of the volumes ``rows``, on the CPU."""
    return _each(approach, data, rows, precision, lambda image, label: approach(image).float().softmax(1)).cpu()


def _each(
    approach: Approach,
    data: Data,
    rows: Tensor,
    precision: torch.dtype | None,
    ask: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """What ``ask`` says of the volumes ``rows`` and their classes; eval mode, no gradient."""
    approach.eval()
    with torch.no_grad(), autocast(data.image.device, precision):
        return torch.cat([ask(batch.image, batch.label) for batch in map(data.rows, rows.split(AT_ONCE))])


@contextmanager
def autocast(device: torch.device, precision: torch.dtype | None) -> Iterator[None]:
    """Networks run in ``precision``; None: float32."""
    with torch.autocast(device.type, precision or torch.bfloat16, enabled=precision is not None):
        yield
