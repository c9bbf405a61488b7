"""Unpaired translation between healthy and diseased slices (CycleGAN, Zhu et al. 2017): what ``cyclegan`` and stage 1
of ``tsgm`` share.

Library defaults: least-squares adversarial loss, cycle weight 10, identity weight 5, a pool of 50 past images, Adam
2e-4 with betas (0.5, 0.999), batch 1. Translations are 0 outside the brain and where a contrast is absent, also before
the discriminators, as they are wherever they are used.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.methods.base import Batch, Losses, Method, MethodConfig, known, masked_mean, present
from braincli.networks.cyclegan import PatchGAN, ReplayPool, ResNetGenerator
from braincli.networks.gan import least_squares


class TranslationConfig(MethodConfig):
    """Options of the CycleGAN; the defaults are the library's."""

    generator_width: int = 64
    generator_blocks: int = 9
    generator_residual: bool = False
    discriminator_width: int = 64
    discriminator_layers: int = 3
    patch: int = 1
    cycle_weight: float = 10.0
    identity_weight: float = 5.0
    keep_weight: float = 0.0  # on changes to tissue outside the lesion masks (ours)
    pool: int = 50
    translate_rate: float = 2e-4


class Translation(Method):
    """Two generators, two discriminators and their losses; learns from half healthy, half diseased slices."""

    optional_weights: ClassVar[tuple[str, ...]] = ("judge_",)

    def __init__(self, config: TranslationConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.translation = c = config
        shape: dict[str, Any] = {"width": c.generator_width, "blocks": c.generator_blocks, "patch": c.patch}
        self.to_diseased, self.to_healthy = (
            ResNetGenerator(self.folded, residual=c.generator_residual, **shape) for _ in range(2)
        )
        self.judge_diseased, self.judge_healthy = (
            PatchGAN(self.folded, width=c.discriminator_width, layers=c.discriminator_layers) for _ in range(2)
        )
        self.stride = 4 * c.patch
        self.pools = {"diseased": ReplayPool(c.pool), "healthy": ReplayPool(c.pool)}

    def diet(self, stage: str) -> str:
        return "balanced"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        parts = {
            "generators": [*self.to_diseased.parameters(), *self.to_healthy.parameters()],
            "discriminators": [*self.judge_diseased.parameters(), *self.judge_healthy.parameters()],
        }
        rate = self.translation.translate_rate
        return {name: torch.optim.Adam(p, lr=rate, betas=(0.5, 0.999)) for name, p in parts.items()}

    def draw(self, network: ResNetGenerator, image: Tensor, inside: Tensor) -> Tensor:
        """(B, C, H, W) -> the same in the network's domain, 0 except where ``inside`` (B, C, H, W) holds."""
        return self.unfold(network(self.fold(image))) * inside

    def translate(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Adversarial, cycle and identity losses (Zhu et al. 2017, Eq. 1-3), then the discriminators'."""
        c = self.translation
        well, sick = batch.rows(batch.label == 0), batch.rows(batch.label == 1)
        if len(well) == 0 or len(sick) == 0:
            return
        healthy, diseased = well.image, sick.image
        in_well, in_sick = (part.brain & present(part.image) for part in (well, sick))
        fake_diseased = self.draw(self.to_diseased, healthy, in_well)
        fake_healthy = self.draw(self.to_healthy, diseased, in_sick)
        adversarial = self._asked(self.judge_diseased, fake_diseased, True) + self._asked(
            self.judge_healthy, fake_healthy, True
        )
        cycle = F.l1_loss(self.draw(self.to_healthy, fake_diseased, in_well), healthy) + F.l1_loss(
            self.draw(self.to_diseased, fake_healthy, in_sick), diseased
        )
        total = adversarial + c.cycle_weight * cycle
        logs = {"adversarial": adversarial.item(), "cycle": cycle.item()}
        if c.identity_weight:
            identity = F.l1_loss(self.draw(self.to_healthy, healthy, in_well), healthy) + F.l1_loss(
                self.draw(self.to_diseased, diseased, in_sick), diseased
            )
            total = total + c.identity_weight * identity
        if c.keep_weight:
            kept = masked_mean((fake_healthy - diseased).abs(), known(sick))
            total, logs["kept"] = total + c.keep_weight * kept, kept.item()
        yield "generators", total, logs
        judged = (
            self._asked(self.judge_diseased, diseased, True)
            + self._asked(self.judge_diseased, self.pools["diseased"].swap(fake_diseased, generator), False)
            + self._asked(self.judge_healthy, healthy, True)
            + self._asked(self.judge_healthy, self.pools["healthy"].swap(fake_healthy, generator), False)
        ) / 2
        yield "discriminators", judged, {"judged": judged.item()}

    def _asked(self, judge: PatchGAN, image: Tensor, real: bool) -> Tensor:
        return least_squares(judge(self.fold(image)), real=real)

    def resume_state(self) -> dict[str, Any]:
        return {name: list(pool.images) for name, pool in self.pools.items()}

    def load_resume_state(self, state: dict[str, Any]) -> None:
        for name, images in state.items():
            self.pools[name].images = list(images)
