"""What the methods share that restore a slice in one pass and learn from the slice itself (AE, VAE, SVAE, GMVAE, DAE):
the training pair of input and target, the pixels that count in the loss, and the way from reconstruction to prediction.

Ours, for compact presets: ``known_only`` learns from every labelled slice and leaves known lesions out of the loss
(papers: from healthy slices, from the whole image); ``planted`` sets a lesion (:mod:`braincli.anomalies.lesions`) into
a share of the inputs, never into the targets, because what a network has not learnt to remove it copies, above all
after a short training.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.anomalies import lesions
from braincli.diffusion import draws
from braincli.methods.base import (
    Batch,
    Method,
    MethodConfig,
    Prediction,
    Sampling,
    Tick,
    healthy_tissue,
    no_tick,
    present,
    repeat_rows,
)
from braincli.methods.presets import EPOCHS_1600


class ReconstructionConfig(MethodConfig):
    """Options of every method of this family."""

    train_steps: dict[str, int] = Field(default=EPOCHS_1600)
    train_batch: int = 32
    rate: float = 1e-4
    known_only: bool = False
    planted: float = Field(default=0.0, ge=0, le=1)
    transplanted: float = Field(default=0.0, ge=0, le=1)  # share of the planted that are lesions of other slices


class Restoring(Method):
    """What is learnt from, and what becomes a prediction; how a slice is restored is left to the methods."""

    config: ReconstructionConfig

    def sampling(self, stage: str) -> Sampling:
        """Healthy slices, or all labelled ones where lesions are left out of the loss."""
        return "any" if self.config.known_only else "healthy"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {"net": torch.optim.Adam(self.parameters(), lr=self.config.rate)}

    def training_pair(self, batch: Batch, generator: torch.Generator) -> tuple[Batch, Tensor]:
        """The augmented batch, whose image is the target, and the network's input (B, C, H, W)."""
        batch = self.augmented(batch, generator)
        c = self.config
        if not c.planted:
            return batch, batch.image
        runs = -(-len(batch) // self.sequence)
        lesion = repeat_rows(lesions.draw((runs, *batch.image.shape[1:]), generator), self.sequence, len(batch))
        planted, _ = lesions.apply(batch.image, batch.brain, batch.lesion, lesion, transplanted=c.transplanted)
        chosen = draws.rand(generator, runs) < c.planted
        chosen = chosen.repeat_interleave(self.sequence)[: len(batch), None, None, None].to(planted.device)
        return batch, torch.where(chosen, planted, batch.image)

    def loss_mask(self, batch: Batch) -> Tensor:
        """(B, C, H, W) bool: pixels that count in the loss."""
        if self.config.known_only:
            return healthy_tissue(batch)
        return present(batch.image).expand_as(batch.image)

    def prediction(self, restored: Tensor, image: Tensor, brain: Tensor) -> Prediction:
        """``restored`` (B, C, h, w), scaled back to ``image`` and cut to the brain."""
        if restored.shape != image.shape:
            restored = F.interpolate(restored, size=tuple(image.shape[2:]), mode="bilinear", align_corners=False)
        return Prediction(restored=restored.float().clamp(0, 1) * (brain & present(image)))


class Reconstruction(Restoring):
    """A network ``net`` that reconstructs the healthy slice in one pass.

    Attributes:
        fixed_size: the network takes the training canvas and no other; scans that need a larger one are scaled.
    """

    fixed_size = False

    @abstractmethod
    def reconstruct(self, image: Tensor) -> Tensor:
        """The healthy slice (B, C, H, W), unbounded, of ``image``; nothing random."""

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        reconstruction = self.reconstruct(self.on_canvas(image))
        tick()
        return self.prediction(reconstruction, image, brain)

    def on_canvas(self, image: Tensor) -> Tensor:
        """``image``, scaled to the training canvas if the network takes no other."""
        if not self.fixed_size or tuple(image.shape[2:]) == tuple(self.size):
            return image
        return F.interpolate(image, size=tuple(self.size), mode="bilinear", antialias=True, align_corners=False)
