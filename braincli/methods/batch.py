"""Slices as the store holds them, and as a method learns from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Batch:
    """Slices as they lie in the store.

    Attributes:
        image: (B, C, H, W) float32 in [0, 1], background exactly 0. C follows ``cases.CONTRASTS``;
            a channel that is zero everywhere is an absent contrast.
        brain: (B, 1, H, W) bool.
        label: (B,) int64, 0 healthy, 1 diseased, -1 unknown.
        lesion: (B, 1, H, W) bool, tissue known to be diseased; all false where unknown.
        position: (B,) float32 in [0, 1], height of the slice between the brain's lowest (0) and highest (1).
        tissue: (B, 3, H, W) float32 in [0, 1], probabilities of grey matter, white matter and fluid, which sum to 1
            in the brain; None unless the method asks for it (``Method.tissue``).
        unsure: (B, 1, H, W) bool, tissue that may be diseased or not; None where the cohort names none.
        number: (B,) float32, what the cohort says of the slice's case under ``Method.column``; None unless asked for.
        around: (B, 2 K, C, H, W) float32 in [0, 1], from below to above the K neighbours (``Method.neighbours``) on
            each side; None unless asked for.
    """

    image: Tensor
    brain: Tensor
    label: Tensor
    lesion: Tensor
    position: Tensor
    tissue: Tensor | None = None
    unsure: Tensor | None = None
    number: Tensor | None = None
    around: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device) -> Self:
        """The same batch on ``device``."""
        return self._each(lambda part: part.to(device, non_blocking=True))

    def rows(self, chosen: Tensor) -> Self:
        """The rows that ``chosen`` names, (B,) bool or indices."""
        return self._each(lambda part: part[chosen])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        parts = {name: part for name, part in vars(self).items() if part is not None}
        changed = {id(part): change(part) for part in parts.values()}  # what is one tensor stays one
        changes: dict[str, Any] = {name: changed[id(part)] for name, part in parts.items()}
        return replace(self, **changes)

    def with_image(self, image: Tensor) -> Self:
        """Other intensities, same masks."""
        return replace(self, image=image)


@dataclass(frozen=True, kw_only=True)
class Task(Batch):
    """What a :class:`braincli.methods.lesson.Lesson` makes of a batch, and what losses are made of.

    Attributes:
        image: (B, C, H, W) what the network sees; :attr:`target` itself where no row holds a planted lesion.
        target: (B, C, H, W) what it should give.
        counts: (B, C, H, W) bool, pixels that count in the loss.
        planted: (B, 1, H, W) float32 in [0, 1], how much of a planted lesion each pixel of :attr:`image` holds.
        contrast: (B,) int64, which one each row holds, where rows are single contrasts (:meth:`split`; C is 1 then).
        hidden: (B, 1, H, W) bool, what the network is to draw without seeing it; None where nothing is hidden.
    """

    target: Tensor
    counts: Tensor
    planted: Tensor
    contrast: Tensor | None = None
    hidden: Tensor | None = None

    @property
    def with_planted(self) -> Tensor:
        """(B,) bool: rows that hold a planted lesion."""
        return self.planted.flatten(1).gt(0).any(dim=1)

    def split(self, contrasts: Sequence[int] | None = None, *, run: int = 1) -> Self:
        """Every contrast as a row of its own, (R, 1, H, W); the slices of a run stay together.

        Args:
            contrasts: channels that every slice holds, and no others. None: those that hold something; their number
                depends on the data, which a GPU has to be waited for to know.
            run: how many rows a run has.
        """
        chosen = range(self.image.shape[1]) if contrasts is None else contrasts
        run = run if len(self) % run == 0 else 1

        def ordered(part: Tensor) -> Tensor:
            return part.unflatten(0, (-1, run)).transpose(1, 2).flatten(0, 2)

        def split(part: Tensor) -> Tensor:
            return ordered(torch.stack([part[:, c : c + 1] for c in chosen], dim=1))  # a list would make a GPU wait

        def repeated(part: Tensor) -> Tensor:
            return ordered(part[:, None].expand(-1, len(chosen), *part.shape[1:]))

        image, target = split(self.image), split(self.target)
        parts: dict[str, Any] = {"image": target if self.image is self.target else image, "target": target}
        others = {name: part for name, part in vars(self).items() if part is not None and name not in parts}
        parts |= {name: split(part) if name == "counts" else repeated(part) for name, part in others.items()}
        number = torch.stack([torch.full_like(self.label, c) for c in chosen], dim=1)
        rows = replace(self, **parts, contrast=ordered(number))
        if contrasts is not None:
            return rows
        held = present(target).flatten().unflatten(0, (-1, run)).any(dim=1).repeat_interleave(run)
        return rows.rows(held) if held.any() else rows

    @property
    def sick(self) -> Tensor:
        """(B, 1, H, W) bool: what is known to be a lesion in :attr:`image`, its own or a planted one."""
        return self.lesion | (self.planted > 0.5)


def beside(neighbours: int) -> list[int]:
    """Where the neighbours of a slice lie, from below to above: -2, -1, 1, 2 for two on each side."""
    return [step for step in range(-neighbours, neighbours + 1) if step]


def present(image: Tensor) -> Tensor:
    """(B, C, 1, 1) bool: which contrasts of ``image`` >= 0 a row holds (an absent one is zero everywhere)."""
    return image.amax(dim=(2, 3), keepdim=True).ne(0)


def healthy_tissue(batch: Batch, margin: int = 2) -> Tensor:
    """(B, C, H, W) bool: tissue of present contrasts that is known to be healthy, or at least not to be a lesion.

    Lesions are left out with ``margin`` pixels around them: the rim of a lesion is neither healthy nor known. So is
    what may be a lesion (``Batch.unsure``).
    """
    grown = F.max_pool2d(batch.lesion.float(), 2 * margin + 1, stride=1, padding=margin) > 0
    known = batch.brain & ~grown if batch.unsure is None else batch.brain & ~grown & ~batch.unsure
    return known & present(batch.image)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` (broadcast to it) holds; 0, with a gradient, where it holds nowhere."""
    mask = mask.expand_as(values)
    return (values * mask).sum() / mask.sum().clamp_min(1)
