"""TSGM: Two-Stage Generative Model with CycleGAN and joint diffusion (Wang et al. 2023, arXiv:2311.03074).

Stage 1 ``translate``: a CycleGAN learns healthy <-> diseased slices, unpaired. Its healthy -> diseased generator G
gives every healthy slice x a diseased partner y = G(x).
Stage 2 ``restore``: a variance-exploding diffusion model learns p(x | y) from those pairs; at test time y is the real
slice, and the sample is its pseudo-healthy restoration. The residual |y - x| shows the lesion.

Misprints of the paper that are mended here: the noise level is a standard deviation with exponent t in (0, 1], not an
integer index (Eq. 5, 7); the residual is absolute (Eq. 8); the sampler begins at N(0, sigma_max^2) and the condition
is the real slice (Alg. 2). The weights that predict are the averaged (EMA) ones.

Preset ``paper``: 256 x 256 pixels of 1 mm, slices 80 to 128; one network for single contrasts, NCSN++ with 65.56 M
parameters, predictor-corrector with 2,000 calls; intensities are normalised per volume inside the brain instead of per
slice.

Preset ``reference`` is what the published code does where it differs: sigma_min 0.01, learning rate 2e-4, the corrector
before the predictor at the same level, a sampler that begins at N(0, 1) instead of N(0, sigma_max^2) (the network gets
inputs too small for their sigma until the injected noise has caught up), gradients clipped to norm 1, and the raw
weights instead of the averaged ones. Its normalisation of each image on its own is not followed: a bright lesion would
darken the rest of its image.

Preset ``compact`` runs on a laptop CPU and deviates deliberately:
- all contrasts in one stack, with contrasts dropped at random in training, so that any subset can be restored;
- preconditioning centred on the condition (:class:`braincli.diffusion.preconditioning.Centred`);
- the partner y comes from G for a fifth of the pairs only, for the others from the lesson
  (:mod:`braincli.methods.lesson`: synthetic growth and lesions of other slices), because few patients do not teach a
  CycleGAN enough lesions;
- slices with a known lesion take part as well: their lesion is left out of the loss, the tissue around it counts;
- geometry and intensity of each pair vary, both partners alike;
- few-step sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from braincli.diffusion import draws, levels, samplers
from braincli.diffusion.preconditioning import VE, Centred
from braincli.methods.base import (
    Batch,
    Lesson,
    Losses,
    Prediction,
    Sampling,
    Task,
    Tick,
    masked_mean,
    no_tick,
    present,
)
from braincli.methods.families.translation import Translation, TranslationConfig
from braincli.methods.presets import (
    BRATS_256,
    COMPACT_MAP,
    CYCLEGAN_COMPACT,
    CYCLEGAN_TINY,
    LEFT_OUT,
    TSGM_WEIGHTS,
    Preset,
)
from braincli.networks.ncsnpp import NCSNpp


class TSGMConfig(TranslationConfig):
    """Options of stage 2, beside those of stage 1 (:class:`TranslationConfig`); the defaults are the paper's."""

    train_steps: dict[str, int] = Field(default={"translate": 1_000_000, "restore": 1_000_000})
    train_batch: int = 1
    ema: float = 0.999
    warmup: int = 5000

    # stage 2
    width: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 2, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (4,)
    fir: bool = True
    pyramids: bool = True
    sigma_min: float = Field(default=0.1, gt=0)
    sigma_max: float = Field(default=348.0, gt=0)
    centred: bool = False
    spread: float = 0.1
    restore_rate: float = 1e-4
    # sampling
    sampler: samplers.SamplerName = "predictor-corrector"
    steps: int = Field(default=1000, ge=1)  # levels between sigma_min and the start
    snr: float = 0.075
    corrector_first: bool = False
    prior: float = Field(default=0.0, ge=0)  # standard deviation of the start; 0 is its sigma
    sigma_start: float = Field(default=0.0, ge=0)  # warm start: the scan itself, noised to this; 0 begins at sigma_max

    @property
    def stochastic(self) -> bool:
        return True


PAPER: Preset = {"slices": BRATS_256, "map": {"weights": TSGM_WEIGHTS}}
REFERENCE: Preset = {
    "sigma_min": 0.01, "restore_rate": 2e-4, "ema": 0.0, "clip_norm": 1.0, "prior": 1.0, "corrector_first": True,
}  # fmt: skip
COMPACT: Preset = CYCLEGAN_COMPACT | {
    "width": 32, "multipliers": (1, 2, 2), "blocks": 1, "attention": (), "fir": False, "pyramids": False,
    "sigma_min": 0.01, "centred": True, "restore_rate": 4e-4,
    "lesson": LEFT_OUT | {"plant": 0.8, "transplant": 0.5}, "sampler": "dpm-solver-2m", "steps": 5,
    "train_steps": {"translate": 450, "restore": 1200}, "warmup": 200,
    "map": COMPACT_MAP | {"weights": TSGM_WEIGHTS},
}  # fmt: skip


