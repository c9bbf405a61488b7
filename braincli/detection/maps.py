"""Restoration or score -> anomaly map -> mask. numpy and scipy only.

Filters come before the weighted sum, contrast by contrast, so that calibration can try hundreds of weight vectors on
filtered residuals without filtering again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from braincli.detection.residuals import median, residual
from braincli.detection.suspicion import log_odds, probability
from braincli.imaging.box import as_stored, bounding_box
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.runtime.side_by_side import mapped, together
from braincli.spec import MapOptions

if TYPE_CHECKING:
    from braincli.detection.restore import Restoration
    from braincli.imaging.slices import Slices

LEAST_WEIGHT = 0.2  # a contrast that calibration hardly looked at decides nothing alone
LEVEL = 99.0  # percentile of the map in the brain
THROUGH = 3.0  # times as far as in the plane suspicion alone is smoothed through it: slices are judged one by one
CONNECTED = np.ones((3, 3, 3), dtype=bool)  # 26 neighbours


def channels(restoration: Restoration, options: MapOptions, threads: int | None = 1) -> np.ndarray:
    """What the anomaly map is the weighted sum of, float32 >= 0 and filtered.

    Args:
        threads: see :func:`braincli.runtime.side_by_side.mapped`.

    Returns:
        (C, S, H, W) residuals, or (1, S, H, W) where the method gives a score: that is the map, whatever else it gives.
    """
    slices = restoration.slices
    if restoration.score is not None:
        raw, shown = restoration.score * slices.brain, slices.shown
        shown = shown if shown is None else np.any(shown, axis=1, keepdims=True)
    else:
        assert restoration.restored is not None
        raw = residual(slices.image, restoration.restored, options.residual) * restoration.inside
        if restoration.suspicion is not None:
            raw = raw * restoration.suspicion
        shown = slices.shown
    if shown is None:
        return smooth(raw, slices.brain, slices.spacing, options, threads)

    def alone(c: int) -> np.ndarray:
        return smooth(raw[:, [c]], shown[:, [c]], slices.spacing, options)[0]

    return np.stack(mapped(alone, range(raw.shape[1]), threads))


def anomaly_map(
    restoration: Restoration,
    options: MapOptions,
    weights: Mapping[Contrast, float],
    counts: np.ndarray | None = None,
    *,
    threads: int | None = 1,
) -> np.ndarray:
    """(S, H, W) float32 >= 0, the map that is thresholded.

    Args:
        weights: of the residuals, see :func:`fuse`; none: the method's score is the map, or its suspicion alone.
        counts: see :func:`fuse`.
        threads: that smooth contrasts side by side.
    """
    alone = None if weights else suspected(restoration, options)
    if alone is not None:
        return alone
    return fuse(
        channels(restoration, options, threads), weights or renormalise({}, restoration.slices.contrasts), counts
    )


def suspected(restoration: Restoration, options: MapOptions) -> np.ndarray | None:
    """(S, H, W) float32 in [0, 1], suspicion alone, whatever the residuals; None where the method gives none.

    What is smoothed are its log odds, so that slices that see nothing count as much as one that is sure.
    """
    from scipy.ndimage import gaussian_filter

    if restoration.suspicion is None or restoration.score is not None:
        return None
    slices = restoration.slices
    inside = slices.brain[:, 0]
    sigma = [options.smooth_mm / mm * factor for mm, factor in zip(slices.spacing, (THROUGH, 1, 1), strict=True)]
    odds, share = (
        gaussian_filter(part, sigma, mode="constant")
        for part in (log_odds(restoration.suspicion[:, 0]) * inside, inside.astype(np.float32))
    )
    return probability(odds / np.maximum(share, 1e-3)) * core(inside, slices.spacing, options)


def smooth(
    residual: np.ndarray, brain: np.ndarray, spacing: Sequence[float], options: MapOptions, threads: int | None = 1
) -> np.ndarray:
    """Filter residuals inside the brain and take off its rim, where registration and masks are least sure.

    Args:
        residual: (S, C, H, W) >= 0, 0 outside the brain.
        brain: (S, 1, H, W) bool.
        spacing: (z, y, x) in mm.
        threads: see :func:`braincli.runtime.side_by_side.mapped`.

    Returns:
        (C, S, H, W) float32 >= 0; the smoothing is normalised, so that the edge is not darkened.
    """
    from scipy.ndimage import gaussian_filter

    inside = brain[:, 0]
    sigma = [options.smooth_mm / mm for mm in spacing]

    def blurred(stack: np.ndarray) -> np.ndarray:
        return gaussian_filter(stack, sigma, mode="constant")

    def scale() -> np.ndarray:
        share = blurred(inside.astype(np.float32)) if options.smooth_mm else inside
        return np.where(core(inside, spacing, options), 1 / np.maximum(share, 1e-3), 0)

    def filtered(stack: np.ndarray) -> np.ndarray:
        stack = stack.astype(np.float32)
        if options.median > 1:
            stack = median(stack, inside, options.median)
        return blurred(stack) if options.smooth_mm else stack

    work: list[Callable[[], np.ndarray]] = [scale, *(partial(filtered, each) for each in residual.swapaxes(0, 1))]
    factor, *maps = together(work, threads)
    smoothed: np.ndarray = np.stack(maps) * factor
    return smoothed


def core(inside: np.ndarray, spacing: Sequence[float], options: MapOptions) -> np.ndarray:
    """``inside`` (S, H, W) bool without its rim: what lies further than ``erode_mm`` from all that is not inside.

    Beyond the stack nothing is known: its top and bottom are cut planes, not edges of the brain. It is the distance
    transform's answer, in a tenth of its time: an erosion by a ball whose rows are intervals, one AND for each.
    """
    eroded = inside.copy()
    if options.erode_mm <= 0:
        return eroded
    reach = [int(np.ceil(options.erode_mm / mm)) for mm in spacing]
    z, y, x = np.ogrid[tuple(slice(-r, r + 1) for r in reach)]
    dz, dy, dx = spacing
    ball = np.sqrt((z * dz) ** 2 + (y * dy) ** 2 + (x * dx) ** 2) <= options.erode_mm
    rows = [inside]  # eroded along x by 0, 1, 2 ... pixels
    for width in range(1, reach[2] + 1):
        narrower = rows[-1].copy()
        narrower[..., width:] &= inside[..., :-width]
        narrower[..., :-width] &= inside[..., width:]
        rows.append(narrower)
    for plane, row in np.argwhere(ball.any(axis=2)):
        width = int(ball[plane, row].sum()) // 2
        (to_z, from_z), (to_y, from_y) = _shifted(int(plane) - reach[0]), _shifted(int(row) - reach[1])
        eroded[to_z, to_y] &= rows[width][from_z, from_y]
    return eroded


def _shifted(step: int) -> tuple[slice, slice]:
    """Where to put, and where to take, what is moved by ``step`` along an axis."""
    here, there = slice(max(step, 0), min(step, 0) or None), slice(max(-step, 0), min(-step, 0) or None)
    return here, there


def counting(slices: Slices, options: MapOptions) -> np.ndarray | None:
    """(C, S, H, W) bool, where the weight of each contrast counts: where it shows the brain, without the rim of that.

    None where every contrast shows all of the brain.
    """
    if slices.shown is None:
        return None
    return np.stack([core(shown, slices.spacing, options) for shown in slices.shown.swapaxes(0, 1)])


def renormalise(weights: Mapping[Contrast, float], contrasts: Sequence[Contrast]) -> dict[Contrast, float]:
    """Weights of the contrasts that are there, summing to 1 (equal ones where all of them weigh nothing)."""
    kept = {c: float(weights.get(c, 0.0)) for c in CONTRASTS if c in contrasts}
    total = sum(kept.values())
    if total <= 0:
        return dict.fromkeys(kept, 1 / len(kept))
    return {c: w / total for c, w in kept.items()}


def fuse(maps: np.ndarray, weights: Mapping[Contrast, float], counts: np.ndarray | None = None) -> np.ndarray:
    """(C, S, H, W) filtered residuals -> (S, H, W) weighted sum (TSGM Eq. 8); a score (1, S, H, W) stays as it is.

    Args:
        counts: (C, S, H, W) bool of :func:`counting`: elsewhere a contrast's weight goes to the others, voxel by voxel.
            Where the others hold less than LEAST_WEIGHT of it, nothing is judged: the map is 0.
    """
    if len(maps) == 1:
        return maps[0]
    vector = np.array([weights.get(c, 0.0) for c in CONTRASTS], dtype=np.float32)
    fused: np.ndarray = np.tensordot(vector, maps, axes=1)
    return fused if counts is None else fused * share_out(vector[None], counts)[0]


def share_out(vectors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """What sums weighted by ``vectors`` (K, C) are multiplied by where some contrasts do not count (C, ...).

    Returns:
        (K, ...) float32: 1 / the weight that counts, 0 where that is less than LEAST_WEIGHT.
    """
    lost = np.tensordot(vectors.astype(np.float32), ~counts, axes=1)
    left = 1 - lost  # exactly 1 where nothing is lost
    return np.where(left >= LEAST_WEIGHT, 1 / np.maximum(left, LEAST_WEIGHT), 0).astype(np.float32)


def level(values: np.ndarray) -> np.ndarray:
    """The LEVEL-th percentile (the value below, not between two) of maps (..., n) over the brain's n pixels.

    How strong the strongest residuals of this very case are.
    """
    below = int(LEVEL / 100 * (values.shape[-1] - 1))
    ranked: np.ndarray = np.partition(values, below, axis=-1)[..., below]
    return ranked


def rise(fused: np.ndarray, brain: np.ndarray, rises_from: float | None) -> float:
    """What the stored threshold is multiplied by for this case: 1 up to the level ``rises_from``, then the root of its
    multiples.

    A lesion's edge lies about half-way up to what the lesion itself shows, so that strong lesions want higher
    thresholds than faint ones. The threshold never falls: what is faint all over may be healthy.

    Args:
        fused: (S, H, W) map on the canvas.
        brain: (S, H, W) bool.
    """
    return max(1.0, (float(level(fused[brain])) / rises_from) ** 0.5) if rises_from else 1.0


def segment(anomaly: np.ndarray, threshold: float, voxel_mm3: float, min_lesion_mm3: float) -> np.ndarray:
    """(X, Y, Z) map -> bool mask: above ``threshold``, components (26-neighbourhood) of at least ``min_lesion_mm3``."""
    from scipy.ndimage import label

    mask = anomaly > threshold
    if min_lesion_mm3 <= voxel_mm3 or not mask.any():
        return mask
    (ordered,) = as_stored(mask)
    box = bounding_box(ordered)
    labels, _ = label(ordered[box], structure=CONNECTED)
    large = np.bincount(labels.ravel()) * voxel_mm3 >= min_lesion_mm3
    large[0] = False
    ordered[box] = large[labels]  # ordered is a view: this is mask
    return mask
