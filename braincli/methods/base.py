"""What every method is: a network with stages, losses and a prediction, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.anomalies import augment
from braincli.diffusion.samplers import Tick as Tick
from braincli.diffusion.samplers import no_tick as no_tick

Losses = Iterator[tuple[str, Tensor, dict[str, Tensor]]]
Sampling = Literal["healthy", "balanced", "any"]  # of training slices: healthy, as many of each kind, all labelled
Parameters = TypeVar("Parameters", bound=Any)


class MethodConfig(BaseModel):
    """Base of every method's own options: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    renamed_options: ClassVar[dict[str, str]] = {}  # earlier name -> today's, for models of earlier versions

    train_steps: dict[str, int] = Field(default={})  # per stage
    train_batch: int = 16
    ema: float = 0.999
    warmup: int = 0  # optimiser steps over which the learning rate rises
    decay: bool = False  # cosine decay of the learning rate over the stage
    contrasts: Literal["single", "stacked"] = "single"  # one network row per contrast, or all contrasts as channels
    variation: float = Field(default=0.0, ge=0)  # strength of anomalies.augment in training
    contrast_dropout: float = Field(default=0.0, ge=0, lt=1)  # chance of each contrast to be removed in training
    contrast_alone: float = Field(default=0.0, ge=0, le=1)  # share of slices that keep one contrast only
    normalisation: Literal["", "percentile", "equalise"] = ""  # where a preset's is not the method's
    map: dict[str, Any] = Field(default={})  # where a preset's maps are made otherwise (Method.map_options)

    @property
    def stochastic(self) -> bool:
        """Whether predictions depend on their generators."""
        return False


@dataclass(frozen=True)
class Batch:
    """Slices as the training loop hands them to a method.

    Attributes:
        image: (B, C, H, W) float32 in [0, 1], background exactly 0. C follows ``cases.CONTRASTS``;
            a channel that is zero everywhere is an absent contrast.
        brain: (B, 1, H, W) bool.
        label: (B,) int64, 0 healthy, 1 diseased, -1 unknown.
        lesion: (B, 1, H, W) bool, tissue known to be diseased; all false where unknown.
        position: (B,) float32 in [0, 1], height of the slice between the brain's lowest (0) and highest (1).
        tissue: (B, 3, H, W) float32 in [0, 1], probabilities of grey matter, white matter and fluid, which sum to 1
            in the brain; None unless the method asks for it (``Method.tissue``).
    """

    image: Tensor
    brain: Tensor
    label: Tensor
    lesion: Tensor
    position: Tensor
    tissue: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        return self._each(lambda part: part.to(device, non_blocking=True))

    def rows(self, chosen: Tensor) -> Batch:
        """The rows that ``chosen`` names, (B,) bool or indices."""
        return self._each(lambda part: part[chosen])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        parts: dict[str, Any] = {name: None if part is None else change(part) for name, part in vars(self).items()}
        return Batch(**parts)

    def with_image(self, image: Tensor) -> Batch:
        """Other intensities, same masks."""
        return replace(self, image=image)


class Prediction(NamedTuple):
    """At least one is given. ``restored`` (B, C, H, W) in [0, 1]; ``score`` (B, 1, H, W) >= 0."""

    restored: Tensor | None
    score: Tensor | None = None


