"""What the methods share that turn a diseased slice into a healthy one by guided diffusion (Wolleb et al. 2022;
Sanchez et al. 2022): a class-conditional model, deterministic encoding into noise, and guided decoding.

A slice is encoded by DDIM run backwards, which keeps what identifies it; decoding runs DDIM forwards under guidance
towards the class healthy. Without guidance one undoes the other. Other than by random noise the anatomy survives.

Ours, for compact presets, because few patients teach a network that slices of some heights are healthy rather than that
tissue is (both are options of the lesson, :mod:`braincli.methods.lesson`):
- ``leave_out``: half of the diseased slices whose lesion is known also teach health, with their lesion left out;
- ``plant``: a share of the healthy rows is noised with a lesion in it, which is to be removed. There the loss is that
  of x0 (hence a model without learned variance). The unconditional and the diseased rows are left as they are, so that
  encoding keeps lesions. Noise fills the whole canvas, which therefore counts but for the lesions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor

from braincli.diffusion import draws, samplers
from braincli.diffusion.noise import gaussian
from braincli.diffusion.samplers import Denoise
from braincli.methods.base import Losses, Prediction, Task, Tick, masked_mean, no_tick, present
from braincli.methods.families.adm import random_times
from braincli.methods.families.encoding import DISEASED as DISEASED
from braincli.methods.families.encoding import HEALTHY as HEALTHY
from braincli.methods.families.encoding import NULL as NULL
from braincli.methods.families.encoding import Encoding, EncodingConfig


class GuidedConfig(EncodingConfig):
    """Options of the chain beside those of :class:`EncodingConfig`."""

    chain: Literal["ddim", "ddpm"] = "ddim"  # encode and decode; or noise and denoise at random

    @property
    def stochastic(self) -> bool:
        """Encoding and decoding by DDIM are deterministic."""
        return self.chain == "ddpm"

    @model_validator(mode="after")
    def _fits(self) -> GuidedConfig:
        if self.lesson.plant and self.learned_variance:
            raise ValueError("planted lesions (lesson.plant) can only be removed without learned_variance")
        return self


class Guided(Encoding):
    """Encoder and decoder that lead to health; how they are guided is left to the methods."""

    config: GuidedConfig

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        """Hybrid or simple loss at a random level per row, given the slice's class."""
        c = self.config
        label, image, mask = self.training_inputs(batch, generator)
        x0, source = c.scaled(self.fold(batch.target)), c.scaled(self.fold(image))
        t = random_times(len(x0), self.process, generator, x0.device)
        schedule = self.process.schedule
        x = schedule.noised(source, t, draws.randn(generator, *x0.shape).to(x0))
        noise = (x - schedule.signal(t) * x0) / schedule.noise(t)  # the difference of x and the target
        output = self.net(x, t, label=self.per_row(label))
        error = c.error(self.process, output, x, x0, noise, t)
        changed = self.per_row((image != batch.target).flatten(1).any(dim=1))[:, None, None, None]
        error = torch.where(changed, schedule.noise(t) ** 2 * error, error)
        loss = masked_mean(error, self.fold(mask))
        yield "net", loss, {c.loss_name: loss.detach()}

    @torch.no_grad()
    def training_inputs(self, batch: Task, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Class (B,), the slice that is noised (B, C, H, W), and the pixels that count in the loss (the same, bool)."""
        c = self.config
        drawn = draws.rand(generator, 2, len(batch))
        hidden, relabelled = drawn.to(batch.image.device)
        label = torch.where(hidden < c.label_dropout, NULL, batch.label)
        if c.lesson.leave_out:
            as_healthy = (label == DISEASED) & (relabelled < 0.5) & batch.lesion.flatten(1).any(dim=1)
            label = torch.where(as_healthy, HEALTHY, label)
        healthy, there = (label == HEALTHY)[:, None, None, None], present(batch.target)
        image = torch.where(healthy, batch.image, batch.target)
        return label, image, there & (batch.counts | ~batch.brain | ~healthy)

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        c = self.config
        x = c.scaled(self.fold(image))
        if c.chain == "ddpm":
            rows = [generator for generator in generators for _ in range(len(x) // len(image))]
            x = self.restore_ddpm(x, self.fold(gaussian(image, generators)), rows, tick)
        else:
            x = self.decode(self.encode(x, tick), tick)
        restored = c.unscaled(self.unfold(x.float()))
        return Prediction(restored=restored.clamp(0, 1) * (brain & present(image)))

    def decode(self, x: Tensor, tick: Tick = no_tick) -> Tensor:
        """The way back, guided."""
        return self.led_back(self.decoder(), x, tick)

    def restore_ddpm(self, x: Tensor, noise: Tensor, generators: Sequence[torch.Generator], tick: Tick) -> Tensor:
        """``x`` (R, C, H, W) noised at random and denoised with noise at every step; one generator per row."""
        sigmas = self.sigmas()
        start = x.double() + sigmas[0].item() * noise.double()
        return samplers.ancestral(self.decoder(), start, sigmas, generators=generators, tick=tick)

    @abstractmethod
    def decoder(self) -> Denoise:
        """The guided denoiser."""

    def calls(self) -> int:
        return len(self.times()) if self.config.chain == "ddpm" else super().calls()
