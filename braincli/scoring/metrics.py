"""Figures of a predicted mask against a reference mask. Pure numpy and scipy; nothing here knows of files.

Masks are boolean arrays of one shape, given by keyword so that prediction and reference cannot be swapped.
A figure that the data do not define is ``None``, never 0, 1 or NaN; the callers decide what to make of it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from braincli.errors import InputError

VOXELS_PER_QUERY = 25  # one query of a tree takes as long as this many voxels of a distance transform
HausdorffDefinition = Literal["max-directed", "pooled"]
NEIGHBOURS = {6: 1, 18: 2, 26: 3}  # connectivity -> rank of scipy's structuring element


class Confusion(NamedTuple):
    """Voxel counts; they add up over cases (pooled figures)."""

    tp: int
    fp: int
    fn: int
    tn: int

    def plus(self, other: Confusion) -> Confusion:
        """Sum of both counts."""
        return Confusion(*(a + b for a, b in zip(self, other, strict=True)))


NOTHING = Confusion(0, 0, 0, 0)


def confusion(*, pred: np.ndarray, ref: np.ndarray, domain: np.ndarray | None = None) -> Confusion:
    """Count voxels, inside ``domain`` (bool, same shape) where it is given.

    Raises:
        InputError: the arrays differ in shape.
    """
    _same_shape(pred, ref, domain)
    if domain is not None:
        pred, ref = pred & domain, ref & domain
    size = pred.size if domain is None else np.count_nonzero(domain)
    tp, p, r = (int(np.count_nonzero(mask)) for mask in (pred & ref, pred, ref))
    return Confusion(tp=tp, fp=p - tp, fn=r - tp, tn=int(size) - p - r + tp)


def dice(c: Confusion) -> float:
    """Dice similarity coefficient 2TP / (2TP + FP + FN) in [0, 1]; 1 where both masks are empty."""
    marked = c.tp + c.fp + c.tp + c.fn
    return 2 * c.tp / marked if marked else 1.0


def iou(c: Confusion) -> float:
    """Intersection over union TP / (TP + FP + FN) in [0, 1]; 1 where both masks are empty."""
    union = c.tp + c.fp + c.fn
    return c.tp / union if union else 1.0


def precision(c: Confusion) -> float | None:
    """TP / (TP + FP); without a predicted voxel: 1 where the reference is empty too, else undefined."""
    return _share(c.tp, c.tp + c.fp, both_empty=c.tp + c.fp + c.fn == 0)


def recall(c: Confusion) -> float | None:
    """TP / (TP + FN); without a reference voxel: 1 where the prediction is empty too, else undefined."""
    return _share(c.tp, c.tp + c.fn, both_empty=c.tp + c.fp + c.fn == 0)


def specificity(c: Confusion) -> float | None:
    """TN / (TN + FP), undefined where the reference fills the domain."""
    return _share(c.tn, c.tn + c.fp)


def volume_error(c: Confusion) -> float | None:
    """(predicted - reference) / reference volume; 0 if both are empty, undefined if the reference is."""
    if c.tp + c.fn:
        return (c.fp - c.fn) / (c.tp + c.fn)
    return None if c.fp else 0.0


def hd95(
    *,
    pred: np.ndarray,
    ref: np.ndarray,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    definition: HausdorffDefinition = "max-directed",
) -> float | None:
    """95th-percentile Hausdorff distance between the boundary voxels of two masks, in mm.

    Boundary voxels are those with one of six face neighbours outside the mask (outside the image counts as
    outside). Every boundary voxel of one mask has a distance to the nearest one of the other.

    Args:
        pred, ref: (X, Y, Z) bool.
        spacing: voxel size in mm along X, Y, Z.
        definition: ``max-directed``: the larger of the two directed 95th percentiles (as MONAI);
            ``pooled``: the 95th percentile of both sets of distances together.

    Returns:
        Distance in mm; 0 where both masks are empty, None where one is.
    """
    _same_shape(pred, ref)
    if not (pred.any() and ref.any()):
        return None if pred.any() or ref.any() else 0.0
    there, back = surface_distances(pred=pred, ref=ref, spacing=spacing)
    if definition == "pooled":
        return float(np.percentile(np.concatenate([there, back]), 95))
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def surface_distances(
    *, pred: np.ndarray, ref: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm from each boundary voxel of ``pred`` to those of ``ref``, and back; none empty."""
    crop = bounding_box(pred | ref)
    first, second = boundary(pred[crop]), boundary(ref[crop])
    return _nearest(first, second, np.asarray(spacing)), _nearest(second, first, np.asarray(spacing))


