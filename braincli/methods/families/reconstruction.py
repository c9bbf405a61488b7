"""What the methods share that restore a slice in one pass and learn from the slice itself (AE, VAE, SVAE, GMVAE, DAE):
the optimiser, and the way from reconstruction to prediction.

The papers learn from healthy slices, and from the whole image. The lesson of compact presets leaves known lesions out
instead, and plants lesions into a share of the inputs, never into the targets, because what a network has not learnt to
remove it copies, above all after a short training.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.methods.base import Method, MethodConfig, Prediction, Tick, no_tick, present
from braincli.methods.lengths import Length
from braincli.methods.presets import EPOCHS_1600


class ReconstructionConfig(MethodConfig):
    """Options of every method of this family."""

    train_steps: dict[str, Length] = Field(default=EPOCHS_1600)
    train_batch: int = 32
    rate: float = 1e-4


class Restoring(Method):
    """What is optimised, and what becomes a prediction; how a slice is restored is left to the methods."""

    config: ReconstructionConfig

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {"net": torch.optim.Adam(self.parameters(), lr=self.config.rate)}

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
