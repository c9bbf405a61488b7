"""Mean image: the simplest method that learns (worked through in docs/adding-a-method.md; no paper).

It keeps one image, the mean of all healthy tissue at each pixel, and takes it for the restoration of every slice: what
differs from the mean shows in the residual. A real method differs in what stands in ``losses`` and ``predict``.

Presets: ``paper`` learns from healthy slices; ``compact`` from all that are labelled, with known lesions left out;
``tiny`` takes fewer steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.methods.base import Losses, Method, MethodConfig, Prediction, Task, Tick, masked_mean, no_tick, present
from braincli.methods.lengths import Length
from braincli.methods.presets import COMPACT_MAP, LEFT_OUT, WHOLE_128, Preset


class MeanImageConfig(MethodConfig):
    """Options of the method; whatever stands here can be given as ``--set rate=0.1``."""

    train_steps: dict[str, Length] = Field(default={"main": 400})
    rate: float = Field(default=0.05, gt=0)  # learning rate


class MeanImage(Method):
    """Restores every slice to the mean of healthy ones."""

    config: MeanImageConfig
    Config = MeanImageConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_128},
        "compact": {"contrasts": "stacked", "lesson": LEFT_OUT, "map": COMPACT_MAP},
        "tiny": {
            "contrasts": "stacked", "lesson": LEFT_OUT, "train_steps": {"main": 60}, "train_batch": 8, "ema": 0.0,
        },
    }  # fmt: skip

    def __init__(self, config: MeanImageConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.mean = nn.Parameter(torch.full((1, channels, *size), 0.5))

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {"mean": torch.optim.Adam([self.mean], lr=self.config.rate)}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        loss = masked_mean((self.mean - batch.target) ** 2, batch.counts)
        yield "mean", loss, {"l2": loss.detach()}

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        mean = F.interpolate(self.mean, size=tuple(image.shape[2:]), mode="bilinear", align_corners=False)
        tick()
        return Prediction(restored=mean.clamp(0, 1) * (brain & present(image)))
