"""AE: autoencoder with a dense or spatial latent (Baur et al. 2021, "Autoencoders for unsupervised anomaly segmentation
in brain MR images: a comparative study", Med Image Anal 69).

What does not fit through the latent is not reconstructed, hence the residual shows what healthy brains do not have. The
network is that of :mod:`braincli.networks.autoencoder`; the loss is L1. At test time a scan that needs a larger canvas
than the training's is scaled to it where the latent is dense.

Presets:
- ``paper``: as Behrendt et al. compare with it (arXiv:2303.03758, arXiv:2403.15316): single contrasts, Adam 1e-4 (the
  former prints 1e-5, its configuration has 1e-4), batch 32, 1600 epochs of one slice per case. Residual maps as there:
  absolute, rim of 6 mm off, median of 5. 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63; three levels down to 12 x
  12: 1.52 M parameters.
- ``behrendt2024``: as SADM is compared with it (Behrendt et al. 2024): 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to
  63, of T1, with maps of 1 - SSIM in windows of 9 x 9 x 9, median of 5, no erosion.
- ``baur``: Baur et al.: batch 128; 128 x 128 pixels of 1.875 mm, four levels down to 8 x 8; 1,627,249 parameters. The
  number of steps is ours (early stopping there). Maps of positive residuals.
- ``spatial``: ``baur`` (128 x 128 pixels of 1.875 mm) with the 8 x 8 x 16 map itself as the latent, no dense layers.
- ``compact``: ours. All contrasts in one stack, dropped at random; spatial latent; learns from every labelled slice
  with lesions left out of the loss; in half of the inputs a synthetic growth is planted, which is to be removed;
  group norm (averaged weights and batch norm's statistics do not go together in short trainings); maps smoothed by
  2 mm.

Deviations that remain. Behrendt's comparisons: slices are drawn from the whole cohort at random (theirs: one of every
subject per epoch); how deep the network is at 96 x 96 is not printed; scans are not smoothed by curvature flow when
they are read (their code); the best weights are chosen where ``train --validation`` is given; components below seven
voxels are left to calibration. Baur's: no early stopping without ``--validation``, and no prior that keeps the
brightest tenth of the brain alone.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from braincli.methods.base import Losses, Task, masked_mean
from braincli.methods.families.autoencoding import AutoencoderConfig, Autoencoding
from braincli.methods.presets import (
    AUTOENCODER_BAUR,
    AUTOENCODER_COMPACT,
    AUTOENCODER_TINY,
    BEHRENDT,
    BEHRENDT_2024,
    Preset,
)


class AE(Autoencoding):
    """Passes each slice through a narrow latent."""

    config: AutoencoderConfig
    Config = AutoencoderConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": BEHRENDT,
        "behrendt2024": BEHRENDT_2024,
        "baur": AUTOENCODER_BAUR,
        "spatial": AUTOENCODER_BAUR | {"spatial": True},
        "compact": AUTOENCODER_COMPACT | {"spatial": True},
        "tiny": AUTOENCODER_TINY,
    }

    def __init__(self, config: AutoencoderConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.build_network({"z": config.latent})

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        reconstruction = self.unfold(self.net.decode(self.net.encode(self.fold(batch.image))["z"], generator))
        loss = masked_mean((reconstruction - batch.target).abs(), batch.counts)
        yield "net", loss, {"l1": loss.detach()}

    def reconstruct(self, image: Tensor) -> Tensor:
        return self.unfold(self.net.decode(self.net.encode(self.fold(image))["z"]))
