"""SVAE: a VAE whose slices know their neighbours (Behrendt et al., "Capturing inter-slice dependencies of 3D brain
MRI-scans for unsupervised anomaly detection", MIDL 2022 short paper).

The paper links the latents of a 2-D VAE along the slice axis by a recurrent network or self-attention and gives no
more. Here: a shared encoder takes 128 features from every slice of a run of 16, a bidirectional GRU (half the width per
direction) passes over the run, mean and log-sigma follow per slice, a shared decoder reconstructs the slice. Loss and
options are those of :mod:`braincli.methods.vae`.

A run's slices are augmented alike in training, and a planted growth goes through all of them. A row's prediction
depends on the rows of its run.

Preset ``paper`` has the settings of Behrendt et al. 2023 (96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63, single
contrasts, KL weight 0.001, two runs per step instead of 32 slices of as many subjects); ``compact`` is that of VAE.

Deviations that remain: the link between slices is our reading of a short paper; those of :mod:`braincli.methods.ae`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from braincli.methods.base import Losses, Task, masked_mean
from braincli.methods.families.autoencoding import Variational, VariationalConfig
from braincli.methods.presets import AUTOENCODER_COMPACT, AUTOENCODER_TINY, BEHRENDT, KL_OF_SUMS, Preset
from braincli.networks.autoencoder import divergence, sample


class SVAEConfig(VariationalConfig):
    """Options of VAE, but slices are linked through vectors."""

    latent: int = Field(default=128, multiple_of=2)
    spatial: Literal[False] = False


class SVAE(Variational):
    """Reconstructs each slice from a latent that depends on its neighbours, too."""

    config: SVAEConfig
    Config = SVAEConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": BEHRENDT,
        "compact": AUTOENCODER_COMPACT | KL_OF_SUMS | {"train_batch": 32, "train_steps": {"main": 450}},
        "tiny": AUTOENCODER_TINY | KL_OF_SUMS | {"train_batch": 16},
    }
    sequence = 16

    def __init__(self, config: SVAEConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.build_network({"features": config.latent})
        self.link = nn.GRU(config.latent, config.latent // 2, bidirectional=True)
        self.mean, self.log_sigma = (nn.Linear(config.latent, config.latent) for _ in range(2))

    def latent(self, image: Tensor) -> dict[str, Tensor]:
        """Mean and log-sigma (rows, latent) of the network's rows of slices (B, C, H, W), which come in runs."""
        features = self.net.encode(self.fold(image))["features"]
        steps = features.unflatten(0, (len(image), -1))  # slices, contrasts as rows of their own, features
        linked = torch.cat([self.link(part)[0] for part in steps.split(self.sequence)]).flatten(0, 1)
        return {"mean": self.mean(linked), "log_sigma": self.log_sigma(linked)}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        latent = self.latent(batch.image)
        reconstruction = self.unfold(self.net.decode(sample(**latent, generator=generator), generator))
        l1 = masked_mean((reconstruction - batch.target).abs(), batch.counts)
        kl = divergence(**latent).mean()
        yield "net", l1 + self.divergence_weight(self.fold(batch.image)) * kl, {"l1": l1.detach(), "kl": kl.detach()}

    def reconstruct(self, image: Tensor) -> Tensor:
        return self.unfold(self.net.decode(self.latent(image)["mean"]))
