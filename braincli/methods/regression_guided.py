"""Regression guidance: a slice as it would be if a number that belongs to it were another one (Wolleb et al. 2022, "The
Swiss Army Knife for image-to-image translation", arXiv:2204.02641, Alg. 1; chapter 8 of Wolleb's thesis).

Stage ``diffusion``: a DDPM with learned variance (hybrid loss). Stage ``guide``: a time-conditioned encoder R learns
the number y from noised slices, || R(x_t, t) - y ||^2. At test time a slice is encoded for L steps and decoded with
eps - s_t c sqrt(1 - abar) grad R, s_t = i - R(x_t, t) for the value i that is asked for, or +1 and -1 for more and less
(:mod:`braincli.methods.families.steered`). (i - R) grad R is the gradient of -(i - R)^2 / 2.

``number`` says what it is: ``lesion``, the share of a slice's brain that is lesion (the paper's relative tumour
size), or else a column of the manifest with a number for every case, such as an age, which all slices of the case have.
Detection translates to ``aim``; where nothing is said, to 0 for lesions and to the cohort's mean for a column.

Presets:
- ``paper``: L = 400 in 400 steps each way, c = 1000; 113,681,160 + 5,452,833 parameters with four contrasts, 256 x 256
  pixels of 1 mm, slices 80 to 128; intensities in [0, 1]; slices as the cohort has them. (c = 5, 500,000 and 80,000
  steps for the faces, whose networks have other sizes.)
- ``compact``: ours. A small network that predicts v; t = 600 in 8 steps each way; R learns the number in standard
  deviations of the cohort (``standardised``), so that ``scale`` means the same for any number; half of each batch is
  diseased where the number is that of lesions.

Deviations that remain in ``paper``: the text counts the parameters of a network with a table of two classes and does
not say which class is fed in; here half of the rows learn without, and translation goes without. Rate, batch and
optimiser of R are not given: those of the diffusion model. The EMA of 0.9999 remembers less in its first steps.
A number such as brain volume, which other heads' geometry would change, wants ``lesson.vary=0``.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from braincli.errors import InputError
from braincli.methods.base import Batch, Losses, Sampling, Task, Verdict, masked_mean
from braincli.methods.families.steered import Steered, SteeredConfig
from braincli.methods.presets import ADM_TINY, BRATS_256, STEERED_COMPACT, Preset
from braincli.networks.unet import Encoder

LESION = "lesion"


class RegressorConfig(BaseModel):
    """Sizes of R, as :class:`braincli.networks.unet.Encoder` takes them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = 32
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    blocks: int = 4
    attention: tuple[int, ...] = (3, 4, 5)
    head: int = Field(default=64, ge=1)
    patch: int = Field(default=1, ge=1)


class RegressionGuidedConfig(SteeredConfig):
    """Options of the number and its regressor; the defaults are the paper's."""

    number: str = Field(default=LESION, min_length=1)  # that of lesions, or a column of the manifest
    standardised: bool = False  # R learns the number in standard deviations from the cohort's mean
    aim: float | None = Field(default=None, allow_inf_nan=False)  # of detection
    regressor: RegressorConfig = RegressorConfig()


COMPACT: Preset = STEERED_COMPACT | {
    "standardised": True, "scale": 500.0,
    "regressor": {"width": 16, "multipliers": (1, 2, 3), "blocks": 1, "attention": (2,), "head": 16, "patch": 4},
}  # fmt: skip


