"""What SegNet, Bayesian SegNet and aleatoric SegNet share, the rivals of ``diffseg`` (Wolleb 2022, PhD thesis, ch. 5
and App. B): network, cross-entropy, and the score, which is the mean of an ensemble where the method is stochastic."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from braincli.methods.base import Method, MethodConfig, Prediction, Sampling, Task, Tick, no_tick
from braincli.methods.families.segmenter import countable, pooled, segmentation_loss
from braincli.methods.lengths import Epochs, Length
from braincli.networks.patched import Patched
from braincli.networks.segnet import CONVOLUTIONS, WIDTHS, SegNet


class SegNetsConfig(MethodConfig):
    """Options of network and loss; the defaults are the thesis'."""

    lessons: ClassVar[tuple[str, ...]] = ("vary", "drop", "alone", "plant", "transplant")  # lesions are what is learnt

    contrasts: Literal["single", "stacked"] = "stacked"
    train_steps: dict[str, Length] = Field(default={"main": Epochs(number=100)})
    train_batch: int = 20
    rate: float = 1e-4
    widths: tuple[int, ...] = WIDTHS
    convolutions: tuple[int, ...] = CONVOLUTIONS
    patch: int = Field(default=1, ge=1)  # pixels per side folded into channels
    balanced: bool = False  # half of a batch shows a lesion; else any slice that has a mask
    dice: float = Field(default=0.0, ge=0)  # weight of 1 - soft Dice beside the cross-entropy


class SegNets(Method):
    """Base of the family; learns from masks, and gives a score."""

    config: SegNetsConfig
    outputs: ClassVar[int] = 1  # of the network, for each pixel
    ensemble = 1  # samples that a score is the mean of

    def __init__(self, config: SegNetsConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        folds = config.patch**2
        network = SegNet(
            self.folded * folds, self.outputs * folds, widths=config.widths, convolutions=config.convolutions
        )
        self.network = Patched(network, config.patch)
        self.stride = self.network.stride

    def sampling(self, stage: str) -> Sampling:
        return "balanced" if self.config.balanced else "any"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {"network": torch.optim.Adam(self.network.parameters(), lr=self.config.rate)}

    def loss(self, logits: Tensor, batch: Task) -> Tensor:
        """Cross-entropy of ``logits`` (R, 1, H, W) with the mask, where it counts."""
        return segmentation_loss(logits, self.per_row(batch.sick.float()), self.counted(batch), self.config.dice)

    def counted(self, batch: Task) -> Tensor:
        """(R, 1, H, W) bool: where the loss looks."""
        counts = countable(batch)
        return counts.any(dim=1, keepdim=True) if self.folded == self.channels else self.fold(counts)

    @abstractmethod
    def sample(self, rows: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Probabilities (R, 1, H, W) of a lesion in ``rows`` (R, C, H, W); each has its generator."""

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        """The mean of ``ensemble`` samples, which are drawn in one batch."""
        rows = self.fold(image).repeat_interleave(self.ensemble, dim=0)
        each = [generator for generator in generators for _ in range(len(rows) // len(image))]
        mean = self.sample(rows, each).float().unflatten(0, (-1, self.ensemble)).mean(dim=1)
        tick()
        return Prediction(None, pooled(self.unfold(mean), image, brain))


def each_with_its_own(draw: Callable[..., Tensor], like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Random numbers (R, ...) like ``like``, those of a row by its generator, so that no row depends on another."""
    return torch.stack([draw(generator, *like.shape[1:]) for generator in generators]).to(like.device)
