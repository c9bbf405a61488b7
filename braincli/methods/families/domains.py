"""What StarGAN and Fixed-Point GAN share: one generator that is told the class to translate to, and one discriminator
that tells real slices from generated ones, and healthy from diseased ones."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.diffusion import draws
from braincli.methods.base import Task, Verdict
from braincli.methods.families.adversarial import HEALTHY, Adversarial, AdversarialConfig, Logs, signed
from braincli.methods.families.telling import verdict_of
from braincli.networks.gan import gradient_penalty
from braincli.networks.stargan import DomainDiscriminator, DomainGenerator


class DomainsConfig(AdversarialConfig):
    """Options of networks and losses; the defaults are those of both papers."""

    generator_width: int = 64
    generator_blocks: int = 6
    discriminator_width: int = 64
    discriminator_layers: int = 6
    telling: float = 1.0  # weight of the class losses
    reconstruction: float = 10.0


class Domains(Adversarial):
    """Networks, the discriminator's loss, and predictions."""

    config: DomainsConfig
    generator: DomainGenerator
    discriminator: DomainDiscriminator
    optional_weights = ("discriminator.judge",)

    def __init__(self, config: DomainsConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        self.generator = DomainGenerator(
            self.folded, width=c.generator_width, blocks=c.generator_blocks, patch=c.patch
        )  # fmt: skip
        self.discriminator = DomainDiscriminator(
            self.folded, size, width=c.discriminator_width, layers=c.discriminator_layers, patch=c.patch
        )
        self.stride = self.generator.stride

    @abstractmethod
    def made(self, image: Tensor, target: Tensor) -> Tensor:
        """``image`` (R, C, H, W) in [-1, 1] as if of class ``target`` (R,); the same range."""

    def translated(self, image: Tensor, target: Tensor, inside: Tensor) -> Tensor:
        """:meth:`made`, and -1 where ``inside`` does not hold."""
        return torch.where(inside, self.made(image, target), -1.0)

    def targets(self, part: Task, generator: torch.Generator) -> Tensor:
        """(B,) classes to translate to: the share's own, in another order."""
        order = draws.rand(generator, len(part)).to(part.image.device).argsort()
        return part.label[order]

    def discrimination(self, part: Task, generator: torch.Generator) -> tuple[Tensor, Logs]:
        """E[D(G(x, c'))] - E[D(x)] + l_gp penalty + l_cls E[-log D_cls(c | x)]."""
        c, real = self.config, signed(part.image)
        with torch.no_grad():
            fake = self.translated(real, self.targets(part, generator), self.inside(part))
        score, logits = self.discriminator(real)
        distance = score.mean() - self.discriminator(fake)[0].mean()
        telling = F.cross_entropy(logits, part.label)
        along = draws.rand(generator, len(real)).to(real.device)
        penalty = gradient_penalty(lambda x: self.discriminator(x)[0], real, fake, along)
        logs = {"wasserstein": distance, "gradient_penalty": penalty, "class": telling}
        loss = c.telling * telling + c.penalty * penalty - distance
        return loss, {name: value.detach() for name, value in logs.items()}

    def fooling(self, fake: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Adversarial and class loss of generated slices that are to be of class ``target``."""
        score, logits = self.discriminator(fake)
        return -score.mean(), F.cross_entropy(logits, target)

    def healed(self, image: Tensor) -> Tensor:
        rows = signed(self.fold(image))
        healthy = torch.full((len(rows),), HEALTHY, device=rows.device)
        return self.unfold((self.made(rows, healthy) + 1) / 2)

    def diseased(self, image: Tensor) -> Tensor:
        return self.pooled_class(self.class_logits(image), image)

    def class_logits(self, image: Tensor) -> Tensor:
        """(R, 2) of the rows of slices (B, C, H, W): D_cls."""
        return self.discriminator(signed(self.fold(self.on_canvas(image))))[1]

    def verdict(self) -> Verdict:
        return verdict_of(self.class_logits, self.discriminator.shared)
