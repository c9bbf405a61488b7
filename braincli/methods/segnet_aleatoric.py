"""Aleatoric SegNet, whose maps of uncertainty ``diffseg`` is compared with (Wolleb 2022, PhD thesis, ch. 5, App. B):
SegNet with a second output, the spread sigma of its logit f, and the loss of Kendall and Gal (2017, "What uncertainties
do we need in Bayesian deep learning for computer vision?", NeurIPS, arXiv:1703.04977, Eq. 12), as Jungo and Reyes
(2019, "Assessing reliability and challenges of uncertainty estimations for medical image segmentation", MICCAI) have
it:

    L = -log p(mask),   p = mean over T of sigmoid(f + sigma eps_t),   eps_t ~ N(0, 1) for each pixel

Predictions are such means, too; how far single ones differ (``detect --samples`` with ``--set ensemble=1`` in training)
shows where the image itself does not tell.

Presets:
- ``paper``: 224 x 224 pixels of 1 mm, slices 80 to 128, four contrasts as channels, 29,444,738 parameters; as
  :mod:`braincli.methods.segnet`'s; T = 10.
- ``compact``: ours, as of :mod:`braincli.methods.segnet`, without the Dice term.

Deviations that remain in ``paper``: those of :mod:`braincli.methods.segnet`; the network gives log(sigma); two classes
share one logit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.diffusion import draws
from braincli.methods.base import Losses, Task, masked_mean
from braincli.methods.families.segnets import SegNets, SegNetsConfig, each_with_its_own
from braincli.methods.presets import BRATS_224, SEGNET_COMPACT, SEGNET_TINY, Preset

WIDEST = 5.0  # log(sigma): beyond it every pixel is a toss


class AleatoricSegNetConfig(SegNetsConfig):
    """The shared options, and how often a logit is sampled."""

    ensemble: int = Field(default=10, ge=1)  # samples of a logit, in the loss and of a score

    @property
    def stochastic(self) -> bool:
        return True


class AleatoricSegNet(SegNets):
    """Samples its own logits."""

    config: AleatoricSegNetConfig
    Config = AleatoricSegNetConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": BRATS_224},
        "compact": SEGNET_COMPACT | {"dice": 0.0},
        "tiny": SEGNET_COMPACT | SEGNET_TINY | {"dice": 0.0, "ensemble": 2},
    }
    outputs = 2

    def __init__(self, config: AleatoricSegNetConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.ensemble = config.ensemble

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        logit, sigma = self.logits(self.fold(batch.image))
        noise = draws.randn(generator, self.ensemble, *logit.shape).to(logit)
        sampled = logit + sigma * noise
        target = self.per_row(batch.sick.float())
        signed = sampled * (2 * target - 1)
        likelihood = torch.logsumexp(F.logsigmoid(signed), dim=0) - math.log(self.ensemble)
        loss = masked_mean(-likelihood, self.counted(batch))
        yield "network", loss, {"segmentation": loss.detach(), "sigma": sigma.mean().detach()}

    def logits(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logit and its sigma, (R, 1, H, W) float32 each."""
        logit, log_sigma = self.network(rows).float().chunk(2, dim=1)
        return logit, log_sigma.clamp(max=WIDEST).exp()

    def sample(self, rows: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        logit, sigma = self.logits(rows)
        return (logit + sigma * each_with_its_own(draws.randn, logit, generators)).sigmoid()
