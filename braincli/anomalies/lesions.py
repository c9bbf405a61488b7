"""The lesions that compact presets learn to remove: growths (:mod:`braincli.anomalies.growth`), or lesions of other
slices of the batch (:mod:`braincli.anomalies.transplant`), which look as real ones do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from braincli.anomalies import growth, transplant
from braincli.diffusion import draws


@dataclass(frozen=True)
class Lesions:
    """One lesion of each kind per row, and ``source`` (B, 1, 1, 1) in [0, 1), which decides between them."""

    source: Tensor
    growth: growth.Growth
    transplant: transplant.Transplant


def draw(shape: tuple[int, int, int, int], generator: torch.Generator) -> Lesions:
    """Parameters for images of ``shape`` (B, C, H, W)."""
    source = draws.rand(generator, shape[0])[:, None, None, None]
    return Lesions(source, growth.draw(shape, generator), transplant.draw(shape, generator))


def apply(
    image: Tensor, brain: Tensor, lesion: Tensor, parameters: Lesions, *, transplanted: float
) -> tuple[Tensor, Tensor]:
    """Set a lesion into every row.

    Args:
        image: (B, C, H, W) in [0, 1]; ``brain``, ``lesion``: (B, 1, H, W) bool.
        transplanted: share of rows that get another slice's lesion; growths stand in where no other row has one.

    Returns:
        The diseased image and the lesions' alpha (B, 1, H, W) in [0, 1].
    """
    diseased, alpha = growth.apply(image, brain, parameters.growth)
    if not transplanted:
        return diseased, alpha
    moved, where = transplant.apply(image, brain, lesion, parameters.transplant)
    there = where.flatten(1).amax(dim=1)[:, None, None, None] > 0.5
    instead = (parameters.source.to(image.device) < transplanted) & there
    return torch.where(instead, moved, diseased), torch.where(instead, where, alpha)


def twinned(diseased: Tensor, brain: Tensor, alpha: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Set the mirror image of the lesion into the other side, too, in ``rows`` (B,) bool.

    Args:
        diseased: (B, C, H, W) with a lesion of alpha (B, 1, H, W), left and right along W.

    Returns:
        As :func:`apply`. What is set in is what the mirrored slice holds there.
    """
    twin = alpha.flip(3) * brain * rows[:, None, None, None]
    return diseased + twin * (diseased.flip(3) - diseased), torch.maximum(alpha, twin)
