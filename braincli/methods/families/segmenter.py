"""What methods share that segment lesions directly: a weight-standardised U-Net whose sigmoid is the score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.anomalies import draem, kinds, poisson
from braincli.diffusion import draws
from braincli.methods.base import Method, MethodConfig, Prediction, Task, Tick, masked_mean, no_tick, present
from braincli.networks.patched import Patched
from braincli.networks.wsunet import WIDTHS, WSUNet


class SegmenterConfig(MethodConfig):
    """Network and loss of a segmenter; the defaults are the denoising autoencoder's U-Net and cross-entropy alone."""

    widths: tuple[int, ...] = WIDTHS
    patch: int = Field(default=1, ge=1)  # pixels per side folded into channels
    rate: float = 1e-4
    dice: float = Field(default=0.0, ge=0)  # weight of 1 - soft Dice beside the cross-entropy


class Segmenter(Method):
    """Base of score-only methods with one U-Net."""

    config: SegmenterConfig
    Config = SegmenterConfig

    def __init__(self, config: SegmenterConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        folds = config.patch**2
        self.network = Patched(WSUNet(self.folded * folds, folds, widths=config.widths), config.patch)
        self.stride = self.network.stride

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {"network": torch.optim.Adam(self.network.parameters(), lr=self.config.rate)}

    def loss(self, image: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Binary cross-entropy with a soft target, and Dice where the options ask for it.

        Args:
            image: (B, C, H, W). target: (B, 1, H, W) in [0, 1].
            mask: (B, C, H, W) or (B, 1, H, W) bool, what counts; contrasts are pooled where the network gets all.
        """
        logits = self.network(self.fold(image)).float()
        mask = mask.any(dim=1, keepdim=True) if self.folded == self.channels else self.fold(mask.expand_as(image))
        return segmentation_loss(logits, self.per_row(target), mask, self.config.dice)

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        rows = self.network(self.fold(image)).float().sigmoid()
        tick()
        return Prediction(None, pooled(self.unfold(rows), image, brain))


def segmentation_loss(logits: Tensor, target: Tensor, mask: Tensor, dice: float = 0.0) -> Tensor:
    """Mean binary cross-entropy over ``mask``, plus ``dice`` times 1 - soft Dice of the whole batch.

    Args:
        logits: (R, 1, H, W) float32. target: the same shape, in [0, 1]. mask: the same shape, bool.
    """
    loss = masked_mean(F.binary_cross_entropy_with_logits(logits, target, reduction="none"), mask)
    if dice:
        p = logits.sigmoid() * mask
        overlap = (2 * (p * target).sum() + 1) / (p.sum() + (target * mask).sum() + 1)
        loss = loss + dice * (1 - overlap)
    return loss


@torch.no_grad()
def plant(
    name: str,
    batch: Task,
    generator: torch.Generator,
    *,
    clean: float = 0.5,
    whole_slice: bool = False,
    uniform_threshold: bool = False,
) -> tuple[Tensor, Tensor]:
    """Slices with synthetic anomalies (B, C, H, W) and their masks (B, 1, H, W), 0.0 or 1.0.

    Args:
        name: one of :data:`braincli.anomalies.kinds.KINDS`, or ``mixed``.
        clean: share of rows that stay as they are; those in which the lesson has planted a lesion all do.
        whole_slice: anomalies may lie beside the brain, too. uniform_threshold: of ``draem``'s masks.
    """
    where = torch.ones_like(batch.brain) if whole_slice else batch.brain
    if name == "draem":
        shape = tuple(batch.target.shape)
        anomaly = draem.draw(shape, generator, uniform_threshold=uniform_threshold)  # type: ignore[arg-type]
        image, alpha = draem.apply(batch.target, where, anomaly)
    else:
        image, alpha = kinds.plant(name, batch.target, where, other_slices(batch, generator), generator)
    drawn = draws.rand(generator, len(batch)).to(image.device)
    kept = ((drawn < clean) | batch.with_planted)[:, None, None, None]
    return torch.where(kept, batch.image, image), (torch.where(kept, batch.planted, alpha) > 0.5).float()


def countable(batch: Task) -> Tensor:
    """(B, C, H, W) bool: what counts where lesions are what is learnt: what the lesson counts, and all of the brain."""
    return batch.counts | (batch.brain & present(batch.target))


def pooled(score: Tensor, image: Tensor, brain: Tensor) -> Tensor:
    """(B, 1 or C, H, W) scores -> (B, 1, H, W), their mean over the contrasts that are there; 0 outside the brain."""
    there = present(image).to(score.dtype)
    if score.shape[1] == 1:
        return score * (brain & present(image).any(dim=1, keepdim=True))
    return (score * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True).clamp_min(1) * brain


def other_slices(batch: Task, generator: torch.Generator) -> Tensor:
    """(B, C, H, W): for every row another one of about the same height."""
    return batch.target[partners(batch, generator)]


def partners(batch: Task, generator: torch.Generator) -> Tensor:
    """(B,) indices: for every row another one of about the same height, and of the same contrast."""
    apart = 0 if batch.contrast is None else 2 * batch.contrast
    return poisson.partners(batch.position + apart, generator)
