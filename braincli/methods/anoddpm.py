"""AnoDDPM: a DDPM of healthy slices with simplex noise (Wyatt et al. 2022, "AnoDDPM", CVPR workshops), in the one-step
form that the papers compare with (Behrendt et al. 2023, arXiv:2303.03758) and in the iterative one of the original.

Gaussian noise hides little of a large lesion at levels from which the anatomy can be recovered; simplex noise
(:func:`braincli.diffusion.noise.simplex`) has its power in coarse blobs, and so does coarse noise
(:mod:`braincli.anomalies.coarse`).

Presets:
- ``paper``: one step, as in Behrendt et al.: x0 predicted, L1, linear schedule, t = 500, single contrasts, 96 x 96
  pixels of 2 mm, 2 mm apart, slices 14 to 63, Adam 1e-5, batch 32, 1600 epochs of one slice per case; 25,079,553
  parameters with the channels (128, 128, 256), the strided and the transposed convolutions that they print (their size
  is not printed: 3 and 4 here). Deviations: noise is sampled for each slice and normalised. Maps as in
  :mod:`braincli.methods.ae`.
- ``behrendt2024``: as SADM is compared with it: 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63; the mean of t =
  250, 500 and 750, maps of 1 - SSIM.
- ``reference``: their code: channels (128, 256, 256), cosine schedule, rate 1e-4, one unnormalised field for all
  slices, resampling inside residual blocks; 37,513,857 parameters.
- ``original``: Wyatt et al.: 256 x 256 pixels of 1 mm, noise predicted, L2, t up to 800 learnt, 250 of 1,000 steps back
  with simplex noise, squared residuals, AdamW 1e-4 without weight decay, batch 1, 3000 epochs of 100 steps, EMA 0.9999,
  gradients clipped to norm 1; 131,649,793 parameters, resampling inside residual blocks. Deviations: their 3-D noise
  field, of which t is the third axis, is a fresh 2-D one at each step; attention has one head (theirs two); the EMA
  remembers less in its first steps; one run, where they average several (``detect --samples``).
- ``compact``: ours. All contrasts in one stack, dropped at random; a small network on folded pixels; one step at three
  levels; learns from every labelled slice with lesions left out of the loss, and removes planted growths.

Deviations that remain in ``paper`` and ``reference``: slices are drawn from the whole cohort at random (theirs: one of
every subject per epoch); the code computes in 16 bits; those of Behrendt's comparisons in :mod:`braincli.methods.ae`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from braincli.diffusion import levels, samplers
from braincli.methods.base import Tick
from braincli.methods.families.denoising import Denoising, DenoisingConfig, NoiseSource
from braincli.methods.presets import (
    BEHRENDT,
    BEHRENDT_2024,
    COMPACT_MAP,
    DENOISING_COMPACT,
    DENOISING_REFERENCE,
    DENOISING_TINY,
    WHOLE_256,
    Preset,
)


class AnoDDPMConfig(DenoisingConfig):
    """Options of the restoration; the defaults are Behrendt's."""

    mode: Literal["one-step", "iterative"] = "one-step"
    sampler: Literal["ddim", "ancestral", "heun", "dpm-solver-2m"] = "dpm-solver-2m"  # iterative mode
    steps: int = Field(default=10, ge=1)


COMPACT: Preset = DENOISING_COMPACT | {
    "levels": (250, 350, 450), "train_batch": 16, "train_steps": {"main": 1000}, "map": COMPACT_MAP,
}  # fmt: skip


class AnoDDPM(Denoising):
    """Whole slices noised and denoised."""

    config: AnoDDPMConfig
    Config = AnoDDPMConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": BEHRENDT,
        "behrendt2024": BEHRENDT_2024 | {"levels": (250, 500, 750)},
        "reference": BEHRENDT | DENOISING_REFERENCE,
        "original": {
            "multipliers": (1, 1, 2, 2, 4, 4), "blocks": 2, "attention": (3, 4, 5), "injection": "add", "target": "eps",
            "resampling": "residual", "loss": "l2", "learnt": (1, 800), "levels": (250,), "mode": "iterative",
            "sampler": "ancestral", "steps": 250, "rate": 1e-4, "train_batch": 1, "normalised_noise": False,
            "train_steps": {"main": 300_000}, "ema": 0.9999, "clip_norm": 1.0,
            "slices": WHOLE_256, "map": {"residual": "squared"},
        },
        "compact": COMPACT,
        "tiny": COMPACT | DENOISING_TINY | {"levels": (300, 500)},
    }  # fmt: skip

    def restore(self, x: Tensor, noise: NoiseSource, level: int, context: dict[str, Tensor], tick: Tick) -> Tensor:
        """In iterative mode a chain of ``steps`` levels from ``level`` down, else one call."""
        c = self.config
        if c.mode == "one-step":
            return super().restore(x, noise, level, context, tick)
        schedule = self.process.schedule
        low, high = schedule.sigma(torch.tensor([1, level])).tolist()
        if c.sampler in ("heun", "dpm-solver-2m"):
            sigmas = levels.karras(c.steps, low, high)
        else:
            sigmas = schedule.sigmas(schedule.spaced(c.steps, last=level))
        extra = {"noise": lambda _: noise()} if c.sampler == "ancestral" else {}
        denoise = self.process.denoiser(lambda noisy, t: self.net(noisy, t, **context))
        noisy = x.double() + high * noise().double()
        sample = samplers.SAMPLERS[c.sampler]
        return sample(denoise, noisy, sigmas, generators=(), tick=tick, **extra).float()

    def calls(self) -> int:
        c = self.config
        return len(c.levels) * (samplers.calls(c.sampler, c.steps) if c.mode == "iterative" else 1)
