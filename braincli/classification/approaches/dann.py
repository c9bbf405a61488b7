"""Domain-adversarial neural network (Ganin et al. 2016, JMLR 17:59): a classifier of sites behind a layer that reverses
its gradient, so that the encoder learns to hide the site from it.

The reversed gradient weighs 2 / (1 + exp(-10 p)) - 1 at progress p (their Sec. 5.2.2). The thesis gives no settings.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from braincli.classification.approaches.base import (
    Batch,
    Judged,
    JudgedConfig,
    Losses,
    Weight,
    cross_entropy,
)


class DANNConfig(JudgedConfig):
    """Options of the classifier of sites."""

    reversal: Weight = 1.0  # largest weight of the reversed gradient


class DANN(Judged):
    """Encoder, classifier, and a classifier of sites that trains the encoder the wrong way."""

    Config = DANNConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"compact": {"site_rate": 5e-3}, "tiny": {"site_rate": 3e-2}}
    config: DANNConfig

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return {
            "main": self.adam({self.encoder: c.encoder_rate, self.head: c.head_rate, self.judge: c.site_rate})
        }  # fmt: skip

    def losses(self, batch: Batch, progress: float) -> Losses:
        embedding = self.encoder(batch.image)
        cls = cross_entropy(self.head(embedding), batch.label)
        weight = self.config.reversal * (2 / (1 + math.exp(-10 * progress)) - 1)
        site = cross_entropy(self.judge(reverse(embedding, weight)), batch.site)
        yield "main", cls + site, {"cls": cls.detach(), "site": site.detach()}


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


def reverse(x: Tensor, weight: float) -> Tensor:
    """``x`` as it is; its gradient comes back times ``-weight``."""
    return _Reversed.apply(x, weight)  # type: ignore[no-any-return,no-untyped-call]
