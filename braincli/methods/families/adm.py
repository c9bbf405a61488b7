"""What the methods share that Wolleb et al. and Sanchez et al. build on Dhariwal and Nichol 2021 ("ADM"): network,
process and loss of a variance-preserving model that is sampled in a chain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from braincli.diffusion import draws
from braincli.diffusion.schedule import ScheduleName, named
from braincli.diffusion.vp import VP, Target
from braincli.methods.base import MethodConfig
from braincli.networks.unet import Injection, Resampling, UNet


class ADMConfig(MethodConfig):
    """Options of network and process; the defaults are those of Wolleb et al. 2022."""

    train_batch: int = 10
    ema: float = 0.9999
    contrasts: Literal["single", "stacked"] = "stacked"
    rate: float = 1e-4
    weight_decay: float = 0.0
    # network
    width: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    blocks: int = 2
    attention: tuple[int, ...] = (4,)  # levels; the middle always has it
    injection: Injection = "add"
    resampling: Resampling = "interpolated"
    dropout: float = Field(default=0.0, ge=0, lt=1)  # in the residual blocks
    patch: int = Field(default=1, ge=1)  # pixels per side folded into channels
    # process
    schedule: ScheduleName = "linear"
    target: Target = "eps"
    learned_variance: bool = True  # the hybrid loss; else the simple one
    centred: bool = False  # what is noised lies in [-1, 1]; else in [0, 1]
    clip: bool = True  # estimates of x0 are kept in [-1, 1] while sampling

    def network(self, inputs: int, noised: int, classes: int = 0) -> UNet:
        """The U-Net for ``noised`` channels (of ``inputs``), with a variance for each where it is learned."""
        return self.unet(inputs, noised * (1 + self.learned_variance), classes)

    def unet(self, inputs: int, outputs: int, classes: int = 0) -> UNet:
        """The U-Net with any outputs."""
        return UNet(
            inputs, outputs, width=self.width, multipliers=self.multipliers,
            blocks=self.blocks, attention=self.attention, injection=self.injection,
            resampling=self.resampling, classes=classes, dropout=self.dropout, patch=self.patch,
        )  # fmt: skip

    def process(self) -> VP:
        """Schedule and target, T = 1,000."""
        return VP(named(self.schedule), self.target, (-1.0, 1.0) if self.clip else None)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """AdamW (Adam where there is no weight decay)."""
        return torch.optim.AdamW(parameters, lr=self.rate, weight_decay=self.weight_decay)

    def scaled(self, image: Tensor) -> Tensor:
        """[0, 1] -> the range that is noised."""
        return image * 2 - 1 if self.centred else image

    def unscaled(self, x: Tensor) -> Tensor:
        """The way back."""
        return (x + 1) / 2 if self.centred else x

    @property
    def loss_name(self) -> str:
        """``hybrid`` (Nichol and Dhariwal 2021) or ``simple`` (Ho et al. 2020)."""
        return "hybrid" if self.learned_variance else "simple"

    def error(self, process: VP, output: Tensor, x: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """(B, C, H, W) :attr:`loss_name` loss of a network's ``output`` for x_t = ``x``."""
        if self.learned_variance:
            return process.hybrid_loss(output, x, x0, noise, t)
        return process.simple_loss(output, x0, noise, t)


def random_times(rows: int, process: VP, generator: torch.Generator, device: torch.device) -> Tensor:
    """(rows,) int64 in 1 ... T, uniform."""
    return draws.randint(generator, 1, process.schedule.steps + 1, rows).to(device)
