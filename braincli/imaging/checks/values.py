"""The voxels: not finite, constant, wrapped around, of a CT, labels that are none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from braincli.imaging.checks.problem import Level, Problem, Refused
from braincli.wording import counted

NON_FINITE_REFUSED = 1e-3  # fraction of voxels that are NaN or infinite, beside a background of NaN
EDGES_OUTSIDE = 0.9  # share of the grid's twelve edges that a background covers, at least
DISTINCT = 256  # steps of a 32-bit float that an image's range must have at its largest value
RANGE = (1e-30, 1e30)  # of an image's values: beyond, their squares are no 32-bit floats
NEAR_LIMIT = 30_000  # of 16-bit integers, which end at 32767
CUT_SHARE = 1e-3  # of the voxels at exactly the largest 16-bit integer
AIR_HU, AIR_SHARE, BONE_HU = (-1100, -900), 0.05, 300  # CT: air is at -1000 or -1024, bone above 300
FEWEST_SHADES, SHADES_SAMPLE = 6, 20_000  # values of a scan at least, and voxels that are looked at first
FEW_LABELS, FEWEST_PAIRS = 20, 500  # below, voxels tell nothing about whether they are labels
LOOKED_AT = 32  # slices
RESTLESS = 0.5  # share of neighbours within a scan that differ, at least; within labels of anatomy a fifth do
LABEL_BLOCK = 1 << 22  # voxels that are scaled at a time


def clean_image(raw: np.ndarray, slope: float, intercept: float) -> tuple[np.ndarray, list[Problem]]:
    """Scaled float32 voxels, with NaN and infinities replaced by 0; NaN may be all of the background.

    Raises:
        Refused: more than 0.1 % of the voxels are not finite (a background apart), all are equal, or 32-bit floats
            cannot hold them.
    """
    scaled = (slope, intercept) != (1.0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        data = raw.astype(np.float32)
        if scaled:
            data *= np.float32(slope)
            data += np.float32(intercept)
    problems = _replace_non_finite(data)
    low, high = float(data.min()), float(data.max())
    if low == high:
        raise Refused("constant", f"is constant: every voxel is {low:g}.", "Export the scan again.")
    _check_range(low, high)
    problems += _check_hounsfield(data, low, high)
    problems += _check_shades(data)
    if not scaled and raw.dtype.kind == "i" and raw.dtype.itemsize == 2:
        problems += _check_overflow(raw)
    return data, problems


def clean_labels(raw: np.ndarray, slope: float, intercept: float) -> tuple[np.ndarray, list[Problem]]:
    """Labels, rounded; a constant mask is fine (an empty one, say).

    Integers of at most 32 bits keep their type (a mask of 512^3 voxels takes 128 MiB, not 40 times as much);
    everything else becomes int32, a block at a time.

    Raises:
        Refused: more than 0.1 % of the voxels are not finite (a background apart), a label is negative or does not fit
            into 32 bits.
    """
    plain = raw.dtype.kind in "iu" and (slope, intercept) == (1.0, 0.0)
    if plain and np.can_cast(raw.dtype, np.int32):
        _refuse_negative(int(raw.min()))
        return raw.astype(raw.dtype.newbyteorder("="), copy=False), _check_patches(raw)
    labels = np.empty(raw.shape, np.int32, order="F")
    fractions = False
    for part, target in _blocks(raw, labels):
        scaled = part if plain else part.astype(np.float64) * slope + intercept
        finite = np.isfinite(scaled)
        scaled = np.where(finite, scaled, 0)
        whole = scaled if plain else np.rint(scaled)
        lost = (whole == 0) & (np.abs(part) >= 1)  # by a slope that makes every label nearly 0
        fractions |= not plain and bool((np.abs(whole - scaled) > 1e-3).any() or (lost & (scaled != 0)).any())
        _refuse_negative(int(whole.min()))
        if int(whole.max()) > np.iinfo(np.int32).max:
            raise Refused("label-range", "has labels that do not fit into 32 bits.", "Is it a mask?")
        target[...] = whole
    problems = _judge_non_finite(raw)
    if fractions:
        text = "is no label image (it has fractions); values are rounded."
        problems.append(Problem(Level.WARNING, "fractional-labels", text, "Is it a probability map, or a scan?"))
    return labels, problems or _check_patches(labels)


def _check_patches(labels: np.ndarray) -> list[Problem]:
    """Labels lie in patches; the grey values of a scan in whole numbers change from voxel to voxel."""
    if int(labels.max(initial=0)) <= FEW_LABELS:
        return []
    some = labels[..., :: 1 + labels.shape[-1] // LOOKED_AT]
    here, there = some[:-1], some[1:]
    both = (here != 0) & (there != 0)
    pairs = np.count_nonzero(both)
    if pairs < FEWEST_PAIRS or np.count_nonzero(both & (here != there)) <= RESTLESS * pairs:
        return []
    text = f"looks like a scan: its values, up to {int(labels.max())}, change from voxel to voxel."
    return [Problem(Level.WARNING, "scan-as-labels", text, "Is it the mask?")]


def _refuse_negative(lowest: int) -> None:
    """Half of the programs read -1 as lesion, the others as nothing: it is not an empty mask."""
    if lowest < 0:
        text = f"has values below 0 (down to {lowest}): that is no mask."
        raise Refused("negative-labels", text, "Write 0 for background and positive whole numbers for labels.")


def _blocks(source: np.ndarray, target: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Matching parts of two arrays (X, Y, Z), along Z."""
    step = max(1, LABEL_BLOCK // (source.shape[0] * source.shape[1]))
    for start in range(0, source.shape[2], step):
        yield source[..., start : start + step], target[..., start : start + step]


def _replace_non_finite(data: np.ndarray) -> list[Problem]:
    problems = _judge_non_finite(data)
    if problems:
        data[~np.isfinite(data)] = 0
    return problems


def _judge_non_finite(data: np.ndarray) -> list[Problem]:
    """A background of NaN, as SPM writes it, is no damage; what else is not finite may be a thousandth at most."""
    lost = data.size - int(np.count_nonzero(np.isfinite(data)))
    if not lost:
        return []
    count, background = lost, 0
    if NON_FINITE_REFUSED * data.size < lost < data.size:
        background = _nan_background(data)
        count -= background
    if count > NON_FINITE_REFUSED * data.size:
        text = f"has {count:,} voxels ({count / data.size:.1%}) that are NaN or infinite."
        raise Refused("non-finite", text, "Export the scan again, or replace them by 0.")
    if background:
        more = f", as {counted(count, 'other voxel')} that {'is' if count == 1 else 'are'} NaN or infinite"
        text = f"has a background of NaN ({background / data.size:.0%} of its voxels); it is read as 0"
        return [Problem(Level.WARNING, "nan-background", f"{text}{more if count else ''}.")]
    told = f"has {counted(count, 'voxel')} that {'is' if count == 1 else 'are'} NaN or infinite; read as 0."
    return [Problem(Level.WARNING, "non-finite", told)]


def _nan_background(data: np.ndarray) -> int:
    """Voxels of NaN around a brain: joined to the border, and all along the edges of the grid, where no brain lies.

    Slices that were lost touch the border as well, but never all twelve edges.
    """
    from scipy.ndimage import label

    nan = np.isnan(data)
    at_end = [np.isin(np.arange(size), (0, size - 1)) for size in data.shape]
    ends = at_end[0][:, None, None].astype(int) + at_end[1][:, None] + at_end[2]
    if nan[ends >= 2].mean() < EDGES_OUTSIDE:
        return 0
    parts, _ = label(nan)
    outer = np.unique(parts[(ends >= 1) & nan])
    return int(np.count_nonzero(np.isin(parts, outer)))


def _check_range(low: float, high: float) -> None:
    """What 32-bit floats cannot tell apart, or cannot square, gives nonsense later."""
    largest = max(abs(low), abs(high))
    coarse = high - low < DISTINCT * float(np.spacing(np.float32(largest)))
    if coarse or high - low < RANGE[0] or largest > RANGE[1]:
        text = f"has values from {low:.9g} to {high:.9g}, which cannot be told apart or squared in 32 bits."
        raise Refused("value-range", text, "Its intensity scaling or a voxel is damaged; export the scan again.")


def _check_overflow(raw: np.ndarray) -> list[Problem]:
    """16-bit integers that ran over: brighter than 32767 became negative (wrapped around) or 32767 (cut off)."""
    if raw.max() < NEAR_LIMIT:
        return []
    hint = "Export it again with a wider data type, or with an intensity scaling."
    wrapped = int(np.count_nonzero((raw > -32768) & (raw < -NEAR_LIMIT)))  # -32768 alone is often padding
    if wrapped:
        text = f"has run over its 16 bits: {wrapped:,} voxels are below -{NEAR_LIMIT}, others at {raw.max()}."
        return [Problem(Level.WARNING, "overflow", text + " The brightest tissue reads as the darkest.", hint)]
    if np.count_nonzero(raw == 32767) > CUT_SHARE * raw.size:
        text = "is cut off at 32767, the largest 16-bit integer: the brightest tissue is flat."
        return [Problem(Level.WARNING, "overflow", text, hint)]
    return []


def _check_shades(data: np.ndarray) -> list[Problem]:
    """A handful of values is a mask or a drawing: searched as a scan, it would be found healthy."""
    values = data.ravel(order="K")
    if np.unique(values[:: values.size // SHADES_SAMPLE + 1]).size > FEWEST_SHADES:
        return []
    shades = np.unique(values)
    if shades.size > FEWEST_SHADES:
        return []
    listed = ", ".join(f"{shade:g}" for shade in shades)
    text = f"holds {shades.size} different values only ({listed}), as a mask does."
    return [Problem(Level.WARNING, "labels-as-scan", text, "Is it the scan?")]


def _check_hounsfield(data: np.ndarray, low: float, high: float) -> list[Problem]:
    """Whether the values are those of a CT: much air at -1000 (or -1024) Hounsfield units, and bone."""
    if low > AIR_HU[1] or high < BONE_HU:
        return []
    air = np.count_nonzero((data > AIR_HU[0]) & (data < AIR_HU[1])) / data.size
    if air < AIR_SHARE:
        return []
    text = f"looks like a CT: {air:.0%} of its voxels are at the -1000 of air, others reach {high:.0f} (bone)."
    return [Problem(Level.WARNING, "ct", text, "braincli reads MRI only; results on a CT mean nothing.")]
