"""What methods share that tell how likely a whole slice is diseased, and what those share that do nothing else.

The latter learn from slice labels by cross-entropy; where a lesion is, the class activation map of their log-odds
hints at (Zhou et al. 2016; Selvaraju et al. 2017), which is their score.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.methods.base import (
    Losses,
    Method,
    MethodConfig,
    Prediction,
    Sampling,
    Task,
    Tick,
    Verdict,
    no_tick,
    present,
)
from braincli.methods.lengths import Epochs, Length
from braincli.networks.attribution import attributions

HEALTHY, DISEASED = 0, 1


class Telling(Method):
    """Base of methods with a classifier of slices whose dense layers may belong to the training canvas."""

    def on_canvas(self, image: Tensor) -> Tensor:
        """``image``, scaled to the training canvas, which dense layers take alone."""
        if tuple(image.shape[2:]) == tuple(self.size):
            return image
        return F.interpolate(image, size=tuple(self.size), mode="bilinear", antialias=True, align_corners=False)

    def pooled_class(self, logits: Tensor, image: Tensor) -> Tensor:
        """(R, 2) logits of rows -> (B,) how likely each slice is diseased, the mean over the contrasts that are there.

        A slice that shows nothing shows no lesion, either.
        """
        return over_contrasts(logits.float().softmax(dim=1)[:, DISEASED], image)


def over_contrasts(rows: Tensor, image: Tensor) -> Tensor:
    """(R,) values of rows -> (B,) their mean over the contrasts that slices (B, C, H, W) hold; 0 where they hold none.

    R is B, or B times C.
    """
    rows = rows.reshape(len(image), -1)
    there = present(image)[:, :, 0, 0]
    there = (there if rows.shape[1] == image.shape[1] else there.any(dim=1, keepdim=True)).to(rows)
    return (rows * there).sum(dim=1) / there.sum(dim=1).clamp_min(1)


def log_odds(logits: Tensor, image: Tensor) -> Tensor:
    """(R, 2) logits of rows of slices (B, C, H, W) -> (B,) how much likelier than healthy each is to be diseased."""
    return over_contrasts(logits.float()[:, DISEASED] - logits.float()[:, HEALTHY], image)


def verdict_of(logits: Callable[[Tensor], Tensor], features: nn.Module) -> Verdict:
    """A classifier that gives ``logits`` (R, 2) of slices, which rest on the maps of ``features``."""
    return Verdict("log-odds of a lesion", lambda image: log_odds(logits(image), image), features)


class ClassifierConfig(MethodConfig):
    """Options of training; the defaults are DeScarGAN's, as the chapter has no others."""

    lessons: ClassVar[tuple[str, ...]] = ("vary", "drop", "alone")  # a slice is of one class as a whole

    train_steps: dict[str, Length] = Field(default={"main": Epochs(number=500)})
    train_batch: int = 10
    rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)


class Classifier(Telling):
    """Learns the class of slices, and nothing else."""

    config: ClassifierConfig
    Config = ClassifierConfig

    def sampling(self, stage: str) -> Sampling:
        return "balanced"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return {"classifier": torch.optim.Adam(self.parameters(), lr=c.rate, betas=c.betas)}

    @property
    @abstractmethod
    def features(self) -> nn.Module:
        """The module whose maps (R, K, h, w) the class rests on."""

    @abstractmethod
    def logits(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(R, 2) of slices (R, C, H, W) in [0, 1]; under dropout with a ``generator``."""

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        """E[-log p(c | x)]."""
        logits = self.logits(batch.image, generator if self.training else None).float()
        loss = F.cross_entropy(logits, batch.label)
        right = (logits.argmax(dim=1) == batch.label).float().mean()
        yield "classifier", loss, {"cross_entropy": loss.detach(), "accuracy": right.detach()}

    def class_logits(self, image: Tensor) -> Tensor:
        """(R, 2) of the rows of slices (B, C, H, W)."""
        return self.logits(self.fold(image))

    def verdict(self) -> Verdict:
        return verdict_of(self.class_logits, self.features)

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        there = present(image).any(dim=1, keepdim=True)
        with torch.autocast(image.device.type, enabled=False):  # gradients of bfloat16 are coarse
            odds, _, activation = attributions(self.verdict().value, self.features, image.float())
        tick()
        return Prediction(None, activation * (brain & there), diseased=odds.sigmoid() * there[:, 0, 0, 0])
