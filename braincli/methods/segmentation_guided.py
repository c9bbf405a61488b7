"""Segmentation guidance: a slice as it would be with a lesion just where a mask has one (Wolleb et al. 2022, "The Swiss
Army Knife for image-to-image translation", arXiv:2204.02641, Alg. 2; chapter 8 of Wolleb's thesis).

Stage ``diffusion``: a DDPM with learned variance (hybrid loss). Stage ``guide``: a time-conditioned U-Net S learns the
lesion's mask from noised slices (cross-entropy). At test time a slice is encoded for L steps and decoded with
eps + c sqrt(1 - abar) grad H, H the cross-entropy of S(x_t, t) with the mask z that is asked for
(:mod:`braincli.methods.families.steered`): a lesion is painted into z, and what lies outside of it shrinks. Detection
asks for the empty mask.

Mended: Alg. 2 prints eps - c sqrt(1 - abar) grad H, which raises the cross-entropy and leads away from the mask: a step
of DDIM moves along +grad f for eps - k grad f.

Presets:
- ``paper``: L = 400 in 400 steps each way, c = 5, H the mean over all pixels; 113,681,160 + 113,672,065 parameters with
  four contrasts, 256 x 256 pixels of 1 mm, slices 80 to 128; intensities in [0, 1]; slices as the cohort has them.
- ``compact``: ours. Small networks, of which one predicts v; t = 600 in 8 steps each way; H is the sum over pixels
  (``reduction``), as their mean makes each step tiny; half of each batch is diseased.

Deviations that remain in ``paper``: the text prints the diffusion model's number of parameters for S as well, which no
network with a mask as its output has; S is that U-Net with one output and without classes. Which class is fed into the
diffusion model is not said: half of the rows learn without one, and translation goes without. Rate, batch and optimiser
of S are not given: those of the diffusion model. The EMA of 0.9999 remembers less in its first steps.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.methods.base import Losses, Task, masked_mean, present
from braincli.methods.families.steered import Steered, SteeredConfig
from braincli.methods.presets import ADM_TINY, BRATS_256, STEERED_COMPACT, Preset


class SegmentationGuidedConfig(SteeredConfig):
    """Options of the guide; the defaults are the paper's."""

    scale: float = 5.0  # c
    reduction: Literal["mean", "sum"] = "mean"  # of the cross-entropy over pixels, as a guide


COMPACT: Preset = STEERED_COMPACT | {"scale": 0.5, "reduction": "sum"}


class SegmentationGuided(Steered):
    """Steered by the gradient of a segmenter of noised slices."""

    config: SegmentationGuidedConfig
    Config = SegmentationGuidedConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": BRATS_256},
        "compact": COMPACT,
        "tiny": COMPACT | ADM_TINY | {"steps": 2, "train_steps": {"diffusion": 4, "guide": 4}},
    }  # fmt: skip
    steered_by = "mask"

    def __init__(self, config: SegmentationGuidedConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.guide = config.unet(self.folded, 1)

    def guide_losses(self, batch: Task, generator: torch.Generator) -> Losses:
        """Cross-entropy of S at a random level per row, in slices whose lesions are known."""
        x, t, _ = self.noised(self.config.scaled(self.fold(batch.target)), generator)
        known = (batch.label >= 0)[:, None, None, None] & present(batch.target).any(dim=1, keepdim=True)
        if batch.unsure is not None:
            known = known & ~batch.unsure
        mask = self.per_row(batch.lesion.float())
        each = F.binary_cross_entropy_with_logits(self.guide(x, t), mask, reduction="none")
        loss = masked_mean(each, self.per_row(known))
        yield "guide", loss, {"cross_entropy": loss.detach()}

    def closeness(self, x: Tensor, t: Tensor, aim: Tensor) -> Tensor:
        """-H: mean or sum over pixels of the cross-entropy with the mask ``aim`` (R, 1, H, W) in [0, 1]."""
        each = F.binary_cross_entropy_with_logits(self.guide(x, t).float(), aim.float(), reduction="none").flatten(1)
        return -(each.mean(dim=1) if self.config.reduction == "mean" else each.sum(dim=1))

    def health(self, image: Tensor) -> Tensor:
        return torch.zeros_like(image[:, :1])

    def reading(self, image: Tensor) -> Tensor:
        """S of clean slices (B, C, H, W): probabilities (B, 1, H, W), of single contrasts their mean."""
        rows = self.guide(*self.at_rest(image)).float().sigmoid()
        return self.unfold(rows).mean(dim=1, keepdim=True)
