"""Cross-entropy, and the two usual ways of giving rare classes their due."""

from __future__ import annotations

import torch

from braincli.classification.approaches.base import Approach, ApproachConfig, Batch, Losses, World, cross_entropy


class Vanilla(Approach):
    """L_cls trains encoder and classifier."""

    def losses(self, batch: Batch, progress: float) -> Losses:
        loss = cross_entropy(self(batch.image), batch.label)
        yield "main", loss, {"cls": loss.detach()}


class ClassAware(Vanilla):
    """Vanilla on batches that hold as many volumes of each class (class-aware sampling)."""

    sampling = "balanced"


class Weighted(Approach):
    """Cross-entropy in which a class weighs N / (n N_k), N_k of all N volumes being of it, n the number of classes."""

    weight: torch.Tensor
    optional_weights = ("weight",)

    def __init__(self, config: ApproachConfig, world: World) -> None:
        super().__init__(config, world)
        counts = torch.tensor(world.counts, dtype=torch.float32).clamp_min(1)
        self.register_buffer("weight", sum(world.counts) / (world.classes * counts))

    def losses(self, batch: Batch, progress: float) -> Losses:
        loss = cross_entropy(self(batch.image), batch.label, self.weight)
        yield "main", loss, {"cls": loss.detach()}
