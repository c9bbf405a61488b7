"""DAE: denoising autoencoder with coarse noise (Kascenas et al. 2022, "Denoising autoencoders for unsupervised anomaly
detection in brain MRI", MIDL).

A U-Net (:mod:`braincli.networks.wsunet`) removes coarse Gaussian noise (:mod:`braincli.anomalies.coarse`) from the
foreground of healthy slices. At test time nothing is added: what looks like such noise is removed. A known
re-implementation shifts the noise by -1 everywhere; here its mean is 0.

Presets:
- ``paper``: four sequences as channels, 128 x 128 pixels of 1.875 mm, L2 in the foreground, AMSGrad 1e-4 with weight
  decay 1e-5, batch 16, 2100 epochs of 32 steps; one cosine decay over all of them (the original's goes up and down
  every 100 epochs). 7,701,825 parameters with one channel. Maps: absolute, averaged over sequences by the weights,
  median of 5.
- ``behrendt``: as pDDPM and SADM are compared with it: single contrasts, 96 x 96 pixels of 2 mm, 2 mm apart, slices 14
  to 63, L1, batch 32, 1600 epochs of one slice per case, constant rate; maps as in :mod:`braincli.methods.ae`.
- ``behrendt2024``: the same (96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63) with the maps of
  :mod:`braincli.methods.ae`'s.
- ``compact``: ours. A narrower network that gives the change instead of the slice; noise of random grid and strength;
  learns from every labelled slice with lesions left out of the loss; a share of the inputs holds a synthetic growth
  instead of noise; contrasts dropped at random; maps smoothed by 2 mm.

Deviations that remain: scans are scaled by the 1st and 99th percentile (Kascenas: by the 99th), the median is of three
directions (theirs lies in the slice), the mean over sequences takes calibrated weights; for Behrendt's comparisons
those of :mod:`braincli.methods.ae`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from braincli.anomalies import coarse
from braincli.diffusion import draws
from braincli.methods.base import Losses, Task, masked_mean
from braincli.methods.families.reconstruction import Reconstruction, ReconstructionConfig
from braincli.methods.lengths import Decay, Length
from braincli.methods.presets import (
    BEHRENDT,
    BEHRENDT_2024,
    COMPACT_MAP,
    EPOCHS_1600,
    KASCENAS_MAP,
    RESTORED,
    STEADY,
    WHOLE_128,
    Preset,
)
from braincli.networks.wsunet import WIDTHS, WSUNet


class DAEConfig(ReconstructionConfig):
    """Options of network and noise; the defaults are Kascenas'."""

    train_steps: dict[str, Length] = Field(default={"main": 67_200})
    train_batch: int = 16
    decay: Decay = "cosine"
    contrasts: Literal["single", "stacked"] = "stacked"
    widths: tuple[int, ...] = Field(default=WIDTHS, min_length=2)
    change: bool = False  # the network gives what is to be changed
    cells: tuple[int, ...] = Field(default=(16,), min_length=1)  # noise grids, of which each step takes a random one
    std: float = Field(default=0.2, gt=0)
    std_range: float = Field(default=1.0, ge=1)  # each row's std is up to so many times larger or smaller
    loss: Literal["l1", "l2"] = "l2"
    weight_decay: float = 1e-5


COMPARED: Preset = {
    "contrasts": "single", "loss": "l1", "train_batch": 32, "train_steps": EPOCHS_1600, "decay": "constant",
}  # fmt: skip
COMPACT: Preset = STEADY | {
    "lesson": RESTORED,
    "widths": (24, 48, 96, 192), "change": True, "cells": (4, 8, 16), "std": 0.3, "std_range": 2.0, "loss": "l1",
    "rate": 1e-3, "warmup": 50, "train_batch": 8, "train_steps": {"main": 900}, "map": COMPACT_MAP,
}  # fmt: skip


class DAE(Reconstruction):
    """Takes coarse noise, and what looks like it, out of slices."""

    config: DAEConfig
    Config = DAEConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_128, "map": KASCENAS_MAP},
        "behrendt": BEHRENDT | COMPARED,
        "behrendt2024": BEHRENDT_2024 | COMPARED,
        "compact": COMPACT,
        "tiny": COMPACT | {"widths": (4, 8, 12), "train_batch": 4, "train_steps": {"main": 4}, "warmup": 2},
    }  # fmt: skip

    def __init__(self, config: DAEConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.net = WSUNet(self.folded, self.folded, widths=config.widths)
        self.stride = self.net.stride
        if config.change:
            for last in self.net.decoder.last.parameters():
                nn.init.zeros_(last)

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return {"net": torch.optim.Adam(self.net.parameters(), c.rate, weight_decay=c.weight_decay, amsgrad=True)}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        noisy = coarse.apply(batch.target, batch.brain, self.noise(batch, generator))
        image = torch.where(batch.with_planted[:, None, None, None], batch.image, noisy)
        loss = self._error(self.reconstruct(image), batch)
        identity = self._error(image, batch)  # of a network that changes nothing
        yield "net", loss, {self.config.loss: loss.detach(), "identity": identity.detach()}

    def _error(self, restored: Tensor, batch: Task) -> Tensor:
        """Mean error in the foreground."""
        error = restored - batch.target
        return masked_mean(error.abs() if self.config.loss == "l1" else error**2, batch.counts & batch.brain)

    def noise(self, batch: Task, generator: torch.Generator) -> Tensor:
        """Coarse noise (B, C, H, W) for ``batch``."""
        c = self.config
        shape, chosen = tuple(batch.image.shape), draws.randint(generator, 0, len(c.cells), 1)
        kinds = [coarse.draw(shape, generator, cells=n, std=c.std) for n in c.cells]  # type: ignore[arg-type]
        noise = torch.stack(kinds)[chosen][0]
        exponent = 2 * draws.rand(generator, len(batch), 1, 1, 1) - 1
        return noise * c.std_range**exponent

    def reconstruct(self, image: Tensor) -> Tensor:
        output = self.unfold(self.net(self.fold(image)))
        return image + output if self.config.change else output
