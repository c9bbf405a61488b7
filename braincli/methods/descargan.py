"""DeScarGAN (Wolleb et al. 2020, "DeScarGAN: Disease-specific anomaly detection with weak supervision", MICCAI,
arXiv:2007.14118; Wolleb 2022, PhD thesis, ch. 6): translation between healthy and diseased slices for lesions that
deform what is around them, learnt from slice labels; one model restores and tells the class.

The generator has a branch for each class: G_h gives the healthy slice, G_p the diseased one; |G_h(x) - x| shows the
lesion. Of the discriminator one part judges each class, and a third, D_cls, tells them apart: its softmax is the class
score of a slice. With c the class of x, c' the other one and xhat_c between real and generated images of class c:

    L_d = l_adv,d (E[D_c'(G_c'(x))] - E[D_c(x)]) + l_gp E[(|grad D_c(xhat_c)| - 1)^2] + l_cls,d E[-log D_cls^c(x)]
    L_g = -l_adv,g E[D_c'(G_c'(x))] + l_rec |x - G_c(G_c'(x))| + l_id |x - G_c(x)| + l_cls,g E[-log D_cls^c'(G_c'(x))]

with the weights 20, 10, 5 and 1, 50, 50, 1; five steps of the discriminator for one of the generator.

Mended or decided where text and code differ: Eq. 5 of the thesis prints the class c where the text says c', which is
meant. Read literally the penalty's weight is 20 x 10; the code has 10, as here. The text's L_rec and L_id are norms of
an image, the code's mean squares; ``distance`` chooses, ``paper`` has the code's. The adversarial and class losses of
the generator are those of the other class alone, as printed (code: of both). A generated image of class c meets real
ones of class c in the penalty (code: of any class). Skips are concatenated, at all levels but the uppermost: the
published counts of parameters allow no addition. The text does not say with which batch statistics the generator
restores: here the running ones are kept by target class, as the plane of the target shifts all features.

Presets:
- ``paper``: 256 x 256 pixels of 1 mm; 8,528,262 parameters of the generator and 18,170,180 of the discriminator; from
  the smallest to the largest intensity, and, from the code, 10 slices per step and gradients clipped at 10. Adam 1e-4
  with betas (0.5, 0.999), 500 epochs.
- ``compact``: ours. Small networks on 2 x 2 pixels, all contrasts in one stack, dropped at random, geometry and
  intensity augmented; L_rec and L_id are norms, without which a short training follows the discriminator alone.

Deviations that remain in ``paper``: slices are not flipped, nor noised (code: 0.05 U(0, 1), in training); the last
weights are taken, where the thesis gives no rule; intensities are scaled per volume; precision is not mixed.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.diffusion import draws
from braincli.methods.base import Task, Verdict
from braincli.methods.families.adversarial import (
    DISEASED,
    HEALTHY,
    Adversarial,
    AdversarialConfig,
    Logs,
    flipped,
    signed,
)
from braincli.methods.families.telling import verdict_of
from braincli.methods.lengths import Epochs, Length
from braincli.methods.presets import ADVERSARIAL_COMPACT, ADVERSARIAL_TINY, WHOLE_256, Preset
from braincli.networks.descargan import BLOCKS, BranchedDiscriminator, BranchedGenerator
from braincli.networks.gan import gradient_penalty


class DeScarGANConfig(AdversarialConfig):
    """Options of networks and losses; the defaults are the paper's."""

    train_steps: dict[str, Length] = Field(default={"main": Epochs(number=500)})
    train_batch: int = 50  # 10 for each step of the discriminator
    clip_norm: float = Field(default=10.0, ge=0)
    generator_width: int = 64
    discriminator_width: int = 32
    discriminator_blocks: tuple[tuple[int, ...], ...] = BLOCKS
    dropout: float = Field(default=0.1, ge=0, lt=1)
    realness: float = 20.0  # weight of the adversarial loss, of the discriminator
    telling: float = 5.0  # weight of its class loss
    fooling: float = 1.0  # weight of the generator's adversarial loss
    converting: float = 1.0  # weight of its class loss
    distance: Literal["squares", "norm"] = "squares"  # of reconstruction and identity: the code's, or the text's
    reconstruction: float = 50.0
    identity: float = 50.0


