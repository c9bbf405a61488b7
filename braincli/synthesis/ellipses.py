"""One image of the synthetic data set of DeScarGAN (Wolleb et al. 2020, supplement, Table 1): two ellipses on waves.

A small and a large ellipse are drawn as bright contours on the sum of two systems of concentric waves. The diseased
version is the healthy one warped around the small ellipse: it shrinks, and the waves around it bend, as tissue does
around a scar. What the text leaves open is the published code's: its grid of [-1, 1], that the warp is minus the
gradient of the Gaussian with a largest displacement of 0.1, the blur before it, contours of whole pixels, and that
ellipses lie in the image with their centres 120 pixels apart (so far that they cannot meet). Unlike there, both
versions are stored in the same units: a range of intensities that tells the class would leave nothing to learn.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SIDE = 256  # pixels
APART = 120.0  # pixels between the centres
SIGMA = 0.19  # of the deformation, in halves of the image
LARGEST = 0.1  # displacement, in halves of the image
THRESHOLD = 0.326  # of |healthy - diseased|, where the reference mask begins: the mean of Otsu's over many images
SMALL, LARGE = (40.0, 20.0), (70.0, 35.0)  # mean half axes


@dataclass(frozen=True)
class Ellipse:
    """A contour: centre (row, column), half axes in pixels, rotation in radians, thickness in whole pixels."""

    centre: tuple[float, float]
    axes: tuple[float, float]
    angle: float
    thickness: int

    @property
    def reach(self) -> tuple[float, float]:
        """How far it extends from its centre along rows and columns."""
        (a, b), c, s = self.axes, np.cos(self.angle), np.sin(self.angle)
        return float(np.hypot(a * c, b * s)), float(np.hypot(a * s, b * c))

    @property
    def fits(self) -> bool:
        """Whether it lies in the image."""
        return all(r <= m <= SIDE - 1 - r for m, r in zip(self.centre, self.reach, strict=True))

    def contour(self) -> np.ndarray:
        """(SIDE, SIDE) bool."""
        return _within(self, 0.0) & ~_within(self, float(self.thickness))


@dataclass(frozen=True)
class Waves:
    """``height * sin(frequency * distance from the centre)``."""

    centre: tuple[float, float]
    height: float
    frequency: float

    def image(self) -> np.ndarray:
        """(SIDE, SIDE) float64."""
        return self.height * np.sin(self.frequency * np.hypot(*_offsets(self.centre)))


@dataclass(frozen=True)
class Drawing:
    """What an image shows."""

    small: Ellipse
    large: Ellipse
    waves: tuple[Waves, Waves]

    def healthy(self) -> np.ndarray:
        """(SIDE, SIDE) float32, contours at 1, waves between -0.8 and 0.8."""
        from scipy.ndimage import correlate1d

        image = self.waves[0].image() + self.waves[1].image()
        image[self.small.contour() | self.large.contour()] = 1.0
        blur = np.exp(-np.array([1.0, 0.0, 1.0]) / (2 * 2.0**2))  # 3 x 3 pixels, of a Gaussian with deviation 2
        for axis in (0, 1):
            image = correlate1d(image, blur / blur.sum(), axis=axis, mode="nearest")
        return image.astype(np.float32)

    def diseased(self) -> np.ndarray:
        """(SIDE, SIDE) float32: :meth:`healthy`, warped around the small ellipse; what comes from outside is 0."""
        from scipy.ndimage import map_coordinates

        offsets = np.stack(_offsets(self.small.centre))
        away = offsets * np.exp(-(offsets**2).sum(axis=0) / (2 * (SIGMA * SIDE / 2) ** 2))  # minus the gradient
        source = np.indices((SIDE, SIDE)) + away / np.abs(away).max() * LARGEST * SIDE / 2
        return np.asarray(map_coordinates(self.healthy(), source, order=1, mode="constant"), np.float32)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able parameters."""
        return asdict(self)


def draw(generator: np.random.Generator) -> Drawing:
    """A random drawing: of those whose ellipses lie in the image and far enough apart."""
    while True:
        small, large = _ellipse(SMALL, generator), _ellipse(LARGE, generator)
        apart = np.hypot(*np.subtract(small.centre, large.centre))
        if apart > APART and small.fits and large.fits:
            free = Waves(_centre(generator), generator.uniform(0.2, 0.4), generator.uniform(0.2, 0.35))
            around = Waves(large.centre, generator.uniform(0.2, 0.4), generator.uniform(0.35, 0.5))
            return Drawing(small, large, (free, around))


def _ellipse(axes: tuple[float, float], generator: np.random.Generator) -> Ellipse:
    a, b = generator.normal(axes, 1.0)
    thickness = max(1, round(generator.normal(5.0, 0.7)))
    return Ellipse(_centre(generator), (float(a), float(b)), generator.uniform(0, 2 * np.pi), thickness)


def _centre(generator: np.random.Generator) -> tuple[float, float]:
    row, column = generator.uniform(50, 200, 2)
    return float(row), float(column)


def _offsets(centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.indices((SIDE, SIDE), dtype=np.float64)
    return rows - centre[0], columns - centre[1]


def _within(ellipse: Ellipse, inwards: float) -> np.ndarray:
    """(SIDE, SIDE) bool: inside ``ellipse`` with both half axes ``inwards`` pixels shorter."""
    rows, columns = _offsets(ellipse.centre)
    c, s = np.cos(ellipse.angle), np.sin(ellipse.angle)
    along, across = c * rows + s * columns, c * columns - s * rows
    a, b = (axis - inwards for axis in ellipse.axes)
    return np.asarray((along / a) ** 2 + (across / b) ** 2 <= 1)
