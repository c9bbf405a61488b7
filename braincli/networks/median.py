"""The median filter of anomaly maps, slice by slice."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def median(x: Tensor, width: int) -> Tensor:
    """Median over ``width`` x ``width`` pixels of every channel; borders are mirrored.

    Args:
        x: (B, C, H, W). width: odd; 1 changes nothing.
    """
    half = width // 2
    padded = F.pad(x, (half, half, half, half), mode="reflect")
    windows = padded.unfold(2, width, 1).unfold(3, width, 1)
    medians: Tensor = windows.flatten(4).median(dim=4).values
    return medians
