"""Bayesian SegNet (Kendall et al. 2017, "Bayesian SegNet: Model uncertainty in deep convolutional encoder-decoder
architectures for scene understanding", BMVC, arXiv:1511.02680), as ``diffseg`` is compared with it (Wolleb 2022, PhD
thesis, ch. 5 and App. B): SegNet with dropout of 0.5 in the three central units of the encoder and of the decoder, at
test time, too. The mean of several passes is the score; how far they differ (``detect --samples``, each of which is a
mean over ``ensemble`` passes: set that to 1 for their variance) shows what the model does not know.

Presets:
- ``paper``: 224 x 224 pixels of 1 mm, slices 80 to 128, four contrasts as channels, 29,444,161 parameters; as
  :mod:`braincli.methods.segnet`'s; the mean of 5 passes.
- ``compact``: ours, as of :mod:`braincli.methods.segnet`, with the same dropout.

Deviations that remain in ``paper`` are those of :mod:`braincli.methods.segnet`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.diffusion import draws
from braincli.methods.base import Losses, Task
from braincli.methods.families.segnets import SegNets, SegNetsConfig, each_with_its_own
from braincli.methods.presets import BRATS_224, SEGNET_COMPACT, SEGNET_TINY, Preset
from braincli.networks.autoencoder import dropout


class BayesianSegNetConfig(SegNetsConfig):
    """The shared options, and those of the dropout."""

    dropout: float = Field(default=0.5, gt=0, lt=1)
    ensemble: int = Field(default=5, ge=1)  # passes that a score is the mean of

    @property
    def stochastic(self) -> bool:
        return True


class BayesianSegNet(SegNets):
    """Drops out whenever it runs."""

    config: BayesianSegNetConfig
    Config = BayesianSegNetConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": BRATS_224},
        "compact": SEGNET_COMPACT,
        "tiny": SEGNET_COMPACT | SEGNET_TINY | {"ensemble": 2},
    }

    def __init__(self, config: BayesianSegNetConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.ensemble = config.ensemble

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        logits = self.logits(self.fold(batch.image), lambda x: dropout(x, self.config.dropout, generator))
        loss = self.loss(logits.float(), batch)
        yield "network", loss, {"segmentation": loss.detach()}

    def sample(self, rows: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        share = self.config.dropout

        def drop(x: Tensor) -> Tensor:
            return x * (each_with_its_own(draws.rand, x, generators) >= share).to(x) / (1 - share)

        return self.logits(rows, drop).sigmoid()

    def logits(self, rows: Tensor, drop: Callable[[Tensor], Tensor]) -> Tensor:
        """(R, C, H, W) -> (R, 1, H, W), with ``drop`` in the network."""
        patch = self.config.patch
        return F.pixel_shuffle(self.network.network(F.pixel_unshuffle(rows, patch), drop), patch)
