"""DPM-classifier: diffusion with a classifier's guidance (Wolleb et al. 2022, "Diffusion models for medical anomaly
detection", MICCAI, arXiv:2203.04306).

Stage ``diffusion``: a class-conditional DDPM of healthy and diseased slices with learned variance (hybrid loss). Stage
``classifier``: a time-conditioned encoder tells the two apart in noised slices, log C(y | x_t, t). At test time DDIM
encodes a slice for L steps (Eq. 6) and decodes it with eps - s sqrt(1 - abar) grad log C(healthy | x_t, t) (Alg. 1);
the sum over contrasts of |x - x_0| is the anomaly map. ``chain=ddpm`` is their ablation: random noise, then ancestral
steps with the mean moved by s Sigma grad log C.

Mended: Eq. 1 has x_{t-1} under the root. The published code takes one random step before encoding and decodes two
levels off; here the printed algorithm is followed, with the network called at t = 1 where Eq. 6 has t = 0.

Presets:
- ``paper``: L = 500, s = 100, 500 steps each way; 113,681,160 + 5,452,962 parameters with four contrasts, 256 x 256
  pixels of 1 mm, slices 80 to 128; intensities in [0, 1]; slices as the cohort has them, healthy and diseased. The
  class healthy is fed in both directions, as the code does; ``encode_label`` and ``decode_label`` are free where
  ``label_dropout`` has trained the network without a class.
- ``compact``: ours. A small network that predicts v; t = 600 in 4 steps each way; the class is hidden while encoding;
  diseased slices with known lesions also teach health, and a lesion is set into every slice of that class
  (:mod:`braincli.methods.families.guided`). The classifier gets one in half of them: a healthy slice with a lesion is
  diseased.

Deviations that remain in ``paper``: the EMA of 0.9999 remembers less in its first steps; thresholds are calibrated
(theirs: a mean of Otsu's).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from braincli.diffusion import draws, guidance
from braincli.diffusion.samplers import Denoise
from braincli.methods.base import Losses, Task, Tick, Verdict
from braincli.methods.families.adm import random_times
from braincli.methods.families.guided import DISEASED, HEALTHY, NULL, Guided, GuidedConfig
from braincli.methods.lengths import Length
from braincli.methods.presets import ADM_TINY, BRATS_256, GUIDED_COMPACT, Preset
from braincli.networks.unet import Encoder

Label = Literal["healthy", "null"]
LABELS: dict[Label, int] = {"healthy": HEALTHY, "null": NULL}


class DPMClassifierConfig(GuidedConfig):
    """Options of the classifier and its guidance; the defaults are the paper's."""

    train_steps: dict[str, Length] = Field(default={"diffusion": 50_000, "classifier": 20_000})
    scale: float = Field(default=100.0, ge=0)  # s
    encode_label: Label = "healthy"
    decode_label: Label = "healthy"
    classifier_width: int = 32
    classifier_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    classifier_blocks: int = 4
    classifier_attention: tuple[int, ...] = (3, 4, 5)
    classifier_head: int = Field(default=64, ge=1)
    classifier_patch: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _taught(self) -> DPMClassifierConfig:
        if "null" in (self.encode_label, self.decode_label) and not self.label_dropout:
            raise ValueError("a network can only do without a class if label_dropout has taught it")
        return self


COMPACT: Preset = GUIDED_COMPACT | {
    "label_dropout": 0.35, "encode_label": "null", "scale": 20.0, "classifier_width": 16,
    "classifier_multipliers": (1, 2, 3), "classifier_blocks": 1, "classifier_attention": (2,), "classifier_head": 16,
    "classifier_patch": 4, "train_steps": {"diffusion": 900, "classifier": 600},
}  # fmt: skip


