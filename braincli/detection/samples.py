"""Several restorations of one case: their mean, and how far their anomaly maps differ (TSGM Fig. 8).

Only running sums are kept, so that memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from braincli.detection.restore import Restoration

PARTS = ("restored", "score", "suspicion", "diseased")  # of a Restoration


def averaged(
    draw: Callable[[int], Restoration], count: int, to_map: Callable[[Restoration], np.ndarray]
) -> tuple[Restoration, np.ndarray | None]:
    """The mean of ``count`` samples, and the standard deviation of their maps.

    Args:
        draw: the sample of a number from 0.
        to_map: (S, H, W) anomaly map of one sample.

    Returns:
        Everything averaged over samples, and (S, H, W) float32, the unbiased standard deviation of the samples' maps
        (Welford's sums); None for one sample.
    """
    drawn = draw(0)
    if count == 1:
        return drawn, None
    middle = to_map(drawn).astype(np.float64)
    squares = np.zeros_like(middle)
    means = {name: part.astype(np.float64) for name in PARTS if (part := getattr(drawn, name)) is not None}
    for number in range(1, count):
        drawn = draw(number)
        for name, mean in means.items():
            mean += (getattr(drawn, name) - mean) / (number + 1)
        now = to_map(drawn)
        before = now - middle
        middle += before / (number + 1)
        squares += before * (now - middle)
    parts: dict[str, Any] = {name: mean.astype(np.float32) for name, mean in means.items()}
    return replace(drawn, **parts), np.sqrt(squares / (count - 1)).astype(np.float32)
