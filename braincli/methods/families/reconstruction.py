"""What the methods share that restore a slice in one pass and learn from the slice itself (AE, VAE, SVAE, GMVAE, DAE):
what is put in, what is asked back, which pixels teach, and how a restoration is handed over.

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
from braincli.methods.base import Batch, Callback, Method, MethodConfig, Prediction, known, present, repeat_rows

# Behrendt et al.: 358 volumes in batches of 32 give 11 steps an epoch, 1600 epochs
EPOCHS_1600 = {"main": 17_600}


class ReconstructionConfig(MethodConfig):
    """Options of every method of this family."""

    train_steps: dict[str, int] = Field(default=EPOCHS_1600)
    train_batch: int = 32
    rate: float = 1e-4
    known_only: bool = False
    planted: float = Field(default=0.0, ge=0, le=1)
    transplanted: float = Field(default=0.0, ge=0, le=1)  # share of the planted that are lesions of other slices


class Restoring(Method):
    """What is learnt from, and how a restoration is handed over; how it is made is left to the methods."""

    def __init__(self, config: ReconstructionConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.reconstruction = config

    def diet(self, stage: str) -> str:
        """Healthy slices, or all labelled ones where lesions are left out of the loss."""
        return "any" if self.reconstruction.known_only else "healthy"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {"net": torch.optim.Adam(self.parameters(), lr=self.reconstruction.rate)}

    def pair(self, batch: Batch, generator: torch.Generator) -> tuple[Batch, Tensor]:
        """The varied batch, whose image is to be drawn, and the image (B, C, H, W) that the network sees."""
        batch = self.varied(batch, generator)
        c = self.reconstruction
        if not c.planted:
            return batch, batch.image
        runs = -(-len(batch) // self.run)
        drawn = repeat_rows(lesions.draw((runs, *batch.image.shape[1:]), generator), self.run, len(batch))
        planted, _ = lesions.apply(batch.image, batch.brain, batch.lesion, drawn, transplanted=c.transplanted)
        chosen = torch.rand(runs, generator=generator) < c.planted
        chosen = chosen.repeat_interleave(self.run)[: len(batch), None, None, None].to(planted.device)
        return batch, torch.where(chosen, planted, batch.image)

    def taught(self, batch: Batch) -> Tensor:
        """(B, C, H, W) bool: pixels that count in the loss."""
        if self.reconstruction.known_only:
            return known(batch)
        return present(batch.image).expand_as(batch.image)

    def handed_over(self, drawn: Tensor, image: Tensor, brain: Tensor) -> Prediction:
        """``drawn`` (B, C, h, w), scaled back to ``image`` and cut to the brain, as a prediction."""
        if drawn.shape != image.shape:
            drawn = F.interpolate(drawn, size=tuple(image.shape[2:]), mode="bilinear", align_corners=False)
        return Prediction(restored=drawn.float().clamp(0, 1) * (brain & present(image)))


class Reconstruction(Restoring):
    """A network ``net`` that draws the healthy slice.

    Attributes:
        bound: the network takes the training canvas and no other; scans that need a larger one are scaled.
    """

    bound = False

    @abstractmethod
    def draw(self, image: Tensor) -> Tensor:
        """The healthy slice (B, C, H, W), unbounded, of ``image``; nothing random."""

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        callback: Callback | None = None,
    ) -> Prediction:
        drawn = self.draw(self.on_canvas(image))
        if callback is not None:
            callback(1, 1)
        return self.handed_over(drawn, image, brain)

    def on_canvas(self, image: Tensor) -> Tensor:
        """``image``, scaled to the training canvas if the network is bound to it."""
        if not self.bound or tuple(image.shape[2:]) == tuple(self.size):
            return image
        return F.interpolate(image, size=tuple(self.size), mode="bilinear", antialias=True, align_corners=False)
