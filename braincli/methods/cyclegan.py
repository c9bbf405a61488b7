"""CycleGAN as a detector by itself (Zhu et al. 2017; baseline of TSGM, Wang et al. 2023, arXiv:2311.03074).

Two generators learn healthy <-> diseased slices, unpaired (:mod:`braincli.methods.families.translation`,
shared with TSGM's stage 1); the diseased -> healthy one is the restoration, in a single call. It learns from slice
labels.

Preset ``paper``: TSGM's stage 1: 11,365,633 parameters per generator and 2,762,689 per discriminator, one
network for single contrasts, batch 1, library defaults. TSGM prints the log-likelihood loss (Eq. 1); its library uses
least squares, as is done here. Its thresholds (Otsu per slice) and weights (fitted per test image) are not followed:
calibration fits both on other cases.

Preset ``compact`` deviates: all contrasts in one stack with contrasts dropped at random, geometry and intensity varied
(:mod:`braincli.anomalies.augment`), small generators on 2 x 2 pixels that draw a change of their input, and, because
few patients do not teach a CycleGAN what to leave alone, a loss on changes outside the lesion masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from braincli.methods.base import Batch, Callback, Losses, Prediction, present
from braincli.methods.families.translation import Translation, TranslationConfig


class CycleGANConfig(TranslationConfig):
    """The shared options; one stage."""

    train_steps: dict[str, int] = Field(default={"translate": 1_000_000})
    train_batch: int = 1  # of each kind


COMPACT: dict[str, Any] = {
    "contrasts": "stacked", "generator_width": 24, "generator_blocks": 4, "generator_residual": True,
    "discriminator_width": 32, "patch": 2, "keep_weight": 10.0, "variation": 1.0, "contrast_dropout": 0.15,
    "translate_rate": 4e-4, "train_steps": {"translate": 650}, "train_batch": 8, "warmup": 50, "decay": True,
    "ema": 0.99,
}  # fmt: skip


class CycleGAN(Translation):
    """Restores with the diseased -> healthy generator."""

    Config = CycleGANConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "compact": COMPACT,
        "tiny": COMPACT
        | {
            "generator_width": 4, "generator_blocks": 1, "discriminator_width": 4, "discriminator_layers": 2,
            "train_steps": {"translate": 4}, "train_batch": 4, "warmup": 2,
        },
    }  # fmt: skip
    stages = ("translate",)
    optional_weights = ("judge_", "to_diseased")

    def losses(self, batch: Batch, stage: str, generator: torch.Generator) -> Losses:
        yield from self.translate(self.varied(batch, generator), generator)

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        callback: Callback | None = None,
    ) -> Prediction:
        restored = self.draw(self.to_healthy, image, brain & present(image)).float()
        if callback is not None:
            callback(1, 1)
        return Prediction(restored=restored.clamp(0, 1))
