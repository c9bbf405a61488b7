"""What every method is: a network with stages, losses and a prediction, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

Losses = Iterator[tuple[str, Tensor, dict[str, float]]]
Callback = Callable[[int, int], None]  # (done, total) network calls


class MethodConfig(BaseModel):
    """Base of every method's own options: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train_steps: dict[str, int] = Field(default={})  # per stage
    train_batch: int = 16
    ema: float = 0.999
    warmup: int = 0  # optimiser steps over which the learning rate rises
    decay: bool = False  # cosine decay of the learning rate over the stage


@dataclass(frozen=True)
class Batch:
    """Slices as the training loop hands them to a method.

    Attributes:
        image: (B, C, H, W) float32 in [0, 1], background exactly 0. C follows ``cases.CONTRASTS``;
            a channel that is zero everywhere is an absent contrast.
        brain: (B, 1, H, W) bool.
        label: (B,) int64, 0 healthy, 1 diseased, -1 unknown.
        lesion: (B, 1, H, W) bool, tissue known to be diseased; all false where unknown.
    """

    image: Tensor
    brain: Tensor
    label: Tensor
    lesion: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))

    def with_image(self, image: Tensor) -> Batch:
        """Other intensities, same masks."""
        return replace(self, image=image)


class Prediction(NamedTuple):
    """At least one is given. ``restored`` (B, C, H, W) in [0, 1]; ``score`` (B, 1, H, W) >= 0."""

    restored: Tensor | None
    score: Tensor | None = None


class Method(nn.Module, ABC):
    """Base of every method.

    Args:
        config: an instance of ``Config``.
        channels: C of the images, one channel per contrast.
        size: (H, W) of the training canvas; prediction accepts any multiple of ``stride``.
    """

    Config: ClassVar[type[MethodConfig]]
    PRESETS: ClassVar[dict[str, dict[str, Any]]]
    stages: ClassVar[tuple[str, ...]] = ("main",)
    normalisation: ClassVar[str] = "percentile"  # per volume inside the brain: percentile | equalise
    trained: ClassVar[bool] = True  # False: has nothing to train
    optional_weights: ClassVar[tuple[str, ...]] = ()  # prefixes of parameters that prediction does not need
    stride: int = 1

    def __init__(self, config: MethodConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.channels, self.size = config, channels, size

    def diet(self, stage: str) -> str:
        """Which slices ``stage`` learns from: ``healthy``, ``balanced`` (half healthy, half diseased) or ``any``."""
        return "healthy"

    @abstractmethod
    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        """Optimisers of ``stage``, by the names that :meth:`losses` yields."""

    @abstractmethod
    def losses(self, batch: Batch, stage: str, generator: torch.Generator) -> Losses:
        """Yield (optimizer name, loss, logs). The loop steps that optimizer before it asks for the next."""

    @abstractmethod
    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        callback: Callback | None = None,
    ) -> Prediction:
        """Restore slices. Eval mode, no gradient, input untouched; everything runs on ``image``'s device.

        Args:
            image: (B, C, H, W) float32 in [0, 1]; absent contrasts are all zero and stay so.
            brain: (B, 1, H, W) bool.
            generators: one CPU generator per row; row i depends only on ``image[i]`` and ``generators[i]``.
            callback: told (done, total) after each network call.
        """

    def resume_state(self) -> dict[str, Any]:
        """What besides parameters and optimisers an exact resume needs (tensors, numbers, lists, dicts)."""
        return {}

    def load_resume_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`resume_state` gave."""

    def calls(self) -> int:
        """Network calls per slice of one prediction."""
        return 1


def present(image: Tensor) -> Tensor:
    """(B, C, 1, 1) bool: which contrasts a row holds (an absent one is zero everywhere)."""
    return image.ne(0).flatten(2).any(dim=2)[:, :, None, None]
