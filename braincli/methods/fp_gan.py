"""Fixed-Point GAN (Siddiquee et al. 2019, "Learning fixed points in generative adversarial networks: from
image-to-image translation to disease detection and localization", ICCV, arXiv:1908.06965), the baseline of both
DeScarGAN and dpm-classifier (Wolleb 2022, PhD thesis, ch. 6 and 7).

StarGAN's networks, but the generator gives a change d, and x -> tanh(x + d) on [-1, 1]; beside the class c' that is
drawn, every slice is translated to its own class c, too, which is to leave it alone:

    L_D = E[D(G(x, c'))] - E[D(x)] + l_gp penalty + l_cls E[-log D_cls(c | x)]
    L_G = sum over k in {c', c} of  -E[D(G(x, k))] + l_cls E[-log D_cls(k | G(x, k))] + l_rec E[|x - G(G(x, k), c)|_1]
          + l_id E[|x - G(x, c)|_1]

with the weights 10, 1, 10 and 10; five steps of D for one of G. D_cls gives the class score of a slice.

Presets:
- ``paper``: 256 x 256 pixels of 1 mm, slices 80 to 128, single contrasts; 8,408,576 parameters of the generator and
  44,784,576 of the discriminator; as ch. 7's code compares with it: 150 epochs, 10 slices per step, Adam 1e-4 with
  betas (0.5, 0.999).
- ``compact``: ours. Small networks on 2 x 2 pixels, all contrasts in one stack, dropped at random, geometry and
  intensity augmented.

Deviations that remain in ``paper``: half of a batch is diseased, the class loss is the cross-entropy of two classes,
and the rate does not fall (the code lets it over the last half of a training of given length). Ch. 7 takes the four
contrasts as one image: ``--set contrasts=stacked``.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.methods.base import Task
from braincli.methods.families.adversarial import Logs, signed
from braincli.methods.families.domains import Domains, DomainsConfig
from braincli.methods.lengths import Epochs, Length
from braincli.methods.presets import ADVERSARIAL_TINY, BRATS_256, DOMAINS_COMPACT, DOMAINS_TINY, Preset


class FPGANConfig(DomainsConfig):
    """The shared options, and the weight of fixed points; the defaults are the paper's."""

    train_steps: dict[str, Length] = Field(default={"main": Epochs(number=150)})
    train_batch: int = 50  # 10 for each step of the discriminator
    identity: float = 10.0


class FPGAN(Domains):
    """Gives a change of the slice."""

    config: FPGANConfig
    Config = FPGANConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": BRATS_256},
        "compact": DOMAINS_COMPACT,
        "tiny": DOMAINS_COMPACT | ADVERSARIAL_TINY | DOMAINS_TINY,
    }

    def made(self, image: Tensor, target: Tensor) -> Tensor:
        change: Tensor = self.generator(image, target)
        return (image + change).tanh()

    def generation(self, part: Task, generator: torch.Generator) -> tuple[Tensor, Logs]:
        c, real, inside, own = self.config, signed(part.image), self.inside(part), part.label
        other = self.targets(part, generator)
        terms = {name: real.new_zeros(()) for name in ("adversarial", "converted", "reconstruction")}
        made = {}
        for name, target in (("other", other), ("own", own)):
            made[name] = fake = self.translated(real, target, inside)
            adversarial, converted = self.fooling(fake, target)
            terms["adversarial"] = terms["adversarial"] + adversarial
            terms["converted"] = terms["converted"] + converted
            terms["reconstruction"] = terms["reconstruction"] + F.l1_loss(self.translated(fake, own, inside), real)
        terms["identity"] = F.l1_loss(made["own"], real)
        loss = terms["adversarial"] + c.telling * terms["converted"]
        loss = loss + c.reconstruction * terms["reconstruction"] + c.identity * terms["identity"]
        return loss, {name: value.detach() for name, value in terms.items()}
