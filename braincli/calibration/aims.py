"""What a calibration is fitted to: a figure of a case's mask, for all smallest lesions from one labelling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from braincli.calibration.evidence import Evidence
from braincli.detection.maps import CONNECTED
from braincli.imaging.box import bounding_box

SHARE = 0.25  # of a piece that is to be lesion


@dataclass(frozen=True)
class Aim:
    """A figure whose mean over cases is to be high.

    Attributes:
        name: as provenance tells it.
        sizes: smallest lesions in mm³ that are tried.
        figure: of a case and its mask (X, Y, Z) bool without its pieces below each of ``sizes``: (len(sizes),).
    """

    name: str
    sizes: tuple[float, ...]
    figure: Callable[[Evidence, np.ndarray, tuple[float, ...]], np.ndarray]

    def by_size(self, e: Evidence, mask: np.ndarray) -> np.ndarray:
        """(len(sizes),) figures in [0, 1]."""
        return self.figure(e, mask, self.sizes)


def pieces(mask: np.ndarray) -> tuple[np.ndarray, tuple[slice, ...], np.ndarray]:
    """Connected pieces of a non-empty ``mask`` (X, Y, Z), 26 neighbours around a voxel.

    Returns:
        Labels from 1 in the mask's box, that box, and voxels by label (0 of the background).
    """
    from scipy.ndimage import label

    box = bounding_box(mask)
    labels, count = label(np.ascontiguousarray(mask[box]), structure=CONNECTED)
    voxels = np.bincount(labels.ravel(), minlength=count + 1)
    voxels[0] = 0
    return labels, box, voxels


def kept(mask: np.ndarray, where: np.ndarray, voxel_mm3: float, sizes: tuple[float, ...]) -> np.ndarray:
    """(2, len(sizes)) voxels of ``mask``, and those of them in ``where``, in pieces of at least each of ``sizes``."""
    if not mask.any():
        return np.zeros((2, len(sizes)), dtype=np.int64)
    labels, box, voxels = pieces(mask)
    inside = np.bincount(labels[where[box]], minlength=len(voxels))
    inside[0] = 0
    large = voxels * voxel_mm3 >= np.array(sizes)[:, None]
    return np.stack([(large * voxels).sum(axis=1), (large * inside).sum(axis=1)])


def dsc(e: Evidence, mask: np.ndarray, sizes: tuple[float, ...]) -> np.ndarray:
    """DSC on the scan's own grid; 1 where both masks are empty."""
    marked, hits = kept(mask, e.reference, e.voxel_mm3, sizes)
    total = marked + int(e.reference.sum())
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)


def lesion_f1(e: Evidence, mask: np.ndarray, sizes: tuple[float, ...]) -> np.ndarray:
    """Harmonic mean of lesion-wise recall and precision; 1 where both masks are empty, 0 where one is.

    A piece of the mask is true if SHARE or more of it is lesion, and a lesion is found if a true piece touches it. (In
    :func:`braincli.scoring.metrics.lesions` one voxel is enough, for which a low threshold is best: one piece that
    fills half of the brain finds every lesion, and is one true piece.)
    """
    if not (mask.any() and e.reference.any()):
        return np.full(len(sizes), float(not mask.any() and not e.reference.any()))
    labels, box, voxels = pieces(mask)
    known, around, _ = pieces(e.reference)
    numbers = np.zeros(mask.shape, dtype=known.dtype)
    numbers[around] = known
    inside = np.bincount(labels[e.reference[box]], minlength=len(voxels))
    pairs = np.unique(np.stack([labels.ravel(), numbers[box].ravel()]), axis=1)
    pairs = pairs[:, (pairs > 0).all(axis=0)]
    large = voxels * e.voxel_mm3 >= np.array(sizes)[:, None]
    large[:, 0] = False
    hits = large & (inside >= SHARE * voxels)
    predicted, true, references = large.sum(axis=1), hits.sum(axis=1), int(known.max())
    found = np.array([np.unique(pairs[1, row[pairs[0]]]).size for row in hits])
    # 2 P R / (P + R) with P = true / predicted and R = found / references
    total = true * references + found * predicted
    return np.where(total > 0, 2 * true * found / np.maximum(total, 1), 0.0)


def healthy_ml(e: Evidence, mask: np.ndarray, sizes: tuple[float, ...]) -> np.ndarray:
    """(len(sizes),) ml of ``mask`` in slices two or more away from a lesion."""
    where = np.zeros(mask.shape, dtype=bool)
    where[:, :, e.slices.shown_planes(e.healthy_slices())] = True
    return kept(mask, where, e.voxel_mm3, sizes)[1] * e.voxel_mm3 / 1000


# no larger than a ball of 10 mm, which is measurable disease (RANO): Dice of few large tumours would have them dropped
DSC = Aim("mean DSC", (0.0, 50.0, 200.0, 500.0), dsc)
LESION_F1 = Aim("mean lesion-wise F1", (0.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0), lesion_f1)
AIMS = {"dsc": DSC, "lesion-f1": LESION_F1}
