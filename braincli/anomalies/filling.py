"""Pixels that are not known, filled in from those around them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def fill(image: Tensor, known: Tensor, unknown: Tensor) -> Tensor:
    """``image`` (B, C, H, W) with the pixels ``unknown`` (B, 1, H, W) bool as the smooth mean of the ``known`` around.

    Pull and push: means over ever larger blocks (coarser until everything is known), then each pixel takes the finest
    level that knows it. A contrast without known pixels becomes 0 there.
    """
    total, weight = image * known, known.to(image.dtype).expand_as(image)
    pyramid = []
    h, w = image.shape[2:]
    while min(h, w) > 1:
        pyramid.append((total, weight))
        total, weight = (F.avg_pool2d(part, 2, ceil_mode=True) for part in (total, weight))
        h, w = total.shape[2:]
    mean = total / weight.clamp_min(1e-6)
    for total, weight in reversed(pyramid):
        mean = F.interpolate(mean, size=tuple(total.shape[2:]), mode="bilinear", align_corners=False)
        sure = weight.clamp(0, 1)
        mean = sure * total / weight.clamp_min(1e-6) + (1 - sure) * mean
    return torch.where(unknown, mean, image)
