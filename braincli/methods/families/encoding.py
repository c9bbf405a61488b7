"""What methods share that encode a slice into noise and decode it again, led somewhere on the way back (Wolleb et al.
2022): a class-conditional diffusion model, DDIM run backwards (Eq. 6) and forwards.

Encoding keeps what identifies a slice; without guidance decoding undoes it. Other than by random noise the anatomy
survives.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from pydantic import Field
from torch import Tensor

from braincli.diffusion import samplers
from braincli.diffusion.samplers import Denoise
from braincli.diffusion.vp import Network
from braincli.methods.base import Method, Sampling, Tick, no_tick
from braincli.methods.families.adm import ADMConfig

HEALTHY, DISEASED, NULL = 0, 1, -1


class EncodingConfig(ADMConfig):
    """Options of training and of the way there and back, beside those of network and process."""

    balanced: bool = False  # half of a batch is diseased; else slices come as the cohort has them
    label_dropout: float = Field(default=0.0, ge=0, le=1)  # rows whose class is hidden from the network
    level: int = Field(default=500, ge=1, le=1000)  # the noisiest t, of 1,000
    steps: int = Field(default=500, ge=1)  # levels from there to 0, spread evenly
    refine: int = Field(default=0, ge=0)  # iterations that make each step of the encoder exact; few steps need them


class Encoding(Method):
    """A class-conditional diffusion model and its encoder; what leads the way back is left to the methods."""

    config: EncodingConfig

    def __init__(self, config: EncodingConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.process = config.process()
        self.net = config.network(self.folded, self.folded, classes=2)
        self.stride = self.net.stride

    def sampling(self, stage: str) -> Sampling:
        return "balanced" if self.config.balanced else "any"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {"net": self.config.optimizer(self.net.parameters())}

    def encode(self, x: Tensor, tick: Tick = no_tick) -> Tensor:
        """``x`` (R, C, H, W), in the range that is noised, at the noisiest level (Wolleb et al., Eq. 6); float64."""
        return samplers.encode(self.encoder(), x, self.sigmas(), tick=tick, refine=self.config.refine)

    def led_back(self, denoise: Denoise, x: Tensor, tick: Tick = no_tick) -> Tensor:
        """The way back by DDIM, as ``denoise`` leads it."""
        return samplers.ddim(denoise, x, self.sigmas(), generators=(), tick=tick)

    @abstractmethod
    def encoder(self) -> Denoise:
        """What a slice is encoded with."""

    def conditioned(self, label: int) -> Network:
        """The network with one class for all rows (NULL: none)."""

        def network(x: Tensor, t: Tensor) -> Tensor:
            output: Tensor = self.net(x, t, label=torch.full((len(x),), label, device=x.device))
            return output

        return network

    def times(self) -> list[int]:
        """Levels that the chain visits, descending."""
        return self.process.schedule.spaced(self.config.steps, last=self.config.level)

    def sigmas(self) -> Tensor:
        """The same as the samplers want them."""
        return self.process.schedule.sigmas(self.times())

    def calls(self) -> int:
        return len(self.times()) * (2 + self.config.refine)
