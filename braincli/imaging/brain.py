"""Where the brain is in a skull-stripped scan, and whether a scan is skull-stripped at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from braincli.errors import InputError
from braincli.imaging.box import as_stored, bounding_box, percentiles, values_in
from braincli.imaging.cases import Contrast
from braincli.imaging.volume import Volume
from braincli.runtime.side_by_side import mapped

HEAD_ML = 2000.0
NOISE_SHARE = 2e-3
CONSTANT = 1e-3  # of the intensity range: values this close to the background are background
SHELL_SHARE = 0.3
RAYS, RAY_MM = 400, 1.5  # directions that are looked into, and the step along them
BELOW_TOP_MM = 75.0  # where they begin
DIP, DIP_DEEPEST = 0.3, 16  # brightness of bone relative to what lies around it, and steps within which it lies
COARSE_MM = 3.0  # grid on which heads are told from brains
PIECE = 0.1  # of the largest part: what is smaller is noise, not a piece of head or brain
SAMPLE = 1_000_003  # voxels that suffice to find the most frequent value
FREQUENT = 0.02  # share of the voxels that a background value has at least
CLEAR = 0.05  # of the intensities: what differs from a background of tiny values by more is no background
MUCH = 1.1  # brains without a tolerance are at most 1.02 times as large as those with it (100 stripped scans)
ONE_SIDED = 0.98  # share of the clear voxels on one side of the background, where it lies below or above all tissue
AMONG_MM = 3.0  # tissue that has the background's value lies no farther from other tissue
FILLING, FILLING_MM = 0.1, 5.0  # share of the brain and half thickness of what one value fills


class SkullEvidence(NamedTuple):
    """What :func:`has_skull` decides on.

    Attributes:
        object_ml: volume of what is bright, holes filled.
        air_noise: share of the air that is noisy (0..1).
        shell: share of the directions (0..1) in which a dark layer (bone) lies below a bright one (scalp) and above
            bright tissue.
    """

    object_ml: float
    air_noise: float
    shell: float

    @property
    def noisy(self) -> bool:
        """Whether the air was left as the scanner made it; a resampled or cut brain can have noise at its rim, too."""
        return self.air_noise > NOISE_SHARE

    @property
    def head(self) -> bool:
        """Whether it is as large as a head or has a scalp."""
        return self.object_ml > HEAD_ML or self.shell > SHELL_SHARE

    def __str__(self) -> str:
        return f"{self.object_ml:.0f} ml, {self.air_noise:.1%} noise in the air, {self.shell:.0%} scalp over bone"


class Verdict(NamedTuple):
    """Whether the scans of a case show the skull, and the evidence by contrast."""

    skull: bool
    evidence: dict[Contrast, SkullEvidence]

    def __str__(self) -> str:
        return "; ".join(f"{contrast.upper()}: {evidence}" for contrast, evidence in self.evidence.items())


def background_value(data: np.ndarray) -> float:
    """The most frequent value of (X, Y, Z): the background of a skull-stripped scan, z-scored or not.

    Where no value is frequent (noise everywhere) it is the smallest.
    """
    values = data.ravel(order="K")
    kinds, counts = np.unique(values[:: values.size // SAMPLE + 1], return_counts=True)
    return float(kinds[counts.argmax()] if counts.max() >= FREQUENT * counts.sum() else kinds[0])


def foreground(volume: Volume) -> np.ndarray:
    """The brain of a skull-stripped scan.

    Voxels that differ from the background value (the most frequent one: 0, or what z-scoring made of it): all connected
    parts of more than 1 % of the largest, holes filled. Where tiny values lie all over the background (a cubic spline
    leaves them), voxels that differ by 5 % of the intensities. What is filled up with one other value is no brain.

    Returns:
        (X, Y, Z) bool; nothing is true where all voxels are equal.
    """
    return foregrounds([volume])[0]


def foregrounds(volumes: Iterable[Volume], threads: int | None = 1) -> list[np.ndarray]:
    """:func:`foreground` of each scan on one grid.

    Scans that were stripped with one mask, as most are, differ from their background in the same voxels: what takes
    longest is then done once, and theirs are one array.

    Args:
        threads: see :func:`braincli.runtime.side_by_side.mapped`.
    """
    outlines = mapped(_outline, volumes, threads)
    distinct: list[_Outline] = []
    like = []  # for each outline, which of the distinct ones
    for one in outlines:
        same = next((k for k, other in enumerate(distinct) if np.array_equal(one.differs, other.differs)), None)
        distinct += [one] if same is None else []
        like.append(len(distinct) - 1 if same is None else same)
    solids = mapped(lambda one: parts(one.differs), distinct, threads)
    given = zip(outlines, (solids[k] for k in like), strict=True)
    return mapped(lambda pair: _without_filling(pair[0].volume, _tolerant(*pair)), given, threads)


class _Outline(NamedTuple):
    """What :func:`foregrounds` looks at: where a scan differs from its background, and see :func:`_clear`."""

    volume: Volume
    differs: np.ndarray
    clear: np.ndarray | None
    near: float


def _outline(volume: Volume) -> _Outline:
    background = background_value(volume.data)
    differs = volume.data != background
    return _Outline(volume, differs, *_clear(volume.data, background, differs))


def _tolerant(one: _Outline, solid: np.ndarray) -> np.ndarray:
    """``solid``, or the parts of what clearly differs from the background where that is much less."""
    if one.clear is None:
        return solid
    tolerant = parts(one.clear)
    return tolerant if _goes_beyond(solid, tolerant, one.near, one.volume.spacing) else solid


def _goes_beyond(solid: np.ndarray, tolerant: np.ndarray, near: float, spacing: tuple[float, float, float]) -> bool:
    """Whether more than a tenth of ``tolerant`` lies in ``solid`` and farther than ``near`` (mm) from ``tolerant``."""
    from scipy import ndimage

    if np.count_nonzero(solid) <= MUCH * np.count_nonzero(tolerant):
        return False
    if not near:
        return True
    far = solid & (ndimage.distance_transform_edt(~tolerant, sampling=spacing) > near)
    return bool(np.count_nonzero(far) > (MUCH - 1) * np.count_nonzero(tolerant))


def _clear(data: np.ndarray, background: float, differs: np.ndarray) -> tuple[np.ndarray | None, float]:
    """What differs from the background by more than 5 % of the intensities, on the brain's side of it if it has one.

    Ringing lies on both sides. None where that is nearly all of what ``differs`` from the background at all. Then, how
    near to it (mm) brain may lie that is not clear: where z-scoring made the background a value of tissue.
    """
    sampled = np.abs(data.ravel(order="K")[:: data.size // SAMPLE + 1] - background)
    (top,) = percentiles(sampled, (99.5,))
    difference = values_in(data, differs) - background
    side = _side(difference, top)

    def is_clear(difference: np.ndarray) -> np.ndarray:
        signed = side * difference if side else np.abs(difference)
        return signed > CLEAR * top

    if difference.size <= MUCH * np.count_nonzero(is_clear(difference)):
        return None, 0.0
    return is_clear(data - background), 0.0 if side else AMONG_MM


def _side(difference: np.ndarray, top: float) -> int:
    """Whether tissue is brighter (1) or darker (-1) than the background, or both (0: z-scored inside the brain).

    Args:
        difference: intensities minus the background's, of what is none.
        top: large for such a difference.
    """
    above, below = np.count_nonzero(difference > 0.2 * top), np.count_nonzero(difference < -0.2 * top)
    brighter = above / (above + below) if top and above + below else 0.5
    return 1 if brighter > ONE_SIDED else -1 if brighter < 1 - ONE_SIDED else 0


def _without_filling(volume: Volume, solid: np.ndarray) -> np.ndarray:
    """``solid`` without blocks of one value that reach the image's border: a field of view that was filled up."""
    from scipy import ndimage

    values = values_in(volume.data, solid)
    values = values[:: values.size // SAMPLE + 1]
    if not values.size:
        return solid
    kinds, counts = np.unique(values, return_counts=True)
    if counts.max() < FILLING * values.size:
        return solid
    flat = solid & (volume.data == kinds[counts.argmax()])
    core = ndimage.distance_transform_edt(flat, sampling=volume.spacing) > FILLING_MM
    if not core.any():
        return solid
    reach = FILLING_MM + max(volume.spacing)
    filling = flat & (ndimage.distance_transform_edt(~core, sampling=volume.spacing) <= reach)
    if not _at_border(filling) or not (rest := solid & ~filling).any():
        return solid
    return parts(rest)


def _at_border(mask: np.ndarray) -> bool:
    return any(mask.take((0, -1), axis=axis).any() for axis in range(3))


def parts(mask: np.ndarray, least: float = 0.01) -> np.ndarray:
    """Components of ``mask`` (6-neighbourhood) above ``least`` of the largest, with their holes filled."""
    from scipy import ndimage

    solid = np.zeros_like(mask)
    whole, target = as_stored(mask, solid)
    box = bounding_box(whole)
    kept = whole[box]
    labels, count = ndimage.label(kept)
    if count > 1:
        sizes = np.bincount(labels[kept])
        large = sizes >= least * sizes.max()
        large[0] = False
        kept = labels == large.argmax() if np.count_nonzero(large) == 1 else large[labels]
    target[box] = _filled(kept)
    return solid


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """``mask`` (bool) with what it encloses (6-neighbourhood): ndimage's binary_fill_holes, in a tenth of its time."""
    solid = np.zeros_like(mask)
    whole, target = as_stored(mask, solid)
    box = bounding_box(whole)
    target[box] = _filled(whole[box])
    return solid


def _filled(mask: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    outside, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    filled: np.ndarray = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return filled


def shows_skull(images: Mapping[Contrast, Volume], threads: int | None = 1) -> Verdict:
    """Whether the scans of one case still show the head: what most of them say, and heads where they are at odds.

    One scan with noise at its rim does not make a head of a case whose other scans are clean.

    Args:
        threads: see :func:`braincli.runtime.side_by_side.mapped`.
    """
    evidence = dict(zip(images, mapped(skull_evidence, images.values(), threads), strict=True))
    votes = sum(e.head or e.noisy for e in evidence.values())
    undecided = 2 * votes == len(evidence)
    return Verdict(2 * votes > len(evidence) or (undecided and any(e.head for e in evidence.values())), evidence)


def refuse_head(case_id: str, images: Mapping[Contrast, Volume]) -> None:
    """Raise where the scans of a case are to show the brain only, and show the head.

    Raises:
        InputError: they do.
    """
    if (verdict := shows_skull(images)).skull:
        raise InputError(
            f"{case_id} still shows the head ({verdict}).",
            "Prepare it first (braincli preprocess); where there is no skull, say --already-stripped.",
        )


def has_skull(volume: Volume) -> bool:
    """Whether ``volume`` (an image, not a mask) still shows the head around the brain; see :func:`shows_skull`.

    True if the air is noisy (more than 0.2 % of the voxels over 10 mm away from the object differ from the
    background), if the object, holes filled, is larger than a brain (2000 ml), or if in 30 % of the directions to
    the sides a dark layer lies below the surface. The first sees scans as they left the scanner, the second those whose
    air was set to zero, and scans that are cropped to the head, the last small heads without air.

    Measured on 138 skull-stripped scans (T1, T1ce, T2, FLAIR; BraTS 2013 to 2023, MNI, native, z-scored):
    noise at most 0.013 %, object 1084 to 1660 ml, shell at most 25 %. On 58 scans with skull (52 people, slices of 2 to
    5.5 mm): noise 0.7 % to 88 %, object 2474 to 5578 ml, shell 42 % or more; of the same heads at 85 to 95 % of their
    size and without air, shell 33 % or more. Not made for infants.
    """
    evidence = skull_evidence(volume)
    return evidence.noisy or evidence.head


def skull_evidence(volume: Volume) -> SkullEvidence:
    """Measure what :func:`has_skull` decides on; volume and noise on a grid of about 3 mm (every n-th voxel)."""
    from scipy import ndimage

    steps = [max(1, round(COARSE_MM / size)) for size in volume.spacing]
    coarse = tuple(slice(min(step, n) // 2, None, step) for step, n in zip(steps, volume.shape, strict=True))
    data = volume.data[coarse].astype(np.float32)
    voxel_ml = volume.voxel_ml * float(np.prod(steps))
    low, high = np.percentile(data, [0.1, 99.9])
    background = background_value(data)
    if (lowest := _lowest(data, background)) is not None:
        data, background = _above(data, background, lowest), 0.0
        volume = volume.with_data(_above(volume.data, float(background_value(volume.data)), lowest))
    differs = np.abs(data - background) > CONSTANT * (high - low)
    bright = differs & (np.abs(data - background) > 0.5 * _otsu(np.abs(data - background)))
    # an empty slice parts a brain in two; bone, open to the air where the field of view ends, closes in slices
    bright = _fill_slices(parts(bright, least=PIECE))
    sizes = [size * step for size, step in zip(volume.spacing, steps, strict=True)]
    air = ndimage.distance_transform_edt(~bright, sampling=sizes) > 10.0
    noise = float(differs[air].mean()) if air.mean() > 0.01 else 0.0
    shell = _shell(volume, bright, np.array(steps), background) if bright.any() else 0.0
    return SkullEvidence(float(bright.sum()) * voxel_ml, noise, shell)


def _lowest(data: np.ndarray, background: float) -> float | None:
    """The darkest tissue where it is darker than the background, and other tissue brighter; else None."""
    others = data[data != background]
    if not others.size:
        return None
    top = float(np.percentile(np.abs(data - background), 99.5))
    return None if _side(others - background, top) else float(np.percentile(others, 0.1))


def _above(data: np.ndarray, background: float, lowest: float) -> np.ndarray:
    """``data`` with the background at 0 and all else above it, as before it was z-scored inside the brain."""
    shifted: np.ndarray = np.where(data == background, 0, np.maximum(data - lowest, 0)).astype(np.float32)
    return shifted


def _shell(volume: Volume, bright: np.ndarray, steps: np.ndarray, background: float) -> float:
    """Share of RAYS directions to the sides in which the profile from the surface inwards is bright, dark, bright.

    Args:
        bright: the object on the grid of every ``steps``-th voxel.
    """
    from scipy.ndimage import map_coordinates

    inside = np.argwhere(bright)[:: bright.sum() // 20_000 + 1] * steps + steps // 2
    places = inside @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    top, bottom = places[:, 2].max(), places[:, 2].min()
    centre = np.median(places[places[:, 2] > top - 1.5 * BELOW_TOP_MM], axis=0)
    centre[2] = top - min(BELOW_TOP_MM, (top - bottom) / 2)
    along = np.arange(0, 150, RAY_MM)
    voxels = (centre + _directions()[:, None] * along[:, None] - volume.affine[:3, 3]) @ np.linalg.inv(
        volume.affine[:3, :3]
    ).T
    within = map_coordinates(bright, ((voxels - steps // 2) / steps).reshape(-1, 3).T, order=0).reshape(RAYS, -1)
    values = np.abs(map_coordinates(volume.data, voxels.reshape(-1, 3).T, order=1, cval=background) - background)
    surface = len(along) - 1 - within[:, ::-1].argmax(axis=1)
    index = surface[:, None] - np.arange(len(along))
    depth = np.where(index >= 0, np.take_along_axis(values.reshape(RAYS, -1), np.maximum(index, 0), axis=1), np.nan)
    dip = np.full(RAYS, np.inf)
    for at in range(1, DIP_DEEPEST):
        tissue = np.sort(depth[:, at + 1 : at + 1 + DIP_DEEPEST], axis=1)[:, DIP_DEEPEST // 2]  # median, NaN if short
        around = np.minimum(depth[:, :at].max(axis=1), tissue)
        dip = np.fmin(dip, np.divide(depth[:, at], around, out=np.full(RAYS, np.inf), where=around > 0))
    return float((within.any(axis=1) & (dip < DIP)).mean())


def _directions() -> np.ndarray:
    """(RAYS, 3) unit vectors, evenly spread over the sides of the head: a little below level to 30 degrees above."""
    turn = np.pi * (1 + 5**0.5) * np.arange(RAYS)
    height = np.linspace(-0.1, 0.5, RAYS)
    flat = np.sqrt(1 - height**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1)


def _otsu(values: np.ndarray) -> float:
    """Otsu's threshold (IEEE Trans SMC 1979, 9:62) of values >= 0; 256 bins up to the 99.5th percentile."""
    top = float(np.percentile(values, 99.5)) or 1.0
    counts, edges = np.histogram(np.minimum(values, top), bins=256, range=(0.0, top))
    centres = (edges[1:] + edges[:-1]) / 2
    below, mass = counts.cumsum(), (counts * centres).cumsum()
    above = below[-1] - below
    between = (mass[-1] * below / below[-1] - mass) ** 2 / np.maximum(below * above, 1)
    return float(centres[between.argmax()])


def _fill_slices(mask: np.ndarray) -> np.ndarray:
    """``mask`` with the holes of its slices along each of the three axes filled."""
    from scipy import ndimage

    in_plane = ndimage.generate_binary_structure(3, 1)
    in_plane[[0, 2]] = False
    filled = mask
    for axis in range(3):
        slices = np.pad(~np.moveaxis(filled, axis, 0), ((0, 0), (1, 1), (1, 1)), constant_values=True)
        labels, count = ndimage.label(slices, in_plane)
        outside = np.zeros(count + 1, dtype=bool)
        outside[labels[:, 0, 0]] = True
        filled = np.moveaxis(~outside[labels][:, 1:-1, 1:-1], 0, axis)
    return filled
