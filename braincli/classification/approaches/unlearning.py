"""Unlearning of scanner bias (Dinsdale, Jenkinson & Namburete 2021, NeuroImage 228:117689).

Three updates per step: the task (encoder and classifier); a classifier of sites on what the encoder gives (it alone);
and the confusion loss, - mean_k log p_k over the sites' probabilities, smallest where no site is likelier than another
(the encoder alone, weight ``beta``). As there, confusion begins after some steps. The thesis gives no settings.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from braincli.classification.approaches.base import (
    Batch,
    Judged,
    JudgedConfig,
    Losses,
    Rate,
    Weight,
    cross_entropy,
)


class UnlearningConfig(JudgedConfig):
    """Options of the classifier of sites and of the confusion."""

    confusion_rate: Rate = 5e-5
    beta: Weight = 1.0
    begin: float = Field(default=0.25, ge=0, lt=1)  # share of the steps after which confusion begins


class Unlearning(Judged):
    """Encoder, classifier, and a classifier of sites to be confused."""

    Config = UnlearningConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "compact": {"site_rate": 5e-3, "confusion_rate": 1e-4}, "tiny": {"site_rate": 3e-2, "confusion_rate": 5e-4}
    }  # fmt: skip
    config: UnlearningConfig

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return super().optimizers() | {
            "site": self.adam({self.judge: c.site_rate}), "confusion": self.adam({self.encoder: c.confusion_rate})
        }  # fmt: skip

    def losses(self, batch: Batch, progress: float) -> Losses:
        cls = cross_entropy(self(batch.image), batch.label)
        yield "main", cls, {"cls": cls.detach()}
        with torch.no_grad():
            embedding = self.encoder(batch.image)
        site = cross_entropy(self.judge(embedding), batch.site)
        yield "site", site, {"site": site.detach()}
        if progress >= self.config.begin and self.config.beta:
            unsure = confusion(self.judge(self.encoder(batch.image)))
            yield "confusion", self.config.beta * unsure, {"confusion": unsure.detach()}


def confusion(logits: Tensor) -> Tensor:
    """Mean over rows of - mean_k log softmax(logits)_k, of (B, K) logits; log K at its smallest."""
    return -logits.float().log_softmax(dim=1).mean()