class RegressionGuided(Steered):
    """Steered by the gradient of a regressor of noised slices."""

    config: RegressionGuidedConfig
    Config = RegressionGuidedConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": BRATS_256},
        "compact": COMPACT,
        "tiny": COMPACT | ADM_TINY | {
            "steps": 2, "scale": 50.0, "train_steps": {"diffusion": 4, "guide": 4},
            "regressor": {"width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (1,), "head": 8, "patch": 2},
        },
    }  # fmt: skip
    steered_by = "number"
    looks_at = 1024

    def __init__(self, config: RegressionGuidedConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.guide = Encoder(self.folded, 1, size=size, **config.regressor.model_dump())
        self.stride = max(self.net.stride, self.guide.stride)
        self.scaling: Tensor  # mean and standard deviation of what R is to give
        self.extent: Tensor  # least and largest number of the cohort; twice the same where it is not known
        self.register_buffer("scaling", torch.tensor([0.0, 1.0]))
        self.register_buffer("extent", torch.zeros(2))

    @property
    def column(self) -> str:
        return "" if self.config.number == LESION else self.config.number

    def sampling(self, stage: str) -> Sampling:
        return "all" if self.column else super().sampling(stage)

    def meet(self, sample: Batch) -> None:
        """Take mean, spread and extent of the cohort's numbers, unless a training began with a model that has them.

        Raises:
            InputError: all numbers are the same.
        """
        if self.extent[0] < self.extent[1]:
            return
        numbers, known = self.numbers(sample)
        numbers = numbers[known].double()
        if not len(numbers) or numbers.min() == numbers.max():
            raise InputError(
                f"There is nothing to learn of {self._name}: it is the same in all slices.",
                "Add cases with lesion masks, and some with lesions." if not self.column else "Add cases that differ.",
            )
        self.extent.copy_(torch.stack([numbers.min(), numbers.max()]))
        if self.config.standardised:
            self.scaling.copy_(torch.stack([numbers.mean(), numbers.std(correction=0)]))

    def numbers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What belongs to each slice (B,), and of which slices it is known (B,) bool."""
        if self.column:
            assert batch.number is not None, "slices without the number that is to be learnt"
            return batch.number, torch.ones_like(batch.number, dtype=torch.bool)
        lesion, brain = (part.flatten(1).sum(dim=1).float() for part in (batch.lesion & batch.brain, batch.brain))
        return lesion / brain.clamp_min(1), batch.label >= 0

    def guide_losses(self, batch: Task, generator: torch.Generator) -> Losses:
        """Squared error of R at a random level per row, in its own units."""
        number, known = self.numbers(batch)
        x, t, _ = self.noised(self.config.scaled(self.fold(batch.target)), generator)
        wanted = self.per_row((number - self.scaling[0]) / self.scaling[1])
        loss = masked_mean((self.guide(x, t)[:, 0] - wanted) ** 2, self.per_row(known))
        yield "guide", loss, {"squared_error": loss.detach()}

    def closeness(self, x: Tensor, t: Tensor, aim: Tensor) -> Tensor:
        """-(i - R)^2 / 2; where ``aim`` (R,) is infinite R itself, or -R: s_t is 1 or -1 then."""
        value, endless = self.guide(x, t)[:, 0], aim.isinf()
        wanted = (torch.where(endless, self.scaling[0], aim) - self.scaling[0]) / self.scaling[1]
        return torch.where(endless, aim.sign() * value, -0.5 * (wanted - value) ** 2)

    def health(self, image: Tensor) -> Tensor:
        aim = self.config.aim
        usual = self.scaling[0] if self.column else torch.zeros_like(self.scaling[0])
        return (usual if aim is None else torch.full_like(usual, aim)).expand(len(image))

    def reading(self, image: Tensor) -> Tensor:
        """R of clean slices (B, C, H, W), in the number's units: (B,)."""
        rows = self.guide(*self.at_rest(image)).float()
        return self.scaling[0] + self.scaling[1] * self.unfold(rows[:, :, None, None]).mean(dim=(1, 2, 3))

    def doubts(self, goal: float) -> str:
        low, high = self.extent.tolist()
        if goal in (float("inf"), float("-inf")) or low <= goal <= high or low == high:
            return ""
        return f"{self._name} was {low:.3g} to {high:.3g} in training: what {goal:g} looks like was never seen"

    def verdict(self) -> Verdict:
        return Verdict(f"{self._name}, estimated", self.reading, self.guide.middle)  # type: ignore[arg-type]

    @property
    def _name(self) -> str:
        return self.column or "the share of the brain that is lesion"
