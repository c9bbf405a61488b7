"""A method and a slice store for tests of the training loop: milliseconds per step, yet all that a loop can get wrong.

Run as a script (also by torchrun) it trains itself: ``python toymethod.py FOLDER --shards 2``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from braincli.methods.base import Batch, Losses, Method, MethodConfig, Prediction, Sampling, Tick, no_tick
from braincli.methods.lengths import Decay, Length
from braincli.training.store import SliceStore

SIZE = (8, 6)


class ToyConfig(MethodConfig):
    """``spoil``: the loss ("loss") or its gradient ("gradient") of stage ``clean`` is not finite at the fourth call."""

    train_steps: dict[str, Length] = Field(default={"play": 4, "clean": 5})
    train_batch: int = 4
    contrasts: Literal["single", "stacked"] = "stacked"
    warmup: int = 2
    decay: Decay = "cosine"
    rate: float = 0.02
    spoil: str = ""


class Toy(Method):
    """Two optimisers in turn with a memory of past images, then a denoiser with dropout."""

    config: ToyConfig
    Config = ToyConfig
    stages = ("play", "clean")

    def __init__(self, **settings: Any) -> None:
        config = ToyConfig(**settings)
        super().__init__(config, channels=4, size=SIZE)
        self.config, self.calls_of_clean = config, 0
        self.first, self.second = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.drop = nn.Dropout(0.2)
        self.seen: list[Tensor] = []

    def sampling(self, stage: str) -> Sampling:
        return "balanced" if stage == "play" else "any"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        networks = {"first": self.first, "second": self.second} if stage == "play" else {"second": self.second}
        return {name: torch.optim.Adam(net.parameters(), lr=self.config.rate) for name, net in networks.items()}

    def losses(self, batch: Batch, stage: str, generator: torch.Generator) -> Losses:
        if stage == "play":
            made = self.first(batch.image)
            yield "first", ((made - batch.image.flip(3)) ** 2).mean(), {}
            self.seen = [*self.seen, *made.detach()][-6:]
            past = self.seen[int(torch.randint(len(self.seen), (1,), generator=generator))]
            judged = ((self.second(past[None]) - batch.image.mean()) ** 2).mean()
            yield "second", judged, {"judged": judged.detach()}
            return
        noisy = batch.image + 0.3 * torch.randn(batch.image.shape, generator=generator)
        loss = ((self.second(self.drop(noisy)) - batch.image) ** 2).mean()
        self.calls_of_clean += 1
        if self.calls_of_clean == 4 and self.config.spoil == "loss":
            loss = loss * float("nan")
        if self.calls_of_clean == 4 and self.config.spoil == "gradient":  # of the root at 0
            loss = loss + (0 * self.second.weight.sum()).sqrt()
        yield "second", loss, {"clean": loss.detach()}

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        return Prediction(restored=self.second(image).clamp(0, 1) * brain)

    def resume_state(self) -> dict[str, Any]:
        return {"seen": list(self.seen)}

    def load_resume_state(self, state: dict[str, Any]) -> None:
        self.seen = list(state["seen"])


def fresh(seed: int = 0, **settings: Any) -> Toy:
    """The method with initial weights of ``seed``."""
    torch.manual_seed(seed)
    return Toy(**settings)


def store(labels: tuple[int, ...] = (0, 1), count: int = 40) -> SliceStore:
    """Noisy discs; diseased ones carry a bright square."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : SIZE[0] * 1j, -1 : 1 : SIZE[1] * 1j]
    brain = np.broadcast_to((y**2 + x**2) < 0.8, (count, 1, *SIZE)).copy()
    image = (120 + 40 * rng.random((count, 4, *SIZE))).astype(np.uint8) * brain
    label = np.resize(np.array(labels, np.int8), count)
    lesion = np.zeros_like(brain)
    lesion[label == 1, :, 3:5, 2:4] = True
    image[np.broadcast_to(lesion, image.shape)] = 250
    position = np.linspace(0, 1, count, dtype=np.float32)
    return SliceStore(image, brain, lesion, label, np.zeros(count, np.int32), position, {"a": ["0" * 64]})


class Looker:
    """Is shown weights (:class:`braincli.training.log.Watcher`): notes stage and step, and may look closer."""

    def __init__(self, every: int = 0, look: Callable[[str, int], None] = lambda stage, step: None) -> None:
        self.every, self.look = every, look
        self.seen: list[tuple[str, str, int]] = []

    def is_due(self, step: int, steps: int) -> bool:
        return bool(self.every) and step % self.every == 0

    def _note(self, what: str, stage: str, step: int) -> None:
        self.seen.append((what, stage, step))
        self.look(stage, step)

    def preview(self, stage: str, step: int) -> None:
        self._note("preview", stage, step)

    def snapshot(self, stage: str, step: int) -> None:
        self._note("snapshot", stage, step)

    def stopped(self, stage: str, step: int) -> None:
        self._note("stopped", stage, step)


def main(folder: Path, shards: int | None) -> None:
    """Train and leave ``metrics.jsonl`` with every step's losses, and the weights in ``weights.pt``."""
    from braincli.runtime.progress import Reporter
    from braincli.training import parallel
    from braincli.training.loop import LoopOptions, fit

    torch.set_num_threads(1)
    fabric = parallel.launch(torch.device("cpu"))
    method = fresh()
    options = LoopOptions(steps={}, batch=8, shards=shards, log_every=1)
    fit(method, store(), folder, options, Reporter(), fabric=fabric)
    if fabric.is_global_zero:
        torch.save(method.state_dict(), folder / "weights.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[3]) if len(sys.argv) > 2 else None)
