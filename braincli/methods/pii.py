"""PII: Poisson image interpolation (Tan et al. 2021, arXiv:2107.02622).

A patch of another slice of the same height is blended into each healthy slice without a seam
(:mod:`braincli.anomalies.poisson`), and a segmenter regresses the share alpha of foreign tissue: cross-entropy with a
soft label. Its sigmoid is the score; nothing is restored.

All presets: the partner is the slice of the batch nearest in height (the paper pairs slices of equal index of
registered volumes); the network is the denoising autoencoder's U-Net (the paper: a residual encoder-decoder with 4.16 M
parameters); patches are placed in the brain's box.

Preset ``paper``: 256 x 256 pixels of 1 mm, single contrasts, patches of 10 % to 40 % of the brain's box, alpha U(0.05,
0.95), Adam 1e-3.

Preset ``behrendt2024``: as SADM is compared with it: 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63, 1600 epochs
of one slice per case; the score's median of 5. Their rate is not given; it is the paper's.

Preset ``compact`` runs on a laptop CPU and deviates deliberately:
- all contrasts in one stack, with contrasts dropped at random; geometry and intensity are augmented row by row;
- partners get a tumour-like growth first (:mod:`braincli.anomalies.growth`) in most rows, and the patch is cut around
  it, so that what is blended in looks like lesions on all contrasts and not only like other tissue;
- the label is how much the slice changed, not alpha (as in NSA, Schlueter et al. 2022): a rectangle that a patch left
  as it was is no anomaly;
- slices with a known lesion take part: it is left out of the loss.

Deviations that remain in ``paper``: the network, the partners and the place of the patches, as said.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.anomalies import pixels, poisson
from braincli.methods.base import Losses, Task
from braincli.methods.families.segmenter import Segmenter, SegmenterConfig, partners
from braincli.methods.lengths import Epochs, Length
from braincli.methods.presets import (
    BEHRENDT_2024_SCORE,
    EPOCHS_1600,
    LEFT_OUT,
    SEGMENTER_COMPACT,
    SEGMENTER_TINY,
    WHOLE_256,
    Preset,
)

MARGIN = 0.03  # of the brain's box, around a growth that is cut out


class PIIConfig(SegmenterConfig):
    """The defaults are the paper's."""

    train_steps: dict[str, Length] = Field(default={"main": Epochs(number=50)})
    train_batch: int = 32
    rate: float = 1e-3
    half: tuple[float, float] = (0.05, 0.2)
    alpha: tuple[float, float] = (0.05, 0.95)
    label: Literal["alpha", "change"] = "alpha"
    full_change: float = Field(default=0.25, gt=0)  # change of intensity that is a label of 1


COMPACT: Preset = SEGMENTER_COMPACT | {
    "dice": 0.5, "alpha": (0.6, 1.0), "half": (0.08, 0.25), "label": "change", "lesson": LEFT_OUT | {"plant": 0.75},
}  # fmt: skip


class PII(Segmenter):
    """Regresses how much of each pixel is foreign."""

    config: PIIConfig
    Config = PIIConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_256},
        "behrendt2024": BEHRENDT_2024_SCORE | {"train_steps": EPOCHS_1600},
        "compact": COMPACT,
        "tiny": COMPACT | SEGMENTER_TINY,
    }

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        blended, label = self.blended(batch, generator)
        loss = self.loss(blended, label, batch.counts)
        yield "network", loss, {"segmentation": loss.detach()}

    @torch.no_grad()
    def blended(self, batch: Task, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The slices with a patch of another one (B, C, H, W), and the network's target (B, 1, H, W).

        The patch lies around the lesion that the lesson has planted into the other one, if it has.
        """
        c = self.config
        other = partners(batch, generator)
        shape = tuple(batch.image.shape)
        patch = poisson.draw(shape, generator, half=c.half, alpha=c.alpha).to(batch.image.device)  # type: ignore[arg-type]
        if c.lesson.plant:
            patch = around(batch.planted[other], batch.brain, patch, batch.with_planted[other])
        blended, label = poisson.apply(batch.target, batch.brain, batch.image[other], patch)
        if c.label == "change":
            change = (blended - batch.target).abs().amax(dim=1, keepdim=True) / c.full_change
            label = F.avg_pool2d(change, 3, stride=1, padding=1).clamp_max(1) * batch.brain
        return blended, label


def around(alpha: Tensor, brain: Tensor, patch: poisson.Patch, chosen: Tensor) -> poisson.Patch:
    """``patch``, in the ``chosen`` rows (B,) moved to hold what ``alpha`` (B, 1, H, W) marks, with a margin."""
    box, held = pixels.extent(brain).double(), pixels.extent(alpha > 0.1).double()  # (B, axis, first and after last)
    length = box[:, :, 1] - box[:, :, 0]
    low, high = (held - box[:, :, :1]).unbind(dim=2)
    low, high = low / length, high / length
    moved = chosen[:, None] & (length > 0) & (held[:, :, 1] > 0)
    centre, half = ((low + high) / 2).to(patch.centre), ((high - low) / 2 + MARGIN).to(patch.half)
    return replace(patch, centre=torch.where(moved, centre, patch.centre), half=torch.where(moved, half, patch.half))