class Method(nn.Module, ABC):
    """Base of every method.

    A subclass names the type of its options twice: ``Config`` for those who build it, and ``config`` for the checker.

    Args:
        config: an instance of ``Config``.
        channels: C of the images, one channel per contrast.
        size: (H, W) of the training canvas; prediction accepts any multiple of ``stride``.
    """

    config: MethodConfig
    Config: ClassVar[type[MethodConfig]]
    PRESETS: ClassVar[dict[str, dict[str, Any]]]
    stages: ClassVar[tuple[str, ...]] = ("main",)
    stage_share: ClassVar[dict[str, float]] = {}  # parts of a given compute budget; 1 each by default
    normalisation: ClassVar[str] = "percentile"  # per volume inside the brain: percentile | equalise
    trained: ClassVar[bool] = True  # False: has nothing to train
    optional_weights: ClassVar[tuple[str, ...]] = ()  # prefixes of parameters that prediction does not need
    renamed_weights: ClassVar[dict[str, str]] = {}  # earlier prefix of parameters -> today's
    map_options: ClassVar[dict[str, Any]] = {}  # options of MapOptions that the paper's maps are made with
    tissue: ClassVar[bool] = False  # learns from tissue maps (Batch.tissue)
    sequence: ClassVar[int] = 1  # rows come as runs of so many adjacent slices of one case
    stride: int = 1

    def __init__(self, config: MethodConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.channels, self.size = config, channels, size
        self.folded = 1 if config.contrasts == "single" else channels  # channels of a network's row

    @classmethod
    def current_name(cls, parameter: str) -> str:
        """Today's name of a ``parameter``, which an earlier version may have named otherwise."""
        old = next((prefix for prefix in cls.renamed_weights if parameter.startswith(prefix)), "")
        return cls.renamed_weights.get(old, "") + parameter.removeprefix(old)

    def sampling(self, stage: str) -> Sampling:
        """Which slices ``stage`` learns from: ``healthy``, ``balanced`` (half healthy, half diseased) or ``any``."""
        return "healthy"

    @abstractmethod
    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        """Optimisers of ``stage``, by the names that :meth:`losses` yields."""

    @abstractmethod
    def losses(self, batch: Batch, stage: str, generator: torch.Generator) -> Losses:
        """Yield (optimizer name, loss, logs). The loop steps that optimizer before it asks for the next.

        Everything is drawn by ``generator``, on its device. On a GPU nothing may wait for the GPU: no number is read
        from a tensor, no shape and no branch depends on one; logs are tensors (), detached.
        """

    @abstractmethod
    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        """Restore slices. Eval mode, no gradient, input untouched; everything runs on ``image``'s device.

        Args:
            image: (B, C, H, W) float32 in [0, 1]; absent contrasts are all zero and stay so.
            brain: (B, 1, H, W) bool.
            generators: one CPU generator per row; row i depends only on ``image[i]`` and ``generators[i]`` (with
                ``sequence`` > 1: on the rows of its run, of which the first is at a multiple of ``sequence``).
            tick: called once after each network call, :meth:`calls` times in all.
        """

    @property
    def pretrained(self) -> str:
        """Name of the published weights that training needs (:mod:`braincli.weights.pretrained`); empty for none."""
        return ""

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights that :attr:`pretrained` names, as they were published."""

    def resume_state(self) -> dict[str, Any]:
        """What besides parameters and optimisers an exact resume needs (tensors, numbers, lists, dicts)."""
        return {}

    def load_resume_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`resume_state` gave."""

    def calls(self) -> int:
        """Network calls per slice of one prediction."""
        return 1

    def fold(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B * C, 1, H, W) for networks of single contrasts, else unchanged."""
        return image if self.folded == image.shape[1] else image.reshape(-1, 1, *image.shape[2:])

    def unfold(self, rows: Tensor) -> Tensor:
        """The way back from :meth:`fold`; rows may have any number of channels per contrast row."""
        return rows if self.folded == self.channels else rows.reshape(-1, self.channels, *rows.shape[2:])

    def per_row(self, values: Tensor) -> Tensor:
        """(B, ...) -> one entry per row of :meth:`fold`."""
        return values if self.folded == self.channels else values.repeat_interleave(self.channels, dim=0)

    def augmented(self, batch: Batch, generator: torch.Generator) -> Batch:
        """``batch`` with the geometry and intensities of other heads and scanners, as the options ask for."""
        return self.augmented_pair(batch, batch.image, generator)[0]

    def augmented_pair(self, batch: Batch, partner: Tensor, generator: torch.Generator) -> tuple[Batch, Tensor]:
        """:meth:`augmented` for ``batch`` and a second image (B, C, H, W) of the same slices, both alike."""
        c = self.config
        if not (c.variation or c.contrast_dropout or c.contrast_alone):
            return batch, partner
        shape = (-(-len(batch) // self.sequence), *batch.image.shape[1:])  # the slices of a run vary alike
        drop, alone = c.contrast_dropout, c.contrast_alone
        variation = augment.draw(shape, generator, strength=c.variation, drop=drop, alone=alone)  # type: ignore[arg-type]
        variation = repeat_rows(variation, self.sequence, len(batch)).to(partner.device)
        brain, lesion = augment.move(batch.brain, variation), augment.move(batch.lesion, variation)

        def recoloured(image: Tensor) -> Tensor:
            return augment.recolour(augment.move(image, variation), brain, variation)

        image, partner = (recoloured(part) for part in (batch.image, partner))
        tissue = None if batch.tissue is None else augment.move(batch.tissue, variation)
        return replace(batch, image=image, brain=brain, lesion=lesion, tissue=tissue), partner


def present(image: Tensor) -> Tensor:
    """(B, C, 1, 1) bool: which contrasts a row holds (an absent one is zero everywhere)."""
    return image.ne(0).flatten(2).any(dim=2)[:, :, None, None]


def healthy_tissue(batch: Batch, margin: int = 2) -> Tensor:
    """(B, C, H, W) bool: tissue of present contrasts that is known to be healthy, or at least not to be a lesion.

    Lesions are left out with ``margin`` pixels around them: the rim of a lesion is neither healthy nor known.
    """
    grown = F.max_pool2d(batch.lesion.float(), 2 * margin + 1, stride=1, padding=margin) > 0
    return (batch.brain & ~grown) & present(batch.image)


def repeat_rows(parameters: Parameters, times: int, rows: int) -> Parameters:
    """Parameters of an anomaly or augmentation (dataclasses of tensors), each row ``times`` times, cut to ``rows``."""
    if times == 1:
        return parameters

    def repeated(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.repeat_interleave(times, dim=0)[:rows]
        return replace(value, **{name: repeated(part) for name, part in vars(value).items()})

    return cast(Parameters, repeated(parameters))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` (broadcast to it) holds; 0, with a gradient, where it holds nowhere."""
    mask = mask.expand_as(values)
    return (values * mask).sum() / mask.sum().clamp_min(1)
