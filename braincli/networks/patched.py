"""Patches of pixels as channels: what makes full-resolution networks affordable on a CPU."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Patched(nn.Module):
    """``network`` at a coarser grid: patch x patch pixels become channels before it and pixels again after it.

    Args:
        network: takes one or several images of inputs * patch^2 channels and gives outputs * patch^2; has a
            ``stride``.
    """

    def __init__(self, network: nn.Module, patch: int) -> None:
        super().__init__()
        self.network, self.patch = network, patch
        self.stride: int = patch * network.stride  # type: ignore[operator, assignment]

    def forward(self, *images: Tensor) -> Tensor:
        """Each (B, inputs, H, W) -> (B, outputs, H, W); H and W multiples of ``stride``."""
        return F.pixel_shuffle(self.network(*(F.pixel_unshuffle(i, self.patch) for i in images)), self.patch)
