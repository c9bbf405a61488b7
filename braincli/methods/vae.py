"""VAE: variational autoencoder (Kingma & Welling 2014; Baur et al. 2021).

The network is that of :mod:`braincli.networks.autoencoder` with heads for mean and log-sigma; at test time the mean is
taken. Loss: L1 + weight x KL, KL = 1/2 sum(mu^2 + sigma^2 - ln sigma^2 - 1) over the latent.

What a KL weight means depends on how L1 is reduced, and the papers differ, hence ``reduction``: ``sum`` adds L1 up over
an image's pixels (Baur: weight 1), ``mean`` averages it (Behrendt: 0.001, which at 96 x 96 would be 9.2 with sums).
Either way the loss is computed per pixel here, which the optimiser does not notice and gradient clipping needs.

Presets (see also :mod:`braincli.methods.ae`, whose ``paper``, ``baur`` and ``compact`` these follow):
- ``paper``: Behrendt et al.; 96 x 96, KL weight 0.001.
- ``baur``: Baur et al.; 128 x 128, KL weight 1, 1,758,449 parameters.
- ``wang``: as TSGM is compared with (arXiv:2311.03074): all four contrasts as channels, 256 x 256, five levels down to
  8 x 8, 2.20 M parameters, else ``baur``; residuals are absolute there and not filtered.
- ``compact``: ours, as of AE, with a dense latent and the KL weight 1 x sum.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from braincli.methods.ae import BAUR, BEHRENDT_MAP, COMPACT, TINY, AutoencoderConfig, Autoencoding
from braincli.methods.base import Batch, Losses, masked_mean
from braincli.networks.autoencoder import divergence, sample

WANG_MAP: dict[str, Any] = {"residual": "absolute", "median": 0, "smooth_mm": 0.0, "erode_mm": 0.0}
SUMMED: dict[str, Any] = {"kl_weight": 1.0, "reduction": "sum"}


class VAEConfig(AutoencoderConfig):
    """Options of the network and of the loss; the defaults are Behrendt's."""

    kl_weight: float = Field(default=0.001, ge=0)
    reduction: Literal["mean", "sum"] = "mean"


class Variational(Autoencoding):
    """What the variational methods share: the weight of divergences."""

    def __init__(self, config: VAEConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.options = config

    def weight(self, seen: Tensor) -> float:
        """What a divergence counts beside an L1 that is averaged over the pixels of the network's rows ``seen``."""
        return self.options.kl_weight / (seen[0].numel() if self.options.reduction == "sum" else 1)


class VAE(Variational):
    """Draws each slice from the mean of a Gaussian latent."""

    Config = VAEConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "baur": BAUR | SUMMED,
        "wang": BAUR | SUMMED | {"contrasts": "stacked", "map": WANG_MAP},
        "compact": COMPACT | SUMMED,
        "tiny": TINY | SUMMED,
    }
    map = BEHRENDT_MAP

    def __init__(self, config: VAEConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.hold(config, {"mean": config.latent, "log_sigma": config.latent})

    def losses(self, batch: Batch, stage: str, generator: torch.Generator) -> Losses:
        batch, seen = self.pair(batch, generator)
        rows = self.fold(seen)
        latent = self.net.encode(rows)
        drawn = self.unfold(self.net.decode(sample(**latent, generator=generator), generator))
        l1 = masked_mean((drawn - batch.image).abs(), self.taught(batch))
        kl = divergence(**latent).mean()
        yield "net", l1 + self.weight(rows) * kl, {"l1": l1.item(), "kl": kl.item()}

    def draw(self, image: Tensor) -> Tensor:
        return self.unfold(self.net.decode(self.net.encode(self.fold(image))["mean"]))
