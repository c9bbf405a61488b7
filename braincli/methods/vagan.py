"""VAGAN (Baumgartner et al. 2018, "Visual feature attribution using Wasserstein GANs", CVPR, arXiv:1711.08998), as
DeScarGAN is compared with it (Wolleb 2022, PhD thesis, ch. 6): a network M learns the smallest change that makes
diseased slices look healthy to a critic D; the change shows the lesion.

    y = tanh(x + M(x)) for diseased x,   L_D = E[D(y)] - E[D(healthy)] + 10 penalty,   L_M = -E[D(y)] + 100 |M(x)|_1

(Eq. 2 to 5, the tanh on [-1, 1] by the code), five steps of D for one of M. It is not meant for healthy slices, which M
never sees, and tells no class.

Presets:
- ``paper``: 256 x 256 pixels of 1 mm, single contrasts; the code's networks for images, 462,305 parameters of M and
  1,757,249 of D; 32 slices of either kind per step, Adam 1e-3 with betas (0, 0.9). The thesis does not say how it set
  up its baselines: these are VAGAN's own settings.
- ``compact``: ours. Small networks on 2 x 2 pixels, all contrasts in one stack, dropped at random, geometry and
  intensity augmented.

Deviations that remain in ``paper``: D takes 5 steps throughout (theirs: 100 for each of the first 25 steps of M and of
every hundredth one, so that a step would depend on how many went before); 20,000 steps (theirs: until validation says
so); |M|_1 is a mean over the pixels that count, so that its weight does not depend on the canvas.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from braincli.diffusion import draws
from braincli.methods.base import Task, masked_mean
from braincli.methods.families.adversarial import Adversarial, AdversarialConfig, Logs, signed
from braincli.methods.lengths import Length
from braincli.methods.presets import ADVERSARIAL_COMPACT, ADVERSARIAL_TINY, WHOLE_256, Preset
from braincli.networks.gan import gradient_penalty
from braincli.networks.vagan import BLOCKS, ChangeUNet, Critic


class VAGANConfig(AdversarialConfig):
    """Options of networks and losses; the defaults are the paper's."""

    train_steps: dict[str, Length] = Field(default={"main": 20_000})
    train_batch: int = 320  # 32 of either kind for each step of the critic
    rate: float = 1e-3
    betas: tuple[float, float] = (0.0, 0.9)
    generator_width: int = 16
    critic_width: int = 16
    critic_blocks: tuple[tuple[int, ...], ...] = BLOCKS
    change: float = 100.0  # weight of the change


class VAGAN(Adversarial):
    """Restores by the change that it has learnt from diseased slices."""

    config: VAGANConfig
    Config = VAGANConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_256},
        "compact": ADVERSARIAL_COMPACT | {"rate": 4e-4},
        "tiny": ADVERSARIAL_COMPACT | ADVERSARIAL_TINY | {
            "generator_width": 4, "critic_width": 4, "critic_blocks": ((1,), (2,)),
        },
    }  # fmt: skip
    optional_weights = ("discriminator.",)
    generator: ChangeUNet
    discriminator: Critic

    def __init__(self, config: VAGANConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        self.generator = ChangeUNet(self.folded, width=c.generator_width, patch=c.patch)
        self.discriminator = Critic(self.folded, width=c.critic_width, blocks=c.critic_blocks, patch=c.patch)
        self.stride = self.generator.stride

    def discrimination(self, part: Task, generator: torch.Generator) -> tuple[Tensor, Logs]:
        half = len(part) // 2
        real = signed(part.image[:half])
        with torch.no_grad():
            fake, _ = self.changed(part)
        distance = self.discriminator(real).mean() - self.discriminator(fake).mean()
        along = draws.rand(generator, half).to(real.device)
        penalty = gradient_penalty(self.discriminator, real, fake, along)
        logs = {"wasserstein": distance.detach(), "gradient_penalty": penalty.detach()}
        return self.config.penalty * penalty - distance, logs

    def generation(self, part: Task, generator: torch.Generator) -> tuple[Tensor, Logs]:
        fake, change = self.changed(part)
        adversarial = -self.discriminator(fake).mean()
        size = masked_mean(change.abs(), self.inside(part)[len(part) // 2 :])
        loss = adversarial + self.config.change * size
        return loss, {"adversarial": adversarial.detach(), "change": size.detach()}

    def changed(self, part: Task) -> tuple[Tensor, Tensor]:
        """A share's diseased slices made healthy, in [-1, 1], and the change that did it."""
        half = len(part) // 2
        x = signed(part.image[half:])
        change = self.generator(x)
        return torch.where(self.inside(part)[half:], (x + change).tanh(), -1.0), change

    def healed(self, image: Tensor) -> Tensor:
        x = signed(self.fold(image))
        return self.unfold(((x + self.generator(x)).tanh() + 1) / 2)