def _nearest(start: np.ndarray, end: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Distance in mm from each true voxel of ``start`` to the nearest one of ``end``.

    A search tree costs by the point, a distance transform by the box: the tree is several times faster for the
    surfaces of lesions, the transform for a mask that is all specks. Both are exact.
    """
    from scipy import ndimage
    from scipy.spatial import cKDTree

    voxels = np.argwhere(start)
    if len(voxels) * VOXELS_PER_QUERY < end.size:
        tree = cKDTree(np.argwhere(end) * spacing, balanced_tree=False, compact_nodes=False)
        return tree.query(voxels * spacing)[0]
    nearest = ndimage.distance_transform_edt(~end, sampling=spacing, return_distances=False, return_indices=True)
    return np.linalg.norm((nearest[:, *voxels.T].T - voxels) * spacing, axis=1)


def boundary(mask: np.ndarray) -> np.ndarray:
    """Voxels of ``mask`` (X, Y, Z) with a face neighbour outside it; beyond the array is outside."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        lower, upper = np.zeros_like(mask), np.zeros_like(mask)
        ahead, behind = _shift(axis)
        lower[ahead], upper[behind] = mask[behind], mask[ahead]
        inner &= lower & upper
    return mask & ~inner


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Smallest box around the true voxels of a non-empty mask, one slice per axis."""
    box = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


class Lesions(NamedTuple):
    """Connected components; one counts as found if at least one of its voxels is in the other mask."""

    reference: int
    reference_found: int
    predicted: int
    predicted_true: int

    @property
    def recall(self) -> float | None:
        """Share of reference lesions that the prediction touches; empties as in :func:`recall`."""
        return _share(self.reference_found, self.reference, both_empty=not self.predicted)

    @property
    def precision(self) -> float | None:
        """Share of predicted lesions that touch the reference; empties as in :func:`precision`."""
        return _share(self.predicted_true, self.predicted, both_empty=not self.reference)


def lesions(*, pred: np.ndarray, ref: np.ndarray, connectivity: int = 26) -> Lesions:
    """Match connected components (6, 18 or 26 neighbours) of two (X, Y, Z) masks by overlap."""
    _same_shape(pred, ref)
    union = pred | ref
    if not union.any():
        return Lesions(0, 0, 0, 0)
    crop = bounding_box(union)
    return Lesions(*_touched(ref[crop], pred[crop], connectivity), *_touched(pred[crop], ref[crop], connectivity))


def _touched(mask: np.ndarray, other: np.ndarray, connectivity: int) -> tuple[int, int]:
    """Number of components of ``mask``, and of those with a voxel in ``other``."""
    from scipy import ndimage

    structure = ndimage.generate_binary_structure(mask.ndim, NEIGHBOURS[connectivity])
    labels, count = ndimage.label(mask, structure)
    return int(count), int(np.unique(labels[mask & other]).size)


def _shift(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Index all but the first, and all but the last, along ``axis``."""
    before = (slice(None),) * axis
    return (*before, slice(1, None)), (*before, slice(None, -1))


def _share(part: int, whole: int, *, both_empty: bool = False) -> float | None:
    return part / whole if whole else (1.0 if both_empty else None)


def _same_shape(*arrays: np.ndarray | None) -> None:
    shapes = {array.shape for array in arrays if array is not None}
    if len(shapes) > 1:
        raise InputError(f"Arrays of different shapes cannot be compared: {sorted(shapes)}.")