class TSGM(Translation):
    """CycleGAN partners, then joint diffusion."""

    config: TSGMConfig
    Config = TSGMConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": PAPER,
        "reference": PAPER | REFERENCE,
        "compact": COMPACT,
        "tiny": COMPACT | CYCLEGAN_TINY | {
            "width": 8, "multipliers": (1, 2), "steps": 2, "train_steps": {"translate": 4, "restore": 6},
        },
    }  # fmt: skip
    stages = ("translate", "restore")

    def __init__(self, config: TSGMConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        self.score = NCSNpp(
            2 * self.folded, self.folded, width=c.width, multipliers=c.multipliers, blocks=c.blocks,
            attention=c.attention, fir=c.fir, pyramids=c.pyramids, patch=c.patch,
        )  # fmt: skip
        self.stride = max(self.score.stride, 4 * c.patch)
        self.precondition = Centred(c.spread) if c.centred else VE()

    def sampling(self, stage: str) -> Sampling:
        """Stage 1 needs both kinds of slices, stage 2 any tissue that is known to be free of lesions."""
        if stage == "translate":
            return super().sampling(stage)
        return "any" if self.config.lesson.leave_out else "healthy"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        if stage == "translate":
            return super().optimizers(stage)
        return {"score": torch.optim.Adam(self.score.parameters(), lr=self.config.restore_rate)}

    @torch.no_grad()
    def task(self, batch: Batch, stage: str, generator: torch.Generator) -> Task:
        """Stage 1 learns from slices as they are. In stage 2 the network sees diseased partners y of healthy slices x:
        y = G(x) but for the rows that the lesson plants a lesion into."""
        if stage == "translate":
            return self.split(Lesson().task(batch, generator))
        lesson = self.config.lesson
        task = self.split(lesson.planted(batch, generator))
        if lesson.plant < 1:
            partner = self.translate(self.to_diseased, task.target, task.brain & present(task.target))
            task = task.with_image(torch.where(task.with_planted[:, None, None, None], task.image, partner))
        return lesson.varied(task, generator)

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        stage_losses = self.translation_losses if stage == "translate" else self._restoration_losses
        yield from stage_losses(batch, generator)

    def _restoration_losses(self, batch: Task, generator: torch.Generator) -> Losses:
        """Denoising score matching of the healthy slice given its diseased partner (TSGM Eq. 7, corrected)."""
        c = self.config
        healthy, diseased = batch.target, batch.image
        t = draws.rand(generator, len(healthy)).to(healthy.device)
        sigma = levels.sigma_at(t, c.sigma_min, c.sigma_max)
        noise = draws.randn(generator, *healthy.shape).to(healthy)
        noisy = healthy + sigma[:, None, None, None] * noise
        clean = self.precondition.denoise(self._network, noisy, sigma, diseased)
        error = self.precondition.weight(sigma)[:, None, None, None] * (clean - healthy) ** 2
        loss = masked_mean(error, batch.counts)
        yield "score", loss, {"score_matching": loss.detach()}

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        c = self.config
        spaced = levels.geometric if c.sampler in samplers.STOCHASTIC else levels.karras
        highest = c.sigma_start or c.sigma_max
        sigmas = spaced(c.steps, c.sigma_min, highest)
        extra = {"snr": c.snr, "corrector_first": c.corrector_first} if c.sampler == "predictor-corrector" else {}
        centre = image if c.centred or c.sigma_start else torch.zeros_like(image)
        x = samplers.start(centre, c.prior or highest, generators)

        def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
            return self.precondition.denoise(self._network, noisy, sigma, image)

        x = samplers.SAMPLERS[c.sampler](denoise, x, sigmas, generators=generators, tick=tick, **extra)
        return Prediction(restored=x.float().clamp(0, 1) * (brain & present(image)))

    def calls(self) -> int:
        c = self.config
        return samplers.calls(c.sampler, c.steps, corrector_first=c.corrector_first)

    def _network(self, joint: Tensor, log_sigma: Tensor) -> Tensor:
        """The score network on (B, 2 C, H, W); single-contrast models get every contrast as a row of its own."""
        c = joint.shape[1] // 2
        if self.folded == c:
            return self.score(joint, log_sigma)
        pairs = torch.stack([joint[:, :c], joint[:, c:]], dim=2).flatten(0, 1)
        rows: Tensor = self.score(pairs, log_sigma.repeat_interleave(c))
        return rows.reshape(-1, c, *rows.shape[2:])