class DPMClassifier(Guided):
    """Guided by the gradient of a classifier of noisy slices."""

    config: DPMClassifierConfig
    Config = DPMClassifierConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": BRATS_256},
        "compact": COMPACT,
        "tiny": COMPACT | ADM_TINY | {
            "steps": 2, "classifier_width": 8, "classifier_multipliers": (1, 2), "classifier_attention": (1,),
            "classifier_head": 8, "classifier_patch": 2, "train_steps": {"diffusion": 4, "classifier": 4},
        },
    }  # fmt: skip
    stages = ("diffusion", "classifier")
    stage_share: ClassVar[dict[str, float]] = {"diffusion": 0.8, "classifier": 0.2}

    def __init__(self, config: DPMClassifierConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        self.classifier = Encoder(
            self.folded, 2, size=size, width=c.classifier_width, multipliers=c.classifier_multipliers,
            blocks=c.classifier_blocks, attention=c.classifier_attention, head=c.classifier_head,
            patch=c.classifier_patch,
        )  # fmt: skip
        self.stride = max(self.net.stride, self.classifier.stride)

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        if stage == "diffusion":
            return super().optimizers(stage)
        return {"classifier": self.config.optimizer(self.classifier.parameters())}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        if stage == "diffusion":
            yield from super().losses(batch, stage, generator)
        else:
            yield from self._classification_losses(batch, generator)

    def _classification_losses(self, batch: Task, generator: torch.Generator) -> Losses:
        """Cross-entropy of the class of slices at random levels."""
        c = self.config
        image, label = batch.target, batch.label.clamp_min(HEALTHY)
        if c.lesson.plant:
            half = draws.rand(generator, len(batch)).to(image.device) < 0.5
            chosen = half & (label == HEALTHY) & batch.with_planted
            image = torch.where(chosen[:, None, None, None], batch.image, image)
            label = torch.where(chosen, DISEASED, label)
        x0, label = c.scaled(self.fold(image)), self.per_row(label)
        t = random_times(len(x0), self.process, generator, x0.device)
        noise = draws.randn(generator, *x0.shape).to(x0)
        logits = self.classifier(self.process.schedule.noised(x0, t, noise), t)
        loss = F.cross_entropy(logits, label)
        accuracy = (logits.argmax(dim=1) == label).float().mean()
        yield "classifier", loss, {"cross_entropy": loss.detach(), "accuracy": accuracy.detach()}

    def encoder(self) -> Denoise:
        return self.process.denoiser(self.conditioned(LABELS[self.config.encode_label]))

    def decoder(self) -> Denoise:
        plain = self.process.denoiser(self.conditioned(LABELS[self.config.decode_label]))

        def log_health(x: Tensor, sigma: Tensor) -> Tensor:
            signal = (1 / (1 + sigma.double() ** 2)).sqrt().to(x)[:, None, None, None]
            return self.log_healthy(x * signal, self.process.schedule.time(sigma))

        return guidance.guided(plain, log_health, self.config.scale)

    def log_healthy(self, x: Tensor, t: Tensor) -> Tensor:
        """log C(healthy | x_t, t): (R, C, H, W), (R,) -> (R,)."""
        return F.log_softmax(self.classifier(x.float(), t), dim=1)[:, HEALTHY]

    def verdict(self) -> Verdict:
        """How much likelier than healthy a clean slice is to be diseased."""

        def log_odds(image: Tensor) -> Tensor:
            x = self.config.scaled(self.fold(image)).float()
            logits = self.classifier(x, torch.ones(len(x), device=x.device)).float()
            odds = logits[:, DISEASED] - logits[:, HEALTHY]
            return self.unfold(odds[:, None, None, None]).mean(dim=(1, 2, 3))

        return Verdict("log-odds of a lesion", log_odds, self.classifier.middle)

    def restore_ddpm(self, x: Tensor, noise: Tensor, generators: Sequence[torch.Generator], tick: Tick) -> Tensor:
        """As Dhariwal and Nichol 2021, Alg. 1, where the variance is learned."""
        c = self.config
        if not c.learned_variance:
            return super().restore_ddpm(x, noise, generators, tick)
        level = torch.full((len(x),), c.level, device=x.device)
        return self.process.ddpm(
            self.conditioned(LABELS[c.decode_label]),
            self.process.schedule.noised(x, level, noise),
            self.times(),
            generators=generators,
            tick=tick,
            gradient=lambda noisy, t: c.scale * guidance.gradient(self.log_healthy, noisy, t),
        )
