"""What every way of training has: encoder, classifier, optimisers and losses, and the options of all this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.errors import UsageError
from braincli.networks.inception3d import InceptionResNet3d

Losses = Iterator[tuple[str, Tensor, dict[str, Tensor]]]
# volumes of a batch: of all; as many of each class; half source, with as many of each class, and half target
Sampling = Literal["any", "balanced", "halves"]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class ApproachConfig(BaseModel):
    """Options of all approaches; the defaults are the thesis', or (marked) ours where it says nothing.

    Attributes:
        mm, shape: voxel size and size (X, Y, Z) in voxels of what the network sees.
        percentiles: of the intensities inside the brain, which become 0 and 1.
        width, blocks, padding, flatten, latent: see :class:`braincli.networks.inception3d.InceptionResNet3d`.
        hidden: layers of the classifier between embedding and classes (ours).
        encoder_rate, head_rate, weight_decay, batch: of Adam (betas 0.9, 0.999).
        steps: at most (ours).
        validation: share of the volumes of every class and site that judge the weights; 0: none, the last ones count.
        validate_every, patience: steps between judgements (ours), and judgements without progress that end a training.
        rotate_deg, scale, shift, gamma, flip: augmentation (ranges are ours): degrees about each axis, change of size
            and shift in shares, largest exponent of the intensities, and whether sides are swapped.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mm: float = Field(default=1.0, ge=0.5, le=16)
    shape: tuple[int, int, int] = (124, 120, 172)
    percentiles: tuple[float, float] = (2.0, 98.0)
    width: float = Field(default=1.0, gt=0, le=2)
    blocks: tuple[int, int, int] = (5, 10, 5)
    padding: Literal["valid", "same"] = "valid"
    flatten: bool = True
    latent: int = Field(default=128, ge=2, le=4096)
    hidden: tuple[int, ...] = (64, 16)
    encoder_rate: Rate = 5e-5
    head_rate: Rate = 5e-5
    weight_decay: Weight = 5e-5
    batch: int = Field(default=10, ge=2)
    steps: int = Field(default=20_000, ge=1)
    validation: float = Field(default=0.1, ge=0, lt=1)
    validate_every: int = Field(default=80, ge=1)
    patience: int = Field(default=20, ge=1)
    rotate_deg: float = Field(default=10.0, ge=0, le=180)
    scale: float = Field(default=0.1, ge=0, lt=1)
    shift: float = Field(default=0.05, ge=0, lt=1)
    gamma: float = Field(default=1.5, ge=1, le=10)
    flip: bool = True

    @field_validator("shape")
    @classmethod
    def _sensible(cls, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        if not all(8 <= side <= 512 for side in shape):
            raise ValueError("are not 8 to 512 each")
        return shape

    @field_validator("blocks")
    @classmethod
    def _repeated(cls, blocks: tuple[int, int, int]) -> tuple[int, int, int]:
        if not all(0 <= count <= 100 for count in blocks):
            raise ValueError("are not 0 to 100 each")
        return blocks

    @field_validator("hidden")
    @classmethod
    def _layers(cls, hidden: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= size <= 4096 for size in hidden):
            raise ValueError("are not 1 to 4096 each")
        return hidden

    @field_validator("percentiles")
    @classmethod
    def _ordered(cls, percentiles: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError("must be between 0 and 100, the lower first")
        return percentiles


# of all approaches; those of one alone stand in its class
COMMON: dict[str, dict[str, Any]] = {
    "paper": {},
    "compact": {
        "mm": 4.0, "shape": (36, 46, 38), "width": 0.25, "blocks": (1, 2, 1), "padding": "same",
        "encoder_rate": 1e-3, "head_rate": 5e-3, "steps": 400, "validation": 0.0, "validate_every": 20,
    },
    "tiny": {
        "mm": 8.0, "shape": (20, 24, 20), "width": 0.05, "blocks": (1, 1, 1), "padding": "same",
        "latent": 8, "hidden": (8,), "encoder_rate": 5e-3, "head_rate": 3e-2, "batch": 6, "steps": 40,
        "validation": 0.0, "validate_every": 10,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Volumes to learn from.

    Attributes:
        image: (B, 1, X, Y, Z) float32 in [0, 1].
        label: (B,) class, from 0.
        site: (B,) number of the site, from 0.
        target: (B,) bool, whether the site is a target site.
    """

    image: Tensor
    label: Tensor
    site: Tensor
    target: Tensor


@dataclass(frozen=True)
class World:
    """What a training set is like: how many volumes each class has, how many sites there are."""

    counts: tuple[int, ...]
    sites: int

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.counts)


class Head(nn.Sequential):
    """Fully connected classifier: (B, ``sizes[0]``) -> (B, ``sizes[-1]``) logits, ReLU between its layers."""

    def __init__(self, *sizes: int) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        super().__init__(*layers[:-1])


class Approach(nn.Module, ABC):
    """An encoder E of volumes and a classifier C of their embeddings, and how both are trained.

    Args:
        config: an instance of ``Config``.
        world: what is learnt from.

    Raises:
        UsageError: options that make no network, or a training set that this cannot learn from.
    """

    Config: ClassVar[type[ApproachConfig]] = ApproachConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}
    config: ApproachConfig
    optional_weights: ClassVar[tuple[str, ...]] = ()  # prefixes of parameters that only training needs
    sampling: ClassVar[Sampling] = "any"
    views: ClassVar[int] = 1  # how often each volume of a batch is drawn and augmented
    pairs: ClassVar[bool] = False  # whether a batch ends with one more target volume of each class

    def __init__(self, config: ApproachConfig, world: World) -> None:
        super().__init__()
        self.config, self.world = config, world
        c = config
        try:
            self.encoder = InceptionResNet3d(
                c.shape, latent=c.latent, width=c.width, blocks=c.blocks, padding=c.padding, flatten=c.flatten
            )
        except ValueError as error:
            raise UsageError(f"shape: {error}.", "Choose a larger one, or padding=same.") from None
        self.head = Head(c.latent, *c.hidden, world.classes)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Optimisers by the names that :meth:`losses` yields."""
        return {"main": self.adam({self.encoder: self.config.encoder_rate, self.head: self.config.head_rate})}

    def adam(self, rates: dict[nn.Module, float]) -> torch.optim.Optimizer:
        """Adam with a learning rate per part."""
        groups = [{"params": list(part.parameters()), "lr": rate} for part, rate in rates.items()]
        return torch.optim.Adam(groups, betas=(0.9, 0.999), weight_decay=self.config.weight_decay)

    @abstractmethod
    def losses(self, batch: Batch, progress: float) -> Losses:
        """Yield (optimiser name, loss, logs); the loop steps that optimiser before it asks for the next.

        Args:
            progress: share of the steps that are done, in [0, 1).
        """

    def looks_at(self, step: int) -> bool:
        """Whether :meth:`meet` is to be called before ``step``."""
        return False

    def meet(self, known: Tensor, label: Tensor, target: Tensor) -> None:
        """Learn what embeddings are like: of source volumes (S, m) with their classes (S,), of target ones (T, m)."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, X, Y, Z) in [0, 1] -> (B, classes) logits."""
        return self.head(self.encoder(image))  # type: ignore[no-any-return]

    def criterion(self, image: Tensor, label: Tensor) -> Tensor:
        """What validation judges the weights by: the cross-entropy (B,) of each volume."""
        return F.cross_entropy(self(image).float(), label, reduction="none")


class JudgedConfig(ApproachConfig):
    """Options of the classifier of sites."""

    site_rate: Rate = 5e-5


class Judged(Approach):
    """Base of approaches with a classifier of sites, ``judge``, that the encoder learns to escape."""

    config: JudgedConfig
    optional_weights = ("judge",)

    def __init__(self, config: JudgedConfig, world: World) -> None:
        super().__init__(config, world)
        self.judge = Head(config.latent, *config.hidden, world.sites)


def cross_entropy(logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """L_cls, in float32."""
    return F.cross_entropy(logits.float(), label, weight)
