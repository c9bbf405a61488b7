"""Which volumes a step learns from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from braincli.classification.approaches.base import Approach, Batch, Sampling
from braincli.classification.augment import augmented


@dataclass(frozen=True)
class Data:
    """What is learnt from, on one device.

    Attributes:
        image: (N, X, Y, Z) float16 in [0, 1].
        label, site: (N,) class and site; target: (N,) bool, whether it is a target site.
    """

    image: Tensor
    label: Tensor
    site: Tensor
    target: Tensor

    def rows(self, chosen: Tensor) -> Batch:
        """The volumes ``chosen`` (indices on the CPU), not augmented."""
        rows = chosen.to(self.image.device)
        return Batch(self.image[rows].float().unsqueeze(1), self.label[rows], self.site[rows], self.target[rows])


class Draw:
    """Draws batches; what a step gets depends on ``seed`` and its number alone.

    Args:
        train: indices of the volumes to learn from.
    """

    def __init__(self, data: Data, train: Tensor, approach: Approach, seed: int) -> None:
        self.data, self.approach, self.seed = data, approach, seed
        label, target = data.label.cpu(), data.target.cpu()
        classes = range(approach.world.classes)
        self.train = train
        self.by_class = [train[label[train] == k] for k in classes]
        self.source = [train[(label[train] == k) & ~target[train]] for k in classes]
        self.target = train[target[train]]
        self.pairs = [train[(label[train] == k) & target[train]] for k in classes]

    def step(self, number: int) -> Batch:
        """The batch of step ``number``, augmented."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        config = self.approach.config
        rows = self._drawn(self.approach.sampling, config.batch, generator).repeat(self.approach.views)
        if self.approach.pairs:
            rows = torch.cat([rows, *(_some(part, 1, generator) for part in self.pairs)])
        batch = self.data.rows(rows)
        return Batch(augmented(batch.image, config, generator), batch.label, batch.site, batch.target)

    def _drawn(self, sampling: Sampling, count: int, generator: torch.Generator) -> Tensor:
        if sampling == "any":
            return _some(self.train, count, generator)
        if sampling == "balanced":
            return _alike(self.by_class, count, generator)
        half = count // 2
        return torch.cat([_alike(self.source, half, generator), _some(self.target, count - half, generator)])


def _some(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` of ``rows``, none twice before all were drawn."""
    parts = [rows[torch.randperm(len(rows), generator=generator)] for _ in range(-(-count // len(rows)))]
    return torch.cat(parts)[:count]


def _alike(parts: list[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """``count`` rows, as many of each of ``parts``; what is over goes to parts drawn by lot."""
    lots = torch.randperm(len(parts), generator=generator).tolist()
    sizes = [count // len(parts) + (place < count % len(parts)) for place in range(len(parts))]
    return torch.cat([_some(parts[k], size, generator) for k, size in zip(lots, sizes, strict=True) if size])
