"""Supervised U-Net: the reference from above (the Unet of SADM, Behrendt et al. 2024, Sec. 4; papers call it the upper
bound). It is shown where lesions are, either on real slices or on synthetic ones, and says where they are.

Option ``masks``:
- ``real``: the expert masks of the training cases. Only cases with a mask take part: a slice whose label is unknown is
  in no diet, and a mask that was drawn generously, to keep suspects out of other methods' training, is no truth either:
  train this method on cases with expert masks alone.
- ``synthetic``: anomalies of one kind of :mod:`braincli.anomalies.kinds`, or ``mixed``, planted into healthy tissue;
  known lesions are left out of the loss.

Preset ``paper``: SADM's Unet as it is supervised, single contrasts, 7.70 M parameters, cross-entropy, Adam 5e-5. Means
are taken inside the brain.

Preset ``compact``: all contrasts in one stack, with contrasts dropped at random; a narrow network; half of each batch
shows a lesion, and a Dice term stands beside the cross-entropy, because positive pixels are rare; geometry and
intensity are varied.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from braincli.methods.base import Batch, Losses, known, present
from braincli.methods.families.segmenter import Segmenter, SegmenterConfig, plant


class UNetConfig(SegmenterConfig):
    """The defaults are those of SADM's Unet."""

    train_steps: dict[str, int] = Field(default={"main": 60_000})
    train_batch: int = 32
    rate: float = 5e-5
    masks: Literal["real", "synthetic"] = "real"
    anomaly: Literal["draem", "pii", "growth", "coarse", "sink", "mixed"] = "growth"  # of synthetic masks
    balanced: bool = False  # half of a batch shows a lesion; else any slice that has a mask


COMPACT: dict[str, Any] = {
    "contrasts": "stacked", "widths": (32, 64, 128, 160), "patch": 2, "rate": 1e-3, "dice": 1.0, "balanced": True,
    "variation": 1.0, "contrast_dropout": 0.15,
    "train_steps": {"main": 1000}, "train_batch": 16, "warmup": 50, "decay": True, "ema": 0.99,
}  # fmt: skip


class UNet(Segmenter):
    """Learns lesions from masks."""

    Config = UNetConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "compact": COMPACT,
        "tiny": COMPACT | {"widths": (8, 16), "train_steps": {"main": 6}, "train_batch": 4, "warmup": 2},
    }

    def __init__(self, config: UNetConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.options = config

    def diet(self, stage: str) -> str:
        """Real masks: slices with and without lesion; synthetic ones need none."""
        if self.options.masks == "synthetic":
            return "any"
        return "balanced" if self.options.balanced else "any"

    def losses(self, batch: Batch, stage: str, generator: torch.Generator) -> Losses:
        batch = self.varied(batch, generator)
        if self.options.masks == "real":
            image, target, mask = batch.image, batch.lesion.float(), batch.brain & present(batch.image)
        else:
            image, target = self.planted(batch, generator)
            mask = known(batch)
        loss = self.segmentation_loss(image, target, mask)
        yield "network", loss, {"segment": loss.item()}

    def planted(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Slices of which half show a synthetic anomaly (B, C, H, W), and their masks (B, 1, H, W), 0.0 or 1.0."""
        return plant(self.options.anomaly, batch, generator)
