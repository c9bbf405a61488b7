"""What the denoising diffusion methods of the pDDPM family share (AnoDDPM, pDDPM, cDDPM): network, noise and loss.

A slice is noised to a level t that hides lesions and leaves the rough anatomy; a network that has only learnt healthy
slices restores it. The network predicts the slice itself (``x0``) and one call is the restoration; several levels are
averaged. Images are mapped from [0, 1] to [-1, 1] before they are noised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from braincli.anomalies import coarse
from braincli.diffusion import draws
from braincli.diffusion import noise as noises
from braincli.diffusion.schedule import ScheduleName, named
from braincli.diffusion.vp import VP, Target
from braincli.methods.base import Losses, Prediction, Task, Tick, masked_mean, no_tick
from braincli.methods.families.reconstruction import ReconstructionConfig, Restoring
from braincli.networks.unet import Injection, Resampling, UNet

NoiseSource = Callable[[], Tensor]  # gives fresh noise


class DenoisingConfig(ReconstructionConfig):
    """Options of network, process and noise; the defaults are those of Behrendt et al. 2023 as printed."""

    rate: float = 1e-5
    # network
    width: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2)
    blocks: int = 3
    attention: tuple[int, ...] = ()  # levels; the middle always has it
    injection: Injection = "scale-shift"
    resampling: Resampling = "transposed"
    patch: int = 1
    # process
    schedule: ScheduleName = "linear"
    target: Target = "x0"
    loss: Literal["l1", "l2"] = "l1"
    learnt: tuple[int, int] = (1, 1000)  # range of the levels t in training
    levels: tuple[int, ...] = Field(default=(500,), min_length=1)  # those that restorations are averaged over
    # noise
    noise: Literal["gauss", "coarse", "simplex"] = "simplex"
    shared_noise: bool = False  # simplex: one field for all rows, as the published code has it
    normalised_noise: bool = True  # simplex: mean 0, standard deviation 1

    @property
    def stochastic(self) -> bool:
        return True

    @model_validator(mode="after")
    def _fits(self) -> DenoisingConfig:
        if self.lesson.plant and self.target != "x0":
            raise ValueError("planted lesions (lesson.plant) can only be removed where the target is x0")
        if not 1 <= self.learnt[0] <= self.learnt[1] <= 1000 or not all(1 <= t <= 1000 for t in self.levels):
            raise ValueError("levels lie in 1 ... 1000")
        return self


class Denoising(Restoring):
    """A network that restores healthy slices from noised ones."""

    config: DenoisingConfig

    def __init__(self, config: DenoisingConfig, *, channels: int, size: tuple[int, int], condition: int = 0) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        self.process = VP(named(c.schedule), c.target)
        self.net = UNet(
            self.folded, self.folded, width=c.width, multipliers=c.multipliers, blocks=c.blocks,
            attention=c.attention, injection=c.injection, resampling=c.resampling, patch=c.patch,
            condition=condition,
        )  # fmt: skip
        self.stride = self.net.stride

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        """Error of the target at a random level per row."""
        c = self.config
        x0, source = centred(self.fold(batch.target)), centred(self.fold(batch.image))
        low, high = c.learnt
        t = draws.randint(generator, low, high + 1, len(x0)).to(x0.device)
        noise = self.fold(self.noise(batch.image, generator))
        x = self.process.schedule.noised(source, t, noise)
        x, noised = self.noised_part(x, source, generator)
        output = self.net(x, t, **self.context(batch.image))
        error = output - self.process.training_target(x0, noise, t)
        mask = self.fold(batch.counts) & noised
        loss = masked_mean(error.abs() if c.loss == "l1" else error**2, mask)
        yield "net", loss, {c.loss: loss.detach()}

    def noised_part(self, noisy: Tensor, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The network's input (R, C, H, W), and which pixels of it count in the loss (bool, broadcast to it)."""
        return noisy, torch.ones(1, 1, 1, 1, dtype=torch.bool, device=noisy.device)

    def context(self, image: Tensor) -> dict[str, Tensor]:
        """Conditions of the network beside the noised rows, made of ``image`` (B, C, H, W)."""
        return {}

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        c = self.config

        def noise() -> Tensor:
            return self.fold(self.noise(image, generators))

        x, context = centred(self.fold(image)), self.context(image)
        restored = [self.restore(x, noise, level, context, tick) for level in c.levels]
        mean = self.unfold(torch.stack(restored).mean(dim=0))
        return self.prediction((mean + 1) / 2, image, brain)

    def restore(self, x: Tensor, noise: NoiseSource, level: int, context: dict[str, Tensor], tick: Tick) -> Tensor:
        """Rows ``x`` (R, C, H, W) in [-1, 1], noised to ``level`` and denoised in one call.

        Args:
            noise: gives fresh noise of x's shape.
            context: what :meth:`context` gave.
            tick: to be called after every network call.
        """
        t = torch.full((len(x),), level, device=x.device)
        noisy = self.process.schedule.noised(x, t, noise())
        restored = self.process.clean(self.net(noisy, t, **context), noisy, t)
        tick()
        return restored

    def calls(self) -> int:
        return len(self.config.levels)

    def noise(self, like: Tensor, generators: torch.Generator | Sequence[torch.Generator]) -> Tensor:
        """Noise (B, C, H, W) of mean 0 and standard deviation 1 (simplex: if ``normalised_noise``).

        Args:
            generators: one for a batch in training, or one per row; a shared field is the same in every prediction.
        """
        c = self.config
        single = isinstance(generators, torch.Generator)
        if c.noise == "simplex":
            if c.shared_noise and not single:
                generators = [torch.Generator().manual_seed(0)] * len(like)
            return noises.simplex(like, generators, normalised=c.normalised_noise, shared=c.shared_noise)
        if c.noise == "gauss":
            return noises.gaussian(like, generators)
        sources = [generators] if isinstance(generators, torch.Generator) else generators
        shape = (len(like) // len(sources), *like.shape[1:])
        field = torch.cat([coarse.draw(shape, source, std=1.0) for source in sources])  # type: ignore[arg-type]
        return (field / field.std(dim=(2, 3), keepdim=True).clamp_min(1e-6)).to(like)


def centred(image: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return image * 2 - 1
