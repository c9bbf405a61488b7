"""VAE: variational autoencoder (Kingma & Welling 2014; Baur et al. 2021).

The network is that of :mod:`braincli.networks.autoencoder` with heads for mean and log-sigma; at test time the mean is
taken. Loss: L1 + weight x KL, KL = 1/2 sum(mu^2 + sigma^2 - ln sigma^2 - 1) over the latent.

What a KL weight means depends on how L1 is reduced, and the papers differ, hence ``reduction``: ``sum`` adds L1 up over
an image's pixels (Baur: weight 1), ``mean`` averages it (Behrendt: 0.001, which at 96 x 96 would be 9.2 with sums).
Either way the loss is computed per pixel here, which Adam does not notice.

Presets (see also :mod:`braincli.methods.ae`, whose ``paper``, ``baur`` and ``compact`` these follow):
- ``paper``: Behrendt et al.; 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63; KL weight 0.001.
- ``behrendt2024``: the same (96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63) with the maps of
  :mod:`braincli.methods.ae`'s.
- ``baur``: Baur et al.; 128 x 128 pixels of 1.875 mm, KL weight 1, 1,758,449 parameters.
- ``wang``: as TSGM is compared with (arXiv:2311.03074): all four contrasts as channels, 256 x 256 pixels of 1 mm,
  slices 80 to 128, five levels down to 8 x 8, 2.20 M parameters, else ``baur``; residuals are absolute there and not
  filtered.
- ``compact``: ours, as of AE, with a dense latent and the KL weight 1 x sum.

Deviations that remain are those of :mod:`braincli.methods.ae`. Wang et al. tuned their baselines and do not say how:
``wang`` has Baur's rate and batch.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from braincli.methods.base import Losses, Task, masked_mean
from braincli.methods.families.autoencoding import Variational, VariationalConfig
from braincli.methods.presets import (
    AUTOENCODER_BAUR,
    AUTOENCODER_COMPACT,
    AUTOENCODER_TINY,
    BEHRENDT,
    BEHRENDT_2024,
    KL_OF_SUMS,
    WANG,
    Preset,
)
from braincli.networks.autoencoder import divergence, sample


class VAE(Variational):
    """Reconstructs each slice from the mean of a Gaussian latent."""

    config: VariationalConfig
    Config = VariationalConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": BEHRENDT,
        "behrendt2024": BEHRENDT_2024,
        "baur": AUTOENCODER_BAUR | KL_OF_SUMS,
        "wang": AUTOENCODER_BAUR | KL_OF_SUMS | WANG | {"map": {}},
        "compact": AUTOENCODER_COMPACT | KL_OF_SUMS,
        "tiny": AUTOENCODER_TINY | KL_OF_SUMS,
    }

    def __init__(self, config: VariationalConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.build_network({"mean": config.latent, "log_sigma": config.latent})

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        rows = self.fold(batch.image)
        latent = self.net.encode(rows)
        reconstruction = self.unfold(self.net.decode(sample(**latent, generator=generator), generator))
        l1 = masked_mean((reconstruction - batch.target).abs(), batch.counts)
        kl = divergence(**latent).mean()
        yield "net", l1 + self.divergence_weight(rows) * kl, {"l1": l1.detach(), "kl": kl.detach()}

    def reconstruct(self, image: Tensor) -> Tensor:
        return self.unfold(self.net.decode(self.net.encode(self.fold(image))["mean"]))
