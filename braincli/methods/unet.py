"""Supervised U-Net: the reference from above (the Unet of SADM, Behrendt et al. 2024, Sec. 4; papers call it the upper
bound). It learns where lesions are, either from real slices or from synthetic ones.

Option ``masks``:
- ``real``: the expert masks of the training cases. Only cases with a mask take part: no stage samples a slice whose
  label is unknown, and a generous mask, made to keep suspects out of other methods' training, is no truth
  either: train this method on cases with expert masks alone.
- ``synthetic``: anomalies of one kind of :mod:`braincli.anomalies.kinds`, or ``mixed``, planted into healthy tissue;
  known lesions are left out of the loss.

Preset ``paper``: SADM's Unet, 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63, single contrasts, 7.70 M
parameters, cross-entropy, Adam 5e-5, batch 32, 600 epochs of one slice per case. With synthetic masks every slice gets
one of DRAEM's anomalies, with a threshold that is drawn (from U(0.25, 0.75): the text gives no range; the code has 0.5)
and anywhere in the slice; what blends in is the mask's own noise. Deviations: the depth is the code's 4 (the text: 3);
slices are not blurred, biased or ghosted (``lesson.vary`` does something of the kind).

Preset ``compact``: all contrasts in one stack, with contrasts dropped at random; a narrow network; half of each batch
shows a lesion, and a Dice term stands beside the cross-entropy, because positive pixels are rare; geometry and
intensity vary.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from braincli.methods.base import Losses, Sampling, Task
from braincli.methods.families.segmenter import Segmenter, SegmenterConfig, countable, plant
from braincli.methods.lengths import Epochs, Length
from braincli.methods.presets import HALF_96, LEFT_OUT, SEGMENTER_COMPACT, SEGMENTER_TINY, Preset


class UNetConfig(SegmenterConfig):
    """The defaults are those of SADM's Unet."""

    train_steps: dict[str, Length] = Field(default={"main": Epochs(number=600, of="cases")})
    train_batch: int = 32
    rate: float = 5e-5
    masks: Literal["real", "synthetic"] = "real"
    # of synthetic masks
    anomaly: Literal["draem", "pii", "growth", "coarse", "sink", "mixed"] = "draem"
    clean: float = Field(default=0.0, ge=0, le=1)  # share of slices without one, of those without a planted lesion
    whole_slice: bool = True  # anomalies may lie beside the brain, too
    uniform_threshold: bool = True  # of DRAEM's masks; else 0.5
    # of real masks
    balanced: bool = False  # half of a batch shows a lesion; else any slice that has a mask


COMPACT: Preset = SEGMENTER_COMPACT | {
    "lesson": LEFT_OUT, "dice": 1.0, "balanced": True, "anomaly": "growth", "clean": 0.5, "whole_slice": False,
    "uniform_threshold": False,
}  # fmt: skip


class UNet(Segmenter):
    """Learns lesions from masks."""

    config: UNetConfig
    Config = UNetConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": HALF_96},
        "compact": COMPACT,
        "tiny": COMPACT | SEGMENTER_TINY,
    }

    def sampling(self, stage: str) -> Sampling:
        """Real masks: slices with and without lesion; synthetic ones are planted into healthy tissue."""
        if self.config.masks == "synthetic":
            return super().sampling(stage)
        return "balanced" if self.config.balanced else "any"

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        if self.config.masks == "real":
            image, target, mask = batch.image, batch.sick.float(), countable(batch)
        else:
            image, target = self.planted(batch, generator)
            mask = batch.counts
        loss = self.loss(image, target, mask)
        yield "network", loss, {"segmentation": loss.detach()}

    def planted(self, batch: Task, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Slices with synthetic anomalies (B, C, H, W), and their masks (B, 1, H, W), 0.0 or 1.0."""
        c = self.config
        return plant(
            c.anomaly, batch, generator, clean=c.clean, whole_slice=c.whole_slice, uniform_threshold=c.uniform_threshold
        )
