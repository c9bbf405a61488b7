"""What is brain, and what each contrast shows of it."""

from __future__ import annotations

import numpy as np
import phantoms
import pytest
from scipy import ndimage

from braincli.errors import InputError
from braincli.imaging.brain import foreground
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.coverage import cover
from braincli.imaging.shading import shading
from braincli.imaging.slices import SliceSpec, from_volumes
from braincli.imaging.volume import Volume

SHAPE = (60, 70, 50)
X, Y, Z = np.indices(SHAPE)
GRID = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
BALL = (GRID**2).sum(0) < 0.6**2
FLAIR, T1 = Contrast.FLAIR, Contrast.T1


def scan(data: np.ndarray) -> Volume:
    """On a grid of 4 mm: the ball holds 1.5 l."""
    return Volume(data.astype(np.float32), phantoms.affine(spacing=(4, 4, 4)))


def tissue(seed: int = 0) -> np.ndarray:
    return np.where(BALL, np.random.default_rng(seed).normal(100, 5, SHAPE), 0)


def test_sound_scans_are_shown_whole_and_without_a_word() -> None:
    cover_ = cover({T1: scan(tissue()), FLAIR: scan(tissue(1))})
    assert np.array_equal(cover_.brain, BALL) and not cover_.hidden and not cover_.warnings


def test_an_empty_slice_parts_the_brain_and_is_named() -> None:
    data = tissue()
    data[:, :, 25] = 0
    result = cover({FLAIR: scan(data)})
    assert np.array_equal(result.brain, BALL & (Z != 25))
    assert "slice 25 is empty inside the brain (along the third axis" in result.warnings[0]


def test_small_islands_are_no_brain() -> None:
    data = tissue()
    data[1:4, 1:4, 1:4] = 90
    assert np.array_equal(cover({FLAIR: scan(data)}).brain, BALL)


@pytest.mark.parametrize("shift", [0.0, -3.0])
@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_a_cubic_background_is_background(kind: type, shift: float) -> None:
    data = ndimage.affine_transform(tissue(), np.eye(3), (0.4, 0.3, 0.5), order=3) + shift
    if kind is np.uint8:
        data = np.round(255 * (data - data.min()) / np.ptp(data))
    truth = ndimage.affine_transform(tissue(), np.eye(3), (0.4, 0.3, 0.5), order=1) > 20
    brain = foreground(scan(data.astype(kind)))
    assert abs(brain.sum() / truth.sum() - 1) < 0.05


def test_holes_of_a_given_mask_are_filled_and_said() -> None:
    holed = BALL & ~((X > 25) & (X < 32) & (Y > 30) & (Y < 38) & (Z > 20) & (Z < 28))
    result = cover({FLAIR: scan(tissue())}, scan(BALL).with_data(holed))
    ml = (BALL & ~holed).sum() * 0.064
    assert np.array_equal(result.brain, BALL) and f"holes of {ml:.1f} ml" in result.warnings[0]


@pytest.mark.parametrize(
    "cut",
    [Z < 22, (X < 22) | (X > 42), X + 0.5 * Y + 0.3 * Z < 50, (X < 30) & (Z < 25), (Z > 20) & (Z < 26), X == 30],
    ids=["below", "sides", "oblique", "corner", "slab", "slice"],
)
@pytest.mark.parametrize("fill", [0.0, 7.0])
def test_what_a_contrast_does_not_show_is_known(cut: np.ndarray, fill: float) -> None:
    data = np.where(cut, fill, tissue(1))
    result = cover({T1: scan(tissue()), FLAIR: scan(data)})
    if fill and cut.mean() < 0.1:  # a thin sheet of one value: nothing tells it from a saturated vessel
        return
    assert np.array_equal(result.brain, BALL) and set(result.hidden) == {FLAIR}
    wrong = result.hidden[FLAIR] ^ (cut & BALL)
    assert wrong.sum() < 0.02 * BALL.sum()
    assert "FLAIR shows" in result.warnings[-1]


def test_dark_tissue_and_thinner_rims_are_shown() -> None:
    ventricle = ((GRID - np.array([0.1, 0, 0])[:, None, None, None]) ** 2).sum(0) < 0.2**2
    eroded = ndimage.binary_erosion(BALL)
    fissure = (abs(X - 30) < 1) & (Z > 30)
    result = cover({T1: scan(tissue()), FLAIR: scan(np.where(eroded & ~ventricle & ~fissure, tissue(1), 0))})
    assert not result.hidden


def test_implausible_sizes_are_said_and_absurd_ones_refused() -> None:
    data = np.where((GRID**2).sum(0) < 0.4**2, tissue(), 0)
    assert "the brain holds" in cover({FLAIR: scan(data)}).warnings[0]
    large = scan(np.where((GRID**2).sum(0) < 0.95, 50 + GRID[0], 0))
    with pytest.raises(InputError, match=r"holds \d{4} ml, an adult's brain 850 to 2000 ml"):
        cover({FLAIR: large})
    assert "the brain holds" in cover({FLAIR: large}, large.with_data(large.data > 0)).warnings[0]


def test_slices_hold_what_is_shown_normalised_by_it_alone() -> None:
    cut = Z < 25
    whole, half = scan(tissue(1)), scan(np.where(cut, 0, tissue(1)))
    spec = SliceSpec(pixel_mm=4.0, size=(48, 40))
    a, b = (from_volumes({T1: scan(tissue()), FLAIR: image}, spec) for image in (whole, half))
    channel = CONTRASTS.index(FLAIR)
    assert a.shown is None and b.shown is not None and np.array_equal(a.brain, b.brain)
    assert np.array_equal(a.image[:, 0], b.image[:, 0])
    assert not b.image[b.index < 25, channel].any() and not b.shown[b.index < 25, channel].any()
    above = b.index >= 25
    assert b.shown[above, channel].sum() == b.brain[above].sum()
    assert np.abs(a.image - b.image)[above, channel].max() < 0.1, "the zeros below do not stretch the range"


def test_shading_is_told_from_tissue() -> None:
    data = tissue()
    assert shading(scan(data), BALL) is None
    factor = shading(scan(data * np.exp(1.5 * GRID[0])), BALL)
    assert factor is not None and factor > 1.8
    assert "brightens by a factor of" in cover({FLAIR: scan(data * np.exp(1.5 * GRID[0]))}).warnings[-1]
    assert shading(scan(data - 100), BALL) is None, "z-scores have no field that multiplies"
