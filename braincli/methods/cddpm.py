"""cDDPM: DDPM conditioned on the encoded slice (Behrendt et al. 2023b, "Guided reconstruction with conditioned
diffusion models for unsupervised anomaly detection in brain MRIs", arXiv:2312.04215).

Stage ``pretrain``: the encoder learns to fill hidden cells of slices (masked modelling as in SparK,
:mod:`braincli.networks.masked`). Stage ``main``: a one-step DDPM with simplex noise, every residual block of which also
gets a feature vector of the clean slice, c = Enc(x), beside the time embedding; encoder and U-Net learn together. The
vector keeps the overall intensities and is too narrow for a lesion's shape. Restorations of three noise levels are
averaged.

Presets:
- ``paper``: 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63; ResNet-50 with 512 features, pre-trained with 65 %
  hidden, L2 on the hidden cells, AdamW 1e-4 with weight decay 0.05; U-Net channels as printed, rate 1e-5, t = 250, 500,
  750. Maps: 1 - SSIM in 9 x 9 x 9, median of 5 (Behrendt et al. 2024). Deviations: noise per slice and normalised; the
  whole cohort's slices, not one per volume and epoch.
- ``reference``: the published code: 44,068,481 + 24,550,848 parameters, cosine schedule, rate 1e-4, one unnormalised
  field.
- ``compact``: ours, as AnoDDPM's (:mod:`braincli.methods.anoddpm`) with a plain encoder of 32 features.

Deviations that remain, beside those named: those of :mod:`braincli.methods.anoddpm`; pre-training has a constant rate.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.methods.base import Losses, Task, masked_mean
from braincli.methods.families.denoising import Denoising, DenoisingConfig, centred
from braincli.methods.lengths import Epochs, Length
from braincli.methods.presets import (
    COMPACT_MAP,
    DENOISING_COMPACT,
    DENOISING_REFERENCE,
    DENOISING_TINY,
    EPOCHS_1600,
    HALF_96,
    SSIM_MAP,
    Preset,
)
from braincli.networks import masked


class CDDPMConfig(DenoisingConfig):
    """Options of the condition and its pre-training; the defaults are the paper's."""

    train_steps: dict[str, Length] = Field(default={"pretrain": Epochs(number=1200, of="cases"), **EPOCHS_1600})
    levels: tuple[int, ...] = Field(default=(250, 500, 750), min_length=1)
    features: int = 512
    encoder: tuple[int, ...] = ()  # widths of a plain encoder; none is ResNet-50
    hidden: float = Field(default=0.65, gt=0, lt=1)
    decoder_width: int = 512  # of the decoder that pre-training needs
    pretrain_rate: float = 1e-4


COMPACT: Preset = DENOISING_COMPACT | {
    "levels": (250, 350, 450), "features": 32, "encoder": (16, 32, 48, 64), "decoder_width": 48, "pretrain_rate": 1e-3,
    "train_batch": 16, "train_steps": {"pretrain": 300, "main": 900}, "map": COMPACT_MAP,
}  # fmt: skip


class CDDPM(Denoising):
    """Noised slices denoised, with the clean slice's features in every block."""

    config: CDDPMConfig
    Config = CDDPMConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": HALF_96, "map": SSIM_MAP},
        "reference": {"slices": HALF_96, "map": SSIM_MAP} | DENOISING_REFERENCE,
        "compact": COMPACT,
        "tiny": COMPACT | DENOISING_TINY | {
            "features": 8, "encoder": (8, 8), "decoder_width": 8, "train_steps": {"pretrain": 4, "main": 4},
            "levels": (300,),
        },
    }  # fmt: skip
    stages: tuple[str, ...] = ("pretrain", "main")
    stage_share: ClassVar[dict[str, float]] = {"pretrain": 0.1, "main": 0.9}
    optional_weights = ("decoder.",)
    renamed_weights: ClassVar[dict[str, str]] = {"painter.": "decoder."}

    def __init__(self, config: CDDPMConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size, condition=config.features)
        c = config
        self.encoder = (
            masked.plain(self.folded, c.features, c.encoder) if c.encoder else masked.resnet50(self.folded, c.features)
        )
        self.decoder = masked.MaskedDecoder(self.encoder.widths, self.folded, c.decoder_width)

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        if stage == "main":
            return {"net": torch.optim.Adam([*self.net.parameters(), *self.encoder.parameters()], lr=c.rate)}
        learnt = [*self.encoder.stages.parameters(), *self.decoder.parameters()]
        betas = (0.9, 0.95)
        return {"encoder": torch.optim.AdamW(learnt, lr=c.pretrain_rate, betas=betas, weight_decay=0.05)}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        if stage == "pretrain":
            yield from self._masked_modelling(batch, generator)
        else:
            yield from super().losses(batch, stage, generator)

    def context(self, image: Tensor) -> dict[str, Tensor]:
        return {"condition": self.encoder(centred(self.fold(image)))}

    def _masked_modelling(self, batch: Task, generator: torch.Generator) -> Losses:
        """L2 of the hidden cells, decoded from the visible ones."""
        image, size = centred(self.fold(batch.target)), (batch.image.shape[2], batch.image.shape[3])
        visible = masked.cells(size, len(image), self.encoder.cell, self.config.hidden, generator).to(image.device)
        reconstruction = self.decoder(self.encoder.maps(image, visible), visible, size)
        hidden = F.interpolate(visible, size=size, mode="nearest") == 0
        loss = masked_mean((reconstruction - image) ** 2, self.fold(batch.counts) & hidden)
        yield "encoder", loss, {"masked_l2": loss.detach()}
