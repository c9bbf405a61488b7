"""Unpaired translation between healthy and diseased slices (CycleGAN, Zhu et al. 2017): what ``cyclegan`` and stage 1
of ``tsgm`` share.

Library defaults: least-squares adversarial loss, cycle weight 10, identity weight 5, a pool of 50 past images, Adam
2e-4 with betas (0.5, 0.999), batch 1. Translations are 0 outside the brain and where a contrast is absent, also before
the discriminators, as they are wherever they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.methods.base import Losses, Method, MethodConfig, Sampling, Task, masked_mean, present
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
    keep_weight: float = 0.0  # ours: on changes to what counts of diseased slices
    pool: int = 50
    translate_rate: float = 2e-4


class Translation(Method):
    """Two generators, two discriminators and their losses; learns from half healthy, half diseased slices."""

    config: TranslationConfig
    optional_weights: ClassVar[tuple[str, ...]] = ("discriminator_",)
    renamed_weights: ClassVar[dict[str, str]] = {"judge_": "discriminator_"}

    def __init__(self, config: TranslationConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        shape: dict[str, Any] = {"width": c.generator_width, "blocks": c.generator_blocks, "patch": c.patch}
        self.to_diseased, self.to_healthy = (
            ResNetGenerator(self.folded, residual=c.generator_residual, **shape) for _ in range(2)
        )
        self.discriminator_diseased, self.discriminator_healthy = (
            PatchGAN(self.folded, width=c.discriminator_width, layers=c.discriminator_layers) for _ in range(2)
        )
        self.stride = 4 * c.patch
        self.pools = {"diseased": ReplayPool(c.pool), "healthy": ReplayPool(c.pool)}

    def sampling(self, stage: str) -> Sampling:
        return "balanced"

    def is_judged(self, stage: str) -> bool:
        """The last weights of the adversarial stage are taken, as the library does."""
        return stage != "translate"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        parts = {
            "generators": [*self.to_diseased.parameters(), *self.to_healthy.parameters()],
            "discriminators": [*self.discriminator_diseased.parameters(), *self.discriminator_healthy.parameters()],
        }
        rate = self.config.translate_rate
        return {name: torch.optim.Adam(p, lr=rate, betas=(0.5, 0.999)) for name, p in parts.items()}

    def translate(self, generator: ResNetGenerator, image: Tensor, inside: Tensor) -> Tensor:
        """(B, C, H, W) -> the same in the generator's domain, 0 except where ``inside`` (B, C, H, W) holds."""
        return self.unfold(generator(self.fold(image))) * inside

    def translation_losses(self, batch: Task, generator: torch.Generator) -> Losses:
        """Adversarial, cycle and identity losses (Zhu et al. 2017, Eq. 1-3), then the discriminators'."""
        c = self.config
        half = of_either_kind(batch, self.held)
        if half == 0:
            return
        by_kind = batch.label.argsort(stable=True)
        without, with_lesion = batch.rows(by_kind[:half]), batch.rows(by_kind[-half:])
        healthy, diseased = without.image, with_lesion.image
        in_healthy, in_diseased = (part.brain & present(part.image) for part in (without, with_lesion))
        # what a generator makes of both kinds: the partner of one, and the other as it is (instances know no batch)
        kinds, inside = (healthy, diseased), (in_healthy, in_diseased)
        known = c.identity_weight > 0
        fake_diseased, *same_diseased = self._translated(self.to_diseased, kinds, inside, known)
        fake_healthy, *same_healthy = self._translated(self.to_healthy, kinds[::-1], inside[::-1], known)
        fooled_diseased = self._adversarial(self.discriminator_diseased, fake_diseased, True)
        fooled_healthy = self._adversarial(self.discriminator_healthy, fake_healthy, True)
        adversarial = fooled_diseased + fooled_healthy
        cycle_healthy = F.l1_loss(self.translate(self.to_healthy, fake_diseased, in_healthy), healthy)
        cycle_diseased = F.l1_loss(self.translate(self.to_diseased, fake_healthy, in_diseased), diseased)
        cycle = cycle_healthy + cycle_diseased
        total = adversarial + c.cycle_weight * cycle
        logs = {"adversarial": adversarial.detach(), "cycle": cycle.detach()}
        if known:
            identity = F.l1_loss(same_healthy[0], healthy) + F.l1_loss(same_diseased[0], diseased)
            total = total + c.identity_weight * identity
        if c.keep_weight:
            keep = masked_mean((fake_healthy - diseased).abs(), with_lesion.counts)
            total, logs["keep"] = total + c.keep_weight * keep, keep.detach()
        yield "generators", total, logs
        past_diseased = self.pools["diseased"].swap(fake_diseased, generator)
        past_healthy = self.pools["healthy"].swap(fake_healthy, generator)
        discrimination = (
            self._discrimination(self.discriminator_diseased, diseased, past_diseased)
            + self._discrimination(self.discriminator_healthy, healthy, past_healthy)
        ) / 2
        yield "discriminators", discrimination, {"discriminator": discrimination.detach()}

    def _translated(
        self, generator: ResNetGenerator, images: tuple[Tensor, ...], inside: tuple[Tensor, ...], both: bool
    ) -> tuple[Tensor, ...]:
        """:meth:`translate` of two images in one call, or with ``both`` false of the first alone."""
        if not both:
            return (self.translate(generator, images[0], inside[0]),)
        return self.translate(generator, torch.cat(images), torch.cat(inside)).tensor_split(2)

    def _discrimination(self, discriminator: PatchGAN, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of ``discriminator``, which looks at as many real as fake images in one call."""
        of_real, of_fake = discriminator(self.fold(torch.cat([real, fake]))).tensor_split(2)
        return least_squares(of_real, real=True) + least_squares(of_fake, real=False)

    def _adversarial(self, discriminator: PatchGAN, image: Tensor, real: bool) -> Tensor:
        return least_squares(discriminator(self.fold(image)), real=real)

    def resume_state(self) -> dict[str, Any]:
        return {name: pool.state() for name, pool in self.pools.items()}

    def load_resume_state(self, state: dict[str, Any]) -> None:
        for name, images in state.items():
            self.pools[name].load(images)


def of_either_kind(batch: Task, held: Sequence[int] | None) -> int:
    """How many rows of either kind there are: half of them, as ``balanced`` promises, but for blank ones.

    Args:
        held: contrasts that every slice holds, see ``Method.held``; without, a GPU has to be waited for.
    """
    if batch.contrast is None or held is not None:
        return len(batch) // 2
    return int(torch.stack([batch.label == 0, batch.label == 1]).sum(dim=1).min())
