"""The VAE of Chen and Konukoglu (2018, "Unsupervised detection of lesions in brain MRI using constrained adversarial
auto-encoders", MIDL, arXiv:1806.04972), the baseline of DeScarGAN and dpm-classifier that learns from healthy slices
alone (Wolleb 2022, PhD thesis, ch. 6 and 7):

    L = E[|x - D(E(x))|_2] + KL(N(mu, sigma) || N(0, 1))                                        (thesis, Eq. 4.5)

with the norm of a whole image and the divergence summed over the latent; |x - D(mu)| shows the lesion. What the paper
itself proposes, that a reconstruction is to have the latent of its image, is the option ``consistency`` (the published
code has 0.5 times the squared distance of both), off as in the thesis.

Presets:
- ``paper``: 256 x 256 pixels of 1 mm, single contrasts; 500 epochs, 10 slices per step, Adam 1e-4, as ch. 7's code
  compares with it; 3,374,545 parameters.
- ``compact``: ours, as of :mod:`braincli.methods.vae`: small, all contrasts in one stack, dropped at random, known
  lesions left out of the loss, planted ones to be removed.

Deviations that remain in ``paper``: the published repository holds no network; the one here is
:mod:`braincli.networks.autoencoder`'s with a latent of 512.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from braincli.methods.base import Losses, Task
from braincli.methods.families.autoencoding import AutoencoderConfig, Autoencoding
from braincli.methods.lengths import Epochs, Length
from braincli.methods.presets import AUTOENCODER_COMPACT, AUTOENCODER_TINY, WHOLE_256, Preset
from braincli.networks.autoencoder import divergence, sample


class VAEChenConfig(AutoencoderConfig):
    """Options of network and loss; the defaults are those of the comparison."""

    train_steps: dict[str, Length] = Field(default={"main": Epochs(number=500)})
    train_batch: int = 10
    latent: int = 512
    dropout: float = Field(default=0.0, ge=0, lt=1)
    kl_weight: float = Field(default=1.0, ge=0)
    consistency: float = Field(default=0.0, ge=0)  # of the latents of an image and of its reconstruction


class VAEChen(Autoencoding):
    """Reconstructs each slice from the mean of a Gaussian latent."""

    config: VAEChenConfig
    Config = VAEChenConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_256},
        "compact": AUTOENCODER_COMPACT,
        "tiny": AUTOENCODER_TINY,
    }

    def __init__(self, config: VAEChenConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.build_network({"mean": config.latent, "log_sigma": config.latent})

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        c = self.config
        latent = self.net.encode(self.fold(batch.image))
        reconstruction = self.unfold(self.net.decode(sample(**latent, generator=generator), generator))
        error = self.fold((reconstruction - batch.target) * batch.counts).float()
        norm = (error.flatten(1) ** 2).sum(dim=1).add(1e-8).sqrt().mean()
        kl = divergence(**latent).mean()
        loss, logs = norm + c.kl_weight * kl, {"norm": norm.detach(), "kl": kl.detach()}
        if c.consistency:
            again = self.net.encode(self.fold(reconstruction * batch.counts))["mean"]
            apart = ((again - latent["mean"]).flatten(1) ** 2).sum(dim=1).mean()
            loss, logs["consistency"] = loss + c.consistency * apart, apart.detach()
        yield "net", loss, logs

    def reconstruct(self, image: Tensor) -> Tensor:
        return self.unfold(self.net.decode(self.net.encode(self.fold(image))["mean"]))
