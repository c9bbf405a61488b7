"""Several restorations of one case: their mean, and how far their anomaly maps differ (TSGM Fig. 8).

Only running sums are kept, so that memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from braincli.detection.restore import Restoration


def averaged(
    draw: Callable[[int], Restoration], count: int, to_map: Callable[[Restoration], np.ndarray]
) -> tuple[Restoration, np.ndarray | None]:
    """The mean of ``count`` samples, and the standard deviation of their maps.

    Args:
        draw: the sample of a number from 0.
        to_map: (S, H, W) anomaly map of one sample.

    Returns:
        Restoration and score averaged over samples, and (S, H, W) float32, the unbiased standard deviation of the
        samples' maps (Welford's sums); None for one sample.
    """
    drawn = draw(0)
    if count == 1:
        return drawn, None
    middle = to_map(drawn).astype(np.float64)
    squares = np.zeros_like(middle)
    means = [None if part is None else part.astype(np.float64) for part in (drawn.restored, drawn.score)]
    for number in range(1, count):
        drawn = draw(number)
        for mean, part in zip(means, (drawn.restored, drawn.score), strict=True):
            if mean is not None and part is not None:
                mean += (part - mean) / (number + 1)
        now = to_map(drawn)
        before = now - middle
        middle += before / (number + 1)
        squares += before * (now - middle)
    restored, score = (None if mean is None else mean.astype(np.float32) for mean in means)
    return replace(drawn, restored=restored, score=score), np.sqrt(squares / (count - 1)).astype(np.float32)
