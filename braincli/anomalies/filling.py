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
    c = image.shape[1]
    part = torch.cat([image * known, ~known], dim=1)  # what is known, and the share of a block that is not
    pyramid = []
    while min(part.shape[2:]) > 1:
        pyramid.append(part)
        part = F.avg_pool2d(part, 2, ceil_mode=True)
    mean = part[:, :c] / (1 - part[:, c:]).clamp_min(1e-6)
    for part in reversed(pyramid):
        mean = F.interpolate(mean, size=tuple(part.shape[2:]), mode="bilinear", align_corners=False)
        mean = torch.addcmul(part[:, :c], part[:, c:], mean)
    return torch.where(unknown, mean, image)
