"""DPM-classifier-free: one conditional diffusion model, guided by extrapolation (Sanchez et al. 2022, "What is healthy?
Generative counterfactual diffusion for lesion localization", DGM4MICCAI, arXiv:2207.12268; their code: Diff-SCM).

The class of a slice is hidden from the network at random, so that one network is both conditional and unconditional.
DDIM encodes a slice without a class, and decodes it with eps = eps_null + w (eps_healthy - eps_null). Estimates of x0
are normalised dynamically while decoding: per image and contrast clipped at their 99 % quantile (at least 1) and
divided by it. The mean over contrasts of |x - x_0| is the anomaly map.

Presets:
- ``paper``: their BraTS configuration: 64 x 64 pixels of 3.75 mm, four contrasts centred at 0; noise predicted, no
  learned variance; label dropped in 35 %; t = 750 in 75 steps each way, w = 3; AdamW 1e-4 with weight decay 0.01, batch
  64; 25,450,884 parameters. Their 75 of 100 evenly spaced levels end at t = 750; here the 75 are spread from there to
  1.
- ``wang``: as TSGM is compared with it (arXiv:2311.03074), "consistent" with its DPM-classifier: that network of
  113,681,160 parameters at 256 x 256 pixels of 1 mm, slices 80 to 128, with the hybrid loss, Adam 1e-4, batch 10. What
  Wang et al. do not say (label dropout, levels, w, normalisation, number of steps) is as in ``paper``.
- ``compact``: ours. A small network that predicts v; t = 600 in 4 steps each way; diseased slices with known lesions
  also teach health, and a lesion is set into every slice of that class (:mod:`braincli.methods.families.guided`).

Deviations that remain: the EMA of 0.9999 remembers less in its first steps; the map is the mean over contrasts that
calibration weights.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from braincli.diffusion import guidance
from braincli.diffusion.samplers import Denoise
from braincli.methods.families.guided import HEALTHY, NULL, Guided, GuidedConfig
from braincli.methods.lengths import Length
from braincli.methods.presets import ADM_TINY, GUIDED_COMPACT, WANG, WHOLE_64, Preset
from braincli.networks.unet import Injection, Resampling


class DPMClassifierFreeConfig(GuidedConfig):
    """Options of the guidance; the defaults are those of Diff-SCM for BraTS."""

    train_steps: dict[str, Length] = Field(default={"main": 50_000})
    train_batch: int = 64
    weight_decay: float = 0.01
    width: int = 64
    multipliers: tuple[int, ...] = (1, 2, 3, 4)
    attention: tuple[int, ...] = (1, 2, 3)
    injection: Injection = "scale-shift"
    resampling: Resampling = "residual"
    dropout: float = Field(default=0.1, ge=0, lt=1)
    learned_variance: bool = False
    centred: bool = True
    clip: bool = False
    label_dropout: float = Field(default=0.35, gt=0, le=1)
    level: int = Field(default=750, ge=1, le=1000)
    steps: int = Field(default=75, ge=1)
    scale: float = Field(default=3.0, ge=0)  # w; 1 is the conditional model, 0 the unconditional one
    quantile: float = Field(default=0.99, gt=0, le=1)  # of the dynamic normalisation


COMPACT: Preset = GUIDED_COMPACT | {"scale": 3.0, "weight_decay": 0.0, "train_steps": {"main": 1000}}


class DPMClassifierFree(Guided):
    """Guided by the difference that the class makes."""

    config: DPMClassifierFreeConfig
    Config = DPMClassifierFreeConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_64},
        "wang": WANG | {
            "width": 128, "multipliers": (1, 1, 2, 2, 4, 4), "attention": (4,), "injection": "add",
            "resampling": "interpolated", "dropout": 0.0, "learned_variance": True, "weight_decay": 0.0,
            "train_batch": 10,
        },
        "compact": COMPACT,
        "tiny": COMPACT | ADM_TINY | {"steps": 2, "train_steps": {"main": 4}},
    }  # fmt: skip

    def encoder(self) -> Denoise:
        return self.process.denoiser(self.conditioned(NULL))

    def decoder(self) -> Denoise:
        def conditional(x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
            return self.process.denoiser(lambda noisy, t: self.net(noisy, t, label=label))(x, sigma)

        towards = guidance.classifier_free(conditional, HEALTHY, self.config.scale)
        return guidance.dynamic_threshold(towards, self.config.quantile)
