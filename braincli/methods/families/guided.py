"""What the methods share that turn a diseased slice into a healthy one by guided diffusion (Wolleb et al. 2022;
Sanchez et al. 2022): a class-conditional model, deterministic encoding into noise, and guided decoding.

A slice is encoded by DDIM run backwards, which keeps what identifies it; decoding runs DDIM forwards under guidance
towards the class healthy. Without guidance one undoes the other. Other than by random noise the anatomy survives.

Ours, for compact presets, because few patients teach a network that slices of some heights are healthy rather than that
tissue is (both need lesion masks or planted growths, and a model without learned variance):
- ``known_only``: half of the diseased slices whose lesion is known also teach health, with their lesion left out;
- ``planted``: a share of the healthy rows is noised with a lesion (:mod:`braincli.anomalies.lesions`) in it, which is
  to be drawn over. There the loss is that of x0. The unconditional and the diseased rows are left as they are, so that
  encoding keeps lesions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from braincli.anomalies import lesions
from braincli.diffusion import samplers
from braincli.diffusion.noise import gaussian
from braincli.diffusion.samplers import Denoise
from braincli.diffusion.vp import Network
from braincli.methods.base import Batch, Callback, Losses, Method, Prediction, known, masked_mean, present
from braincli.methods.families.adm import ADMConfig, counter, random_times

HEALTHY, DISEASED, NULL = 0, 1, -1


class GuidedConfig(ADMConfig):
    """Options of training and chain beside those of network and process."""

    label_dropout: float = Field(default=0.0, ge=0, le=1)  # rows whose class the network is not told
    known_only: bool = False
    planted: float = Field(default=0.0, ge=0, le=1)
    transplanted: float = Field(default=0.0, ge=0, le=1)  # share of the planted that are lesions of other slices
    # restoration
    chain: Literal["ddim", "ddpm"] = "ddim"  # encode and decode; or noise at random and draw with noise
    level: int = Field(default=500, ge=1, le=1000)  # the noisiest t, of 1,000
    steps: int = Field(default=500, ge=1)  # levels from there to 0, spread evenly
    refine: int = Field(default=0, ge=0)  # iterations that make each step of the encoder exact; few steps need them

    @property
    def stochastic(self) -> bool:
        """Encoding and decoding by DDIM draw nothing."""
        return self.chain == "ddpm"

    @model_validator(mode="after")
    def _fits(self) -> GuidedConfig:
        if self.planted and self.learned_variance:
            raise ValueError("planted growths can only be drawn over without learned_variance")
        return self


class Guided(Method):
    """A class-conditional diffusion model, encoder and decoder; how it is guided is left to the methods."""

    def __init__(self, config: GuidedConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.guided = config
        self.process = config.process()
        self.net = config.network(self.folded, self.folded, classes=2)
        self.stride = self.net.stride

    def diet(self, stage: str) -> str:
        return "balanced"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {"net": self.guided.optimizer(self.net.parameters())}

    def losses(self, batch: Batch, stage: str, generator: torch.Generator) -> Losses:
        """Hybrid or simple loss at a random level per row, given the slice's class."""
        c = self.guided
        batch = self.varied(batch, generator)
        label, seen, taught = self.lesson(batch, generator)
        x0, source = c.scaled(self.fold(batch.image)), c.scaled(self.fold(seen))
        t = random_times(len(x0), self.process, generator, x0.device)
        schedule = self.process.schedule
        x = schedule.noised(source, t, torch.randn(x0.shape, generator=generator).to(x0))
        noise = (x - schedule.signal(t) * x0) / schedule.noise(t)  # what parts x from the slice that is asked for
        output = self.net(x, t, label=self.per_row(label))
        error = c.error(self.process, output, x, x0, noise, t)
        changed = self.per_row((seen != batch.image).flatten(1).any(dim=1))[:, None, None, None]
        error = torch.where(changed, schedule.noise(t) ** 2 * error, error)
        loss = masked_mean(error, self.fold(taught))
        yield "net", loss, {"denoise": loss.item()}

    @torch.no_grad()
    def lesson(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """What the network is told: class (B,), the slice that is noised (B, C, H, W), the pixels that count (bool)."""
        c = self.guided
        untold, turned, planted = torch.rand(3, len(batch), generator=generator).to(batch.image.device)
        label = torch.where(untold < c.label_dropout, NULL, batch.label)
        seen, taught = batch.image, present(batch.image).expand_as(batch.image)
        if c.known_only:
            turn = (label == DISEASED) & (turned < 0.5) & batch.lesion.flatten(1).any(dim=1)
            taught = torch.where(turn[:, None, None, None], taught & (known(batch) | ~batch.brain), taught)
            label = torch.where(turn, HEALTHY, label)
        if c.planted:
            chosen = (label == HEALTHY) & (planted < c.planted)
            seen = torch.where(chosen[:, None, None, None], self.sick(batch, generator), seen)
        return label, seen, taught

    def sick(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """(B, C, H, W): every slice with a lesion set into it."""
        drawn = lesions.draw(tuple(batch.image.shape), generator)  # type: ignore[arg-type]
        share = self.guided.transplanted
        return lesions.apply(batch.image, batch.brain, batch.lesion, drawn, transplanted=share)[0]

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        callback: Callback | None = None,
    ) -> Prediction:
        c = self.guided
        x, tell = c.scaled(self.fold(image)), counter(callback, self.calls())
        if c.chain == "ddpm":
            rows = [generator for generator in generators for _ in range(len(x) // len(image))]
            found = self.redrawn(x, self.fold(gaussian(image, generators)), rows, tell)
        else:
            found = self.decoded(self.encoded(x, tell), tell)
        restored = c.unscaled(self.unfold(found.float()))
        return Prediction(restored=restored.clamp(0, 1) * (brain & present(image)))

    def encoded(self, x: Tensor, callback: Callback | None = None) -> Tensor:
        """``x`` (R, C, H, W), in the range that is noised, at the noisiest level (Wolleb et al., Eq. 6); float64."""
        return samplers.encode(self.encoder(), x, self.sigmas(), callback=callback, refine=self.guided.refine)

    def decoded(self, x: Tensor, callback: Callback | None = None) -> Tensor:
        """The way back, guided."""
        return samplers.ddim(self.decoder(), x, self.sigmas(), generators=(), callback=callback)

    def redrawn(self, x: Tensor, noise: Tensor, generators: Sequence[torch.Generator], callback: Callback) -> Tensor:
        """``x`` (R, C, H, W) noised at random and drawn anew with noise at every step; one generator per row."""
        sigmas = self.sigmas()
        start = x.double() + sigmas[0].item() * noise.double()
        return samplers.ancestral(self.decoder(), start, sigmas, generators=generators, callback=callback)

    @abstractmethod
    def encoder(self) -> Denoise:
        """The denoiser that slices are encoded with."""

    @abstractmethod
    def decoder(self) -> Denoise:
        """The guided denoiser."""

    def told(self, label: int) -> Network:
        """The network that is told one class for all rows (NULL: none)."""

        def network(x: Tensor, t: Tensor) -> Tensor:
            found: Tensor = self.net(x, t, label=torch.full((len(x),), label, device=x.device))
            return found

        return network

    def times(self) -> list[int]:
        """Levels that the chain visits, descending."""
        return self.process.schedule.spaced(self.guided.steps, last=self.guided.level)

    def sigmas(self) -> Tensor:
        """The same as the samplers want them."""
        return self.process.schedule.sigmas(self.times())

    def calls(self) -> int:
        c, levels = self.guided, len(self.times())
        return levels if c.chain == "ddpm" else levels * (2 + c.refine)
