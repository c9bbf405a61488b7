"""SegNet (Badrinarayanan et al. 2017, "SegNet: A deep convolutional encoder-decoder architecture for image
segmentation", IEEE TPAMI, arXiv:1511.00561), supervised, as ``diffseg`` is compared with it (Wolleb 2022, PhD thesis,
ch. 5 and App. B). It needs expert masks of lesions, as :mod:`braincli.methods.unet` does.

Presets:
- ``paper``: 224 x 224 pixels of 1 mm, slices 80 to 128, four contrasts as channels, 29,444,161 parameters; binary
  cross-entropy, Adam 1e-4, 20 slices per step, 100 epochs.
- ``compact``: ours. A narrow network of three levels on 2 x 2 pixels; half of each batch shows a lesion, and a Dice
  term stands beside the cross-entropy; contrasts are dropped at random, geometry and intensity augmented.

Deviations that remain in ``paper``: weights begin at random (VGG16's, which SegNet began with, know photographs; the
thesis does not say); calibration fits the threshold (theirs: 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from braincli.methods.base import Losses, Task
from braincli.methods.families.segnets import SegNets, SegNetsConfig
from braincli.methods.presets import BRATS_224, SEGNET_COMPACT, SEGNET_TINY, Preset


class SegNet(SegNets):
    """Its sigmoid is the score."""

    config: SegNetsConfig
    Config = SegNetsConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": BRATS_224},
        "compact": SEGNET_COMPACT,
        "tiny": SEGNET_COMPACT | SEGNET_TINY,
    }

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        loss = self.loss(self.network(self.fold(batch.image)).float(), batch)
        yield "network", loss, {"segmentation": loss.detach()}

    def sample(self, rows: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        logits: Tensor = self.network(rows)
        return logits.sigmoid()
