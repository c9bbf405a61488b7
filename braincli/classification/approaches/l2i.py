"""Learn to Ignore: Domain Adaptation for Multi-Site MRI Analysis (Wolleb et al. 2022, MICCAI; thesis, chapter 9).

    L_total  = L_cls + lambda_cen L_cen + lambda_latent L_latent                                       (Eq. 1)
    L_cen    = max(|f_i,t - o_i| - r, 0)^2 + sum_{k != i} 1/2 max(d - |o_k - o_i|, 0)^2    target images (Eq. 2)
    L_latent = max(|f_i - o_i| - r, 0)^2                                                      all images (Eq. 3)

f = E(x) on the unit sphere; o_i is the centre of class i there. L_cls updates the classifier alone, L_latent the
encoder alone (the centres are held), L_cen both encoder and centres. So classes gather round centres that volumes of
the target sites, which have all classes, have fixed, and sites with a single class can only follow.

Ablations: ``centres="fixed"`` has o_i = v_i / |v_i| with v_1 = (1, ..., 1), v_2 = (-1, ..., -1), and no L_cen between
centres; ``d=2, r=0`` leaves out the margins. Where several images have a loss it is their mean.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.classification.approaches.base import (
    Approach,
    ApproachConfig,
    Batch,
    Losses,
    Rate,
    Weight,
    World,
    cross_entropy,
)
from braincli.errors import UsageError


class L2IConfig(ApproachConfig):
    """Options of the paper."""

    centre_rate: Rate = 1e-4
    lambda_latent: Weight = 1.0
    lambda_cen: Weight = 100.0
    d: float = Field(default=1.9, gt=0, le=2)  # distance of the centres, of which none can be above 2
    r: float = Field(default=0.1, ge=0)  # distance from its centre that a volume may have
    centres: Literal["learnt", "fixed"] = "learnt"

    @model_validator(mode="after")
    def _apart(self) -> L2IConfig:
        if self.d <= 2 * self.r:
            raise ValueError(f"d {self.d:g} is not above twice r {self.r:g}")
        return self


class L2I(Approach):
    """Encoder, classifier and the centres of the classes."""

    Config = L2IConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "compact": {"centre_rate": 2e-3},
        "tiny": {"encoder_rate": 1e-2, "head_rate": 5e-2, "centre_rate": 2e-2},
    }
    config: L2IConfig
    optional_weights = ("directions",)
    pairs = True

    def __init__(self, config: L2IConfig, world: World) -> None:
        super().__init__(config, world)
        if config.centres == "fixed":
            if world.classes != 2:
                raise UsageError(
                    f"Fixed centres are defined for two classes, not for {world.classes}.", "Train l2i instead."
                )
            self.register_buffer("directions", torch.stack([torch.ones(config.latent), -torch.ones(config.latent)]))
        else:
            self.directions = nn.Parameter(torch.randn(world.classes, config.latent))

    @property
    def centres(self) -> Tensor:
        """(n, latent) o, of length 1."""
        return F.normalize(self.directions, dim=1)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        optimizer = super().optimizers()["main"]
        if isinstance(self.directions, nn.Parameter):
            optimizer.add_param_group({"params": [self.directions], "lr": self.config.centre_rate})
        return {"main": optimizer}

    def losses(self, batch: Batch, progress: float) -> Losses:
        c, pairs = self.config, self.world.classes  # the last volumes are a target volume of each class
        embedding, centres = self.encoder(batch.image), self.centres
        drawn, label = embedding[:-pairs], batch.label[:-pairs]
        cls = cross_entropy(self.head(drawn.detach()), label)
        latent = attraction(drawn, centres.detach()[label], c.r)
        cen = attraction(embedding[-pairs:], centres[batch.label[-pairs:]], c.r)
        if c.centres == "learnt":
            cen = cen + repulsion(centres, c.d)
        loss = cls + c.lambda_latent * latent + c.lambda_cen * cen
        yield "main", loss, {"cls": cls.detach(), "latent": latent.detach(), "cen": cen.detach()}


def attraction(embedding: Tensor, centre: Tensor, r: float) -> Tensor:
    """Mean of max(|f - o| - r, 0)^2 over (B, m) embeddings and the centre of each: Eq. 3, first part of Eq. 2."""
    return F.relu(distance(embedding, centre) - r).square().mean()


def repulsion(centres: Tensor, d: float) -> Tensor:
    """Mean over classes i of sum_{k != i} 1/2 max(d - |o_k - o_i|, 0)^2, of (n, m) centres: the rest of Eq. 2."""
    count = len(centres)
    others = ~torch.eye(count, dtype=torch.bool, device=centres.device)
    apart = distance(centres[:, None], centres[None])
    return (0.5 * F.relu(d - apart).square() * others).sum() / count


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance over the last axis; its gradient at 0 is 0."""
    squared = (a - b).square().sum(-1)
    return torch.where(squared > 0, squared.clamp_min(1e-12).sqrt(), squared)
