"""StarGAN (Choi et al. 2018, "StarGAN: Unified generative adversarial networks for multi-domain image-to-image
translation", CVPR, arXiv:1711.09020), as DeScarGAN is compared with it (Wolleb 2022, PhD thesis, ch. 6): one generator
translates to the class that it is told, healthy or diseased; translated to healthy, the change shows the lesion.

With c the class of x and c' one that is drawn (half of them are c itself),

    L_D = E[D(G(x, c'))] - E[D(x)] + l_gp penalty + l_cls E[-log D_cls(c | x)]
    L_G = -E[D(G(x, c'))] + l_cls E[-log D_cls(c' | G(x, c'))] + l_rec E[|x - G(G(x, c'), c)|_1]

(Eq. 5 to 8), weights 10, 1 and 10; five steps of D for one of G. D_cls gives the class score of a slice.

Presets:
- ``paper``: 256 x 256 pixels of 1 mm, single contrasts; 8,408,576 parameters of the generator and 44,784,576 of the
  discriminator; 16 slices per step, 200,000 steps of D, Adam 1e-4 with betas (0.5, 0.999), which falls to 0 over the
  second half. The thesis does not say how it set up its baselines: these are StarGAN's own settings.
- ``compact``: ours. Small networks on 2 x 2 pixels, all contrasts in one stack, dropped at random, geometry and
  intensity augmented.

Deviations that remain in ``paper``: half of a batch is diseased; the class loss is the cross-entropy of two classes (as
the code has it for data sets of exclusive classes); no flips; intensities from the 1st to the 99th percentile of the
volume.
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
from braincli.methods.lengths import Decay, Length
from braincli.methods.presets import ADVERSARIAL_TINY, DOMAINS_COMPACT, DOMAINS_TINY, WHOLE_256, Preset


class StarGANConfig(DomainsConfig):
    """The shared options; the defaults are the paper's."""

    train_steps: dict[str, Length] = Field(default={"main": 40_000})
    train_batch: int = 80  # 16 for each step of the discriminator
    decay: Decay = "half-linear"


class StarGAN(Domains):
    """Gives the whole slice anew."""

    config: StarGANConfig
    Config = StarGANConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_256},
        "compact": DOMAINS_COMPACT,
        "tiny": DOMAINS_COMPACT | ADVERSARIAL_TINY | DOMAINS_TINY,
    }

    def made(self, image: Tensor, target: Tensor) -> Tensor:
        output: Tensor = self.generator(image, target)
        return output.tanh()

    def generation(self, part: Task, generator: torch.Generator) -> tuple[Tensor, Logs]:
        c, real, inside = self.config, signed(part.image), self.inside(part)
        target = self.targets(part, generator)
        fake = self.translated(real, target, inside)
        adversarial, converted = self.fooling(fake, target)
        reconstruction = F.l1_loss(self.translated(fake, part.label, inside), real)
        loss = adversarial + c.telling * converted + c.reconstruction * reconstruction
        logs = {"adversarial": adversarial, "converted": converted, "reconstruction": reconstruction}
        return loss, {name: value.detach() for name, value in logs.items()}
