"""CycleGAN as a detector by itself (Zhu et al. 2017; baseline of TSGM, Wang et al. 2023, arXiv:2311.03074).

Two generators learn healthy <-> diseased slices, unpaired (:mod:`braincli.methods.families.translation`,
shared with TSGM's stage 1); the diseased -> healthy one is the restoration, in a single call. It learns from slice
labels.

Preset ``paper``: TSGM's stage 1: 256 x 256 pixels of 1 mm, slices 80 to 128; 11,365,633 parameters per generator and
2,762,689 per discriminator, one network for single contrasts, batch 1, library defaults. TSGM prints the log-likelihood
loss (Eq. 1); its library uses least squares, as is done here. Its thresholds (Otsu per slice) and weights (fitted per
test image) are not followed: calibration fits both on other cases.

Preset ``compact`` deviates: all contrasts in one stack with contrasts dropped at random, geometry and intensity
augmented (:mod:`braincli.anomalies.augment`), small generators on 2 x 2 pixels that give a change of their input, and,
because few patients do not teach a CycleGAN what to leave alone, a loss on changes outside the lesion masks.

Deviations that remain: a step takes a slice of each contrast (theirs: one image of one contrast); intensities are
scaled per volume, not per slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from braincli.methods.base import Losses, Prediction, Task, Tick, no_tick, present
from braincli.methods.families.translation import Translation, TranslationConfig
from braincli.methods.lengths import Decay, Epochs, Length
from braincli.methods.presets import BRATS_256, CYCLEGAN_COMPACT, CYCLEGAN_TINY, LEFT_OUT, Preset


class CycleGANConfig(TranslationConfig):
    """The shared options; one stage."""

    lessons: ClassVar[tuple[str, ...]] = ("vary", "drop", "alone", "leave_out")  # diseased slices are there as they are

    train_steps: dict[str, Length] = Field(default={"translate": Epochs(number=200)})
    train_batch: int = 1  # of each kind
    decay: Decay = "half-linear"


COMPACT: Preset = CYCLEGAN_COMPACT | {
    "lesson": LEFT_OUT,
    "keep_weight": 10.0, "translate_rate": 4e-4, "train_steps": {"translate": 650}, "warmup": 50, "decay": "cosine",
    "ema": 0.99,
}  # fmt: skip


class CycleGAN(Translation):
    """Restores with the diseased -> healthy generator."""

    config: CycleGANConfig
    Config = CycleGANConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": BRATS_256},
        "compact": COMPACT,
        "tiny": COMPACT | CYCLEGAN_TINY | {"train_steps": {"translate": 4}},
    }
    stages = ("translate",)
    optional_weights = ("discriminator_", "to_diseased")

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        yield from self.translation_losses(batch, generator)

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        restored = self.translate(self.to_healthy, image, brain & present(image)).float()
        tick()
        return Prediction(restored=restored.clamp(0, 1))