class DeScarGAN(Adversarial):
    """Restores with the healthy branch, and tells how likely a slice is diseased."""

    config: DeScarGANConfig
    Config = DeScarGANConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_256 | {"percentiles": (0.0, 100.0)}},
        "compact": ADVERSARIAL_COMPACT | {
            "generator_width": 16, "discriminator_width": 16, "discriminator_blocks": ((1,), (2,), (4,), (4,)),
            "distance": "norm", "rate": 4e-4,
        },
        "tiny": ADVERSARIAL_COMPACT | ADVERSARIAL_TINY | {
            "generator_width": 4, "discriminator_width": 4, "discriminator_blocks": ((1,), (2,)),
        },
    }  # fmt: skip
    optional_weights = ("discriminator.judges",)
    generator: BranchedGenerator
    discriminator: BranchedDiscriminator

    def __init__(self, config: DeScarGANConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        self.generator = BranchedGenerator(self.folded, width=c.generator_width, patch=c.patch)
        self.discriminator = BranchedDiscriminator(
            self.folded, size, width=c.discriminator_width, blocks=c.discriminator_blocks, patch=c.patch,
            share=c.dropout,
        )  # fmt: skip
        self.stride = self.generator.stride

    def discrimination(self, part: Task, generator: torch.Generator) -> tuple[Tensor, Logs]:
        c, net, own = self.config, self.discriminator, part.label
        real = signed(part.image)
        with torch.no_grad():
            fake = signed(self.translated(part)[1])
        trunk = net.trunk(real)
        distance = net.judged(trunk, own).mean() - net.judged(net.trunk(fake), 1 - own).mean()
        telling = F.cross_entropy(net.classed(trunk, generator), own)
        along = draws.rand(generator, len(real)).to(real.device)
        penalty = gradient_penalty(lambda x: net.judged(net.trunk(x), own), real, fake[flipped(part)], along)
        loss = c.telling * telling + c.penalty * penalty - c.realness * distance
        logs = {"wasserstein": distance, "gradient_penalty": penalty, "class": telling}
        return loss, {name: value.detach() for name, value in logs.items()}

    def generation(self, part: Task, generator: torch.Generator) -> tuple[Tensor, Logs]:
        c, net, real = self.config, self.discriminator, signed(part.image)
        same, other = self.translated(part)
        half, inside = len(part) // 2, self.inside(part)
        back = torch.cat([self.generator(other[:half], HEALTHY), self.generator(other[half:], DISEASED)]) * inside
        identity, reconstruction = (self.difference(signed(image), real) for image in (same, back))
        trunk = net.trunk(signed(other))
        fooling = -net.judged(trunk, 1 - part.label).mean()
        converting = F.cross_entropy(net.classed(trunk, generator), 1 - part.label)
        loss = c.fooling * fooling + c.converting * converting
        loss = loss + c.reconstruction * reconstruction + c.identity * identity
        logs = {"adversarial": fooling, "converted": converting, "reconstruction": reconstruction, "identity": identity}
        return loss, {name: value.detach() for name, value in logs.items()}

    def difference(self, image: Tensor, real: Tensor) -> Tensor:
        """How far ``image`` is from ``real`` (B, C, H, W): the mean square, or the mean norm of a row."""
        if self.config.distance == "squares":
            return F.mse_loss(image, real)
        return ((image - real).flatten(1).float() ** 2).sum(dim=1).add(1e-8).sqrt().mean()

    def translated(self, part: Task) -> tuple[Tensor, Tensor]:
        """A share's slices (B, C, H, W) in their own class, and in the other one.

        Each branch sees all of them, as batch normalisation wants it.
        """
        half, inside = len(part) // 2, self.inside(part)
        healthy, diseased = (self.generator(part.image, kind) * inside for kind in (HEALTHY, DISEASED))
        same = torch.cat([healthy[:half], diseased[half:]])
        return same, torch.cat([diseased[:half], healthy[half:]])

    def healed(self, image: Tensor) -> Tensor:
        return self.unfold(self.generator(self.fold(image), HEALTHY))

    def diseased(self, image: Tensor) -> Tensor:
        return self.pooled_class(self.class_logits(image), image)

    def class_logits(self, image: Tensor) -> Tensor:
        """(R, 2) of the rows of slices (B, C, H, W): D_cls."""
        net = self.discriminator
        return net.classed(net.trunk(signed(self.fold(self.on_canvas(image)))))

    def verdict(self) -> Verdict:
        return verdict_of(self.class_logits, self.discriminator.seen)
