"""Input and restoration -> residual per contrast. numpy and scipy only.

All kinds are >= 0 and 0 where input and restoration are both 0, so that background and absent contrasts add nothing.
"""

from __future__ import annotations

import numpy as np

SIGMA, RADIUS = 1.0, 4  # pixels: the window of 9 that SADM takes SSIM with (Behrendt et al. 2024)
C1, C2 = 0.01**2, 0.03**2  # the images' range is 1


def residual(image: np.ndarray, restored: np.ndarray, kind: str = "absolute") -> np.ndarray:
    """(S, C, H, W) float32 >= 0 from ``image`` and ``restored`` (S, C, H, W), both in [0, 1].

    Args:
        kind: ``absolute`` |x - r| (TSGM Eq. 8, corrected); ``squared``; ``positive`` x - r where that is above 0
            (lesions brighter than tissue, Baur et al. 2021); ``ssim`` 1 - SSIM in [0, 2] per slice; ``ssim3d`` the
            same in a window of 9 x 9 x 9 over the stack of slices.
    """
    if kind.startswith("ssim"):
        return _dissimilarity(image, restored, across=kind == "ssim3d")
    change = image.astype(np.float32) - restored
    if kind == "positive":
        return np.maximum(change, 0, out=change)
    return np.abs(change, out=change) if kind == "absolute" else change**2


def _dissimilarity(x: np.ndarray, y: np.ndarray, *, across: bool) -> np.ndarray:
    """1 - SSIM with a Gaussian window (Wang et al. 2004), reflected at the borders."""
    from scipy.ndimage import gaussian_filter

    sigma = (SIGMA if across else 0.0, 0.0, SIGMA, SIGMA)

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, sigma, mode="reflect", radius=[RADIUS if s else 0 for s in sigma])

    # float64: the variances are small differences of means of squares
    x, y = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    similar = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    similar /= (mean_x**2 + mean_y**2 + C1) * (np.maximum(variances, 0) + C2)
    return np.clip(1 - similar, 0, 2).astype(np.float32)


def median(stack: np.ndarray, inside: np.ndarray, width: int) -> np.ndarray:
    """Median over ``width`` pixels along each axis of ``stack`` (S, H, W), where ``inside`` (bool); 0 elsewhere.

    Borders are reflected, as in scipy's median_filter; only what is inside is computed: several times faster.
    """
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(stack, width // 2, mode="symmetric"), (width,) * 3)
    result = np.zeros_like(stack)
    middle = width**3 // 2
    for index in np.flatnonzero(inside.any(axis=(1, 2))):
        kept = inside[index]
        values = windows[index][kept].reshape(-1, width**3)
        result[index, kept] = np.partition(values, middle, axis=1)[:, middle]
    return result
