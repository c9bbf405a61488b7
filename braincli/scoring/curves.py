"""Figures of an anomaly map against a reference mask, over all thresholds: AUPRC, AUROC, best-possible DSC.

All three need the counts at the scores of positive voxels only. Sorting the two classes apart gives them
exactly, ties included, and faster than sorting everything together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from braincli.errors import InputError

BITS = 20  # leading bits of a float32 that the pooled histogram keeps: thresholds to 0.05 %


@dataclass(frozen=True)
class Curve:
    """Counts at every distinct score of a positive voxel, rising; voxels at or above it are called.

    Attributes:
        thresholds: (T,) distinct scores of positive voxels.
        tp, fp: (T,) positive and negative voxels with a score at or above the threshold.
        above: (T,) negative voxels with a score strictly above it.
        positives, negatives: sizes of the two classes.
    """

    thresholds: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    above: np.ndarray
    positives: int
    negatives: int

    def auprc(self) -> float | None:
        """Average precision: sum over thresholds of (rise of recall) x precision; None without positives."""
        if not self.positives:
            return None
        gained = self.tp - np.append(self.tp[1:], 0)
        return float(np.sum(gained * (self.tp / (self.tp + self.fp))) / self.positives)

    def auroc(self) -> float | None:
        """Share of (positive, negative) pairs in the right order, ties half; None if a class is empty."""
        if not (self.positives and self.negatives):
            return None
        gained = self.tp - np.append(self.tp[1:], 0)
        wrong = np.sum(gained * ((self.above + self.fp) / 2)) / self.positives / self.negatives
        return float(1.0 - wrong)

    def best_dice(self) -> tuple[float, float] | None:
        """Best-possible DSC (an upper bound) and its threshold; None without positives."""
        if not self.positives:
            return None
        scores = 2 * self.tp / (self.tp + self.fp + self.positives)
        best = int(np.argmax(scores))
        return float(scores[best]), float(self.thresholds[best])


def curve(*, score: np.ndarray, ref: np.ndarray, domain: np.ndarray | None = None) -> Curve:
    """Exact counts of a finite anomaly map against a bool reference, inside ``domain`` if given.

    Raises:
        InputError: shapes differ or the map is not finite.
    """
    if score.shape != ref.shape or (domain is not None and domain.shape != ref.shape):
        raise InputError(f"An anomaly map of shape {score.shape} cannot be compared with a mask of {ref.shape}.")
    positive = score[ref if domain is None else ref & domain]
    negative = score[~ref if domain is None else domain & ~ref]
    if not (np.isfinite(positive).all() and np.isfinite(negative).all()):
        raise InputError("The anomaly map holds NaN or infinite values.", "Write it again, or mask those voxels to 0.")
    thresholds, counts = np.unique(positive, return_counts=True)
    size = negative.size
    if thresholds.size:  # negatives below every positive never count
        negative = negative[negative >= thresholds[0]]
    negative = np.sort(negative)
    return Curve(
        thresholds=thresholds,
        tp=np.cumsum(counts[::-1])[::-1],
        fp=negative.size - np.searchsorted(negative, thresholds, "left"),
        above=negative.size - np.searchsorted(negative, thresholds, "right"),
        positives=int(positive.size),
        negatives=int(size),
    )


@dataclass(frozen=True)
class Histogram:
    """How many voxels of a case lie in which bin: the bins that hold any, rising, and their counts.

    A bin is the leading 20 bits of the float32 score, so that its width is 0.05 % of the score.
    """

    bins: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, score: np.ndarray) -> Histogram:
        """Of scores of any shape and range."""
        counts = _histogram(score)
        bins = np.flatnonzero(counts).astype(np.int32)
        return cls(bins, counts[bins])

    def dense(self) -> np.ndarray:
        """(2^BITS,) counts of all bins."""
        counts = np.zeros(1 << BITS, np.int64)
        counts[self.bins] = self.counts
        return counts


def histograms(*, score: np.ndarray, ref: np.ndarray, domain: np.ndarray | None = None) -> tuple[Histogram, Histogram]:
    """Of the positive and the negative voxels; arguments as in :func:`curve`."""
    hit = ref if domain is None else ref & domain
    rest = ~ref if domain is None else domain & ~ref
    return Histogram.of(score[hit]), Histogram.of(score[rest])


@dataclass
class PooledCurve:
    """Adds up the voxels of many cases in one :class:`Histogram` per class."""

    positive: np.ndarray = field(default_factory=lambda: np.zeros(1 << BITS, np.int64))
    negative: np.ndarray = field(default_factory=lambda: np.zeros(1 << BITS, np.int64))
    dice_sum: np.ndarray = field(default_factory=lambda: np.zeros(1 << BITS))
    cases: int = 0  # those with a reference voxel

    def add(self, *, score: np.ndarray, ref: np.ndarray, domain: np.ndarray | None = None) -> None:
        """Add one case; arguments as in :func:`curve`."""
        self.add_histograms(*histograms(score=score, ref=ref, domain=domain))

    def add_histograms(self, of_positive: Histogram, of_negative: Histogram) -> None:
        """Add one case that was counted elsewhere."""
        positive, negative = of_positive.dense(), of_negative.dense()
        self.positive += positive
        self.negative += negative
        if of_positive.bins.size:
            tp, fp = _at_or_above(positive), _at_or_above(negative)
            self.dice_sum += 2 * tp / (tp + fp + tp[0])
            self.cases += 1

    def curve(self) -> Curve:
        """The pooled counts at every bin that holds a positive voxel."""
        bins = np.flatnonzero(self.positive)
        tp, fp = _at_or_above(self.positive), _at_or_above(self.negative)
        return Curve(
            thresholds=_edge(bins),
            tp=tp[bins],
            fp=fp[bins],
            above=(fp - self.negative)[bins],
            positives=int(tp[0]),
            negatives=int(fp[0]),
        )

    def best_common_dice(self) -> tuple[float, float] | None:
        """Best mean DSC over cases with one threshold, and that threshold; None without positives."""
        if not self.cases:
            return None
        best = len(self.dice_sum) - 1 - int(np.argmax(self.dice_sum[::-1]))  # the highest that is as good
        return float(self.dice_sum[best] / self.cases), float(_edge(np.array([best]))[0])


def _histogram(score: np.ndarray) -> np.ndarray:
    """(2^BITS,) counts by leading bits; the bits are arranged so that their order is that of the floats."""
    bits = (score.astype(np.float32) + np.float32(0)).view(np.uint32)  # + 0 turns -0 into 0
    keys = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)) >> np.uint32(32 - BITS)
    return np.bincount(keys.ravel(), minlength=1 << BITS)


def _edge(bins: np.ndarray) -> np.ndarray:
    """Smallest float32 in each bin."""
    keys = bins.astype(np.uint32) << np.uint32(32 - BITS)
    bits = np.where(keys >> 31, keys & np.uint32(0x7FFFFFFF), ~keys)
    return bits.astype(np.uint32).view(np.float32)


def _at_or_above(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts[::-1])[::-1]
