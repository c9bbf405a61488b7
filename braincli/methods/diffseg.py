"""Implicit segmentation ensembles (Wolleb et al. 2022, "Diffusion models for implicit image segmentation ensembles",
MIDL, arXiv:2112.03145): a diffusion model of the lesion mask, given the slice.

The network gets the clean contrasts and the noised mask, and learns the mask's noise. Sampling starts from pure noise
and is random, so that several samples are an ensemble: their mean is the score, how far they differ shows where the
model is unsure (``detect --samples``, each of which is a mean over ``ensemble`` samples: set that to 1 for the
paper's variance). Supervised: it needs expert masks of lesions, as :mod:`braincli.methods.unet` does, and learns from
every slice that has one, with or without lesion.

Presets:
- ``paper``: hybrid loss, 1,000 ancestral steps with the learned variance, 5 samples, the mean cut at 0.5; mask in {0,
  1}; 113,674,370 parameters with four contrasts, 224 x 224 pixels of 1 mm, slices 80 to 128. The code keeps estimates
  of the mask in [-1, 1].
- ``compact``: ours. A small network that predicts v of a mask in {-1, 1}; the mean of 4 samples of 2 DDIM steps each,
  because more samples help more than more steps; half of each batch shows a lesion; contrasts are dropped at random,
  geometry and intensity augmented.

Deviations that remain in ``paper``: the EMA of 0.9999 remembers less in its first steps; calibration fits the threshold
(theirs: 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from braincli.diffusion import draws, samplers
from braincli.diffusion.noise import gaussian
from braincli.methods.base import Losses, Method, Prediction, Sampling, Task, Tick, masked_mean, no_tick, present
from braincli.methods.families.adm import ADMConfig, random_times
from braincli.methods.families.segmenter import pooled
from braincli.methods.lengths import Length
from braincli.methods.presets import ADM_COMPACT, ADM_TINY, BRATS_224, COMPACT_MAP, Preset


class DiffSegConfig(ADMConfig):
    """Options of training and sampling; the defaults are the paper's."""

    lessons: ClassVar[tuple[str, ...]] = ("vary", "drop", "alone", "plant", "transplant")  # lesions are what is learnt

    train_steps: dict[str, Length] = Field(default={"main": 60_000})
    balanced: bool = False  # half of a batch shows a lesion; else any slice that has a mask
    sampler: Literal["ddpm", "ddim", "ancestral", "dpm-solver-2m"] = "ddpm"  # ddpm: with the learned variance
    steps: int = Field(default=1000, ge=1, le=1000)
    ensemble: int = Field(default=5, ge=1)  # samples that a score is the mean of

    @property
    def stochastic(self) -> bool:
        return True

    @model_validator(mode="after")
    def _fits(self) -> DiffSegConfig:
        if self.sampler == "ddpm" and not self.learned_variance:
            raise ValueError("sampler ddpm needs learned_variance; ancestral does not")
        return self


COMPACT: Preset = ADM_COMPACT | {
    "balanced": True, "sampler": "ddim", "steps": 2, "ensemble": 4, "train_steps": {"main": 1000},
    "map": COMPACT_MAP,
}  # fmt: skip


class DiffSeg(Method):
    """Masks sampled from noise, given the slice."""

    config: DiffSegConfig
    Config = DiffSegConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": BRATS_224},
        "compact": COMPACT,
        "tiny": COMPACT | ADM_TINY | {"steps": 2, "train_steps": {"main": 4}},
    }

    def __init__(self, config: DiffSegConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.process = config.process()
        self.net = config.network(self.folded + 1, 1)
        self.stride = self.net.stride

    def sampling(self, stage: str) -> Sampling:
        return "balanced" if self.config.balanced else "any"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {"net": self.config.optimizer(self.net.parameters())}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        """Hybrid or simple loss of the mask at a random level per row; the whole canvas counts, as noise fills it."""
        c = self.config
        image = self.fold(batch.image)
        x0 = self.per_row(c.scaled(batch.sick.float()))
        t = random_times(len(x0), self.process, generator, x0.device)
        noise = draws.randn(generator, *x0.shape).to(x0)
        x = self.process.schedule.noised(x0, t, noise)
        output = self.net(torch.cat([image, x], dim=1), t)
        visible = present(image).any(dim=1, keepdim=True)  # nothing can be learnt of a lesion that no contrast shows
        loss = masked_mean(c.error(self.process, output, x, x0, noise, t), visible)
        yield "net", loss, {c.loss_name: loss.detach()}

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        """The mean of ``ensemble`` masks, which are sampled in one batch."""
        c = self.config
        rows = self.fold(image).repeat_interleave(c.ensemble, dim=0)
        each = [generator for generator in generators for _ in range(len(rows) // len(image))]
        masks = self.sample(rows, each, tick)
        mean = c.unscaled(masks.float()).unflatten(0, (-1, c.ensemble)).mean(dim=1).clamp(0, 1)
        return Prediction(None, pooled(self.unfold(mean), image, brain))

    def sample(self, image: Tensor, generators: Sequence[torch.Generator], tick: Tick = no_tick) -> Tensor:
        """One mask (R, 1, H, W), in the range that is noised, for each row of ``image`` (R, C, H, W)."""
        c = self.config
        times = self.process.schedule.spaced(c.steps)
        noise = gaussian(image[:, :1], generators)

        def network(x: Tensor, t: Tensor) -> Tensor:
            output: Tensor = self.net(torch.cat([image, x], dim=1), t)
            return output

        if c.sampler == "ddpm":
            return self.process.ddpm(network, noise, times, generators=generators, tick=tick)
        sigmas = self.process.schedule.sigmas(times)
        start = noise.double() * (1 + sigmas[0].item() ** 2) ** 0.5  # standard normal x_T, whatever abar_T is
        sampler = samplers.SAMPLERS[c.sampler]
        return sampler(self.process.denoiser(network), start, sigmas, generators=generators, tick=tick)

    def calls(self) -> int:
        return self.config.steps
