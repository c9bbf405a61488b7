"""What the methods share that translate a slice to what is asked of it (Wolleb et al. 2022, "The Swiss Army Knife for
image-to-image translation: multi-task diffusion models", arXiv:2204.02641): one diffusion model, and a guide for each
task.

A slice is encoded by DDIM for L steps and decoded with eps - c sqrt(1 - abar) grad f (Alg. 1 and 2), where f rises as
the noised slice comes closer to the goal in the eyes of the guide, a network of noised slices (x_t, t). L = 0 gives the
slice itself. The guide alone leads: both ways the diffusion model is asked without a class, which ``label_dropout`` has
taught it; slices whose class is not known teach that, too.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from braincli.diffusion import draws, guidance
from braincli.diffusion.samplers import Denoise
from braincli.methods.base import Losses, Prediction, Task, Tick, masked_mean, no_tick, present
from braincli.methods.families.adm import random_times
from braincli.methods.families.encoding import NULL, Encoding, EncodingConfig
from braincli.methods.lengths import Length


class SteeredConfig(EncodingConfig):
    """Options of the way there and back; the defaults are the paper's."""

    lessons: ClassVar[tuple[str, ...]] = ("vary", "drop", "alone")  # what a lesion looks like is what is learnt

    train_steps: dict[str, Length] = Field(default={"diffusion": 50_000, "guide": 20_000})
    label_dropout: float = Field(default=0.5, gt=0, le=1)
    level: int = Field(default=400, ge=0, le=1000)  # L
    steps: int = Field(default=400, ge=1)
    scale: float = Field(default=1000.0, ge=0)  # c


class Steered(Encoding):
    """A diffusion model that a guide steers to a goal."""

    config: SteeredConfig
    stages = ("diffusion", "guide")
    stage_share: ClassVar[dict[str, float]] = {"diffusion": 0.75, "guide": 0.25}
    guide: torch.nn.Module

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        if stage == "diffusion":
            return super().optimizers(stage)
        return {"guide": self.config.optimizer(self.guide.parameters())}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        yield from (self.diffusion_losses if stage == "diffusion" else self.guide_losses)(batch, generator)

    def diffusion_losses(self, batch: Task, generator: torch.Generator) -> Losses:
        """Hybrid or simple loss at a random level per row, given the slice's class or none; noise fills the canvas."""
        c = self.config
        hidden = draws.rand(generator, len(batch)).to(batch.image.device) < c.label_dropout
        label = torch.where(hidden, NULL, batch.label)
        x0 = c.scaled(self.fold(batch.target))
        x, t, noise = self.noised(x0, generator)
        error = c.error(self.process, self.net(x, t, label=self.per_row(label)), x, x0, noise, t)
        loss = masked_mean(error, self.fold(batch.counts))
        yield "net", loss, {c.loss_name: loss.detach()}

    @abstractmethod
    def guide_losses(self, batch: Task, generator: torch.Generator) -> Losses:
        """The guide's loss on noised slices."""

    def noised(self, x0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """x_t (R, C, H, W) at a random level per row, the levels (R,), the noise."""
        t = random_times(len(x0), self.process, generator, x0.device)
        noise = draws.randn(generator, *x0.shape).to(x0)
        return self.process.schedule.noised(x0, t, noise), t, noise

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        """The translation to :meth:`health`."""
        return Prediction(restored=self.steer(image, brain, self.health(image), tick))

    def steer(self, image: Tensor, brain: Tensor, goal: Tensor, tick: Tick = no_tick) -> Tensor:
        c, shown = self.config, brain & present(image)
        if not c.level:
            return image * shown
        plain = self.process.denoiser(self.conditioned(NULL))
        code = self.encode(c.scaled(self.fold(image)), tick)
        with torch.inference_mode(False):  # what a gradient is computed from may not be made in that mode
            aim = self.per_row(goal.clone())

        def closeness(x: Tensor, sigma: Tensor) -> Tensor:
            signal = (1 / (1 + sigma.double() ** 2)).sqrt().to(x)[:, None, None, None]
            return self.closeness((x * signal).float(), self.process.schedule.time(sigma), aim)

        x = self.led_back(guidance.guided(plain, closeness, c.scale), code, tick)
        return c.unscaled(self.unfold(x.float())).clamp(0, 1) * shown

    @abstractmethod
    def closeness(self, x: Tensor, t: Tensor, aim: Tensor) -> Tensor:
        """f (R,), which rises as x_t (R, C, H, W) at ``t`` (R,) comes closer to ``aim`` (R, ...)."""

    @abstractmethod
    def health(self, image: Tensor) -> Tensor:
        """The goal (B, ...) of detection."""

    def encoder(self) -> Denoise:
        return self.process.denoiser(self.conditioned(NULL))

    def times(self) -> list[int]:
        return super().times() if self.config.level else []

    def at_rest(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """``image`` as rows of the guide, with the least level that it knows: what it says of a clean slice."""
        x = self.config.scaled(self.fold(image)).float()
        return x, torch.ones(len(x), device=x.device)
