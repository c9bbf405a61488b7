"""What methods share that translate between healthy and diseased slices, unpaired, against a Wasserstein discriminator
(DeScarGAN, StarGAN, Fixed-Point GAN, VAGAN): shares of a batch, the order of steps, class scores and predictions.

A step takes ``critic_steps`` steps of the discriminator, each on its own share of the batch with as many healthy as
diseased slices, and one of the generator, on the last share. So nothing has to be counted over steps: a step depends on
weights, optimisers and its batch alone. Networks see [-1, 1]; what lies outside the brain is 0 in what is generated,
too, and no discriminator can tell by it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from braincli.methods.base import Losses, MethodConfig, Prediction, Sampling, Task, Tick, no_tick, present
from braincli.methods.families.telling import DISEASED as DISEASED
from braincli.methods.families.telling import HEALTHY as HEALTHY
from braincli.methods.families.telling import Telling
from braincli.methods.families.translation import of_either_kind

Logs = dict[str, Tensor]


class AdversarialConfig(MethodConfig):
    """Options of every method of this family."""

    lessons: ClassVar[tuple[str, ...]] = ("vary", "drop", "alone")  # diseased slices are there as they are

    critic_steps: int = Field(default=5, ge=1)  # of the discriminator, for one of the generator
    penalty: float = Field(default=10.0, ge=0)  # weight of the gradient penalty
    patch: int = Field(default=1, ge=1)  # pixels per side folded into channels
    rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)


class Adversarial(Telling):
    """Base of the family; ``generator`` and ``discriminator`` are the subclass' networks."""

    config: AdversarialConfig
    generator: torch.nn.Module
    discriminator: torch.nn.Module

    def sampling(self, stage: str) -> Sampling:
        return "balanced"

    def is_judged(self, stage: str) -> bool:
        return False

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        parts = {"discriminator": self.discriminator, "generator": self.generator}
        c = self.config
        return {name: torch.optim.Adam(net.parameters(), lr=c.rate, betas=c.betas) for name, net in parts.items()}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        told, part = dict[str, Tensor](), None
        for part in self.parts(batch):
            loss, told = self.discrimination(part, generator)
            yield "discriminator", loss, {}
        if part is not None:
            loss, logs = self.generation(part, generator)
            yield "generator", loss, told | logs  # of the last step of either

    def parts(self, batch: Task) -> Iterator[Task]:
        """A share of ``batch`` for each step of the discriminator: as many healthy rows, then as many diseased ones."""
        half, steps = of_either_kind(batch, self.held), self.config.critic_steps
        if half == 0:
            return
        by_kind = batch.label.argsort(stable=True)
        healthy, diseased = (rows.tensor_split(min(steps, half)) for rows in (by_kind[:half], by_kind[-half:]))
        for step in range(steps):
            share = step % len(healthy)
            yield batch.rows(torch.cat([healthy[share], diseased[share]]))

    @abstractmethod
    def discrimination(self, part: Task, generator: torch.Generator) -> tuple[Tensor, Logs]:
        """The discriminator's loss, and figures for the log."""

    @abstractmethod
    def generation(self, part: Task, generator: torch.Generator) -> tuple[Tensor, Logs]:
        """The generator's loss, and figures for the log."""

    @abstractmethod
    def healed(self, image: Tensor) -> Tensor:
        """Healthy slices (B, C, H, W), about in [0, 1], of ``image``."""

    def diseased(self, image: Tensor) -> Tensor | None:
        """(B,) how likely each slice shows a lesion; None where the method does not tell."""
        return None

    def inside(self, batch: Task) -> Tensor:
        """(B, C, H, W) bool: where a translation may be other than 0."""
        return batch.brain & present(batch.image)

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        restored = self.healed(image).float().clamp(0, 1) * (brain & present(image))
        diseased = self.diseased(image)
        tick()
        return Prediction(restored=restored, diseased=diseased)


def signed(image: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return image * 2 - 1


def flipped(part: Task) -> Tensor:
    """(B,) for every row of a share the number of one of the other class."""
    rows = torch.arange(len(part), device=part.image.device)
    return rows.roll(len(part) // 2)
