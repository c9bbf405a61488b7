"""The volumes of a case as a page holds them: cut to the brain, at the resolution of a screen, a byte per voxel."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from braincli.imaging.volume import view_along
from braincli.reporting.figures import NAMES, Shown
from braincli.runtime.side_by_side import mapped

MOST_VOXELS = 1_200_000  # of a layer: 1.4 to 1.5 mm for an adult's brain
GZIP_LEVEL = 2  # of isal: as small as zlib's 4, many times faster


@dataclass(frozen=True)
class Layer:
    """One volume of the page.

    Attributes:
        kind: ``scan``, ``restored``, ``anomaly``, ``mask`` or ``reference``.
        name: of the contrast, or what it is.
        data: (X, Y, Z) uint8 in RAS. Scans and restorations: 0..255 from black to white; the anomaly map: 0..255 from
            0 to the top of its colours; masks: 0 and 1.
    """

    kind: str
    name: str
    data: np.ndarray

    def packed(self) -> str:
        """The bytes, x running fastest, gzipped, as base64."""
        from isal import igzip

        raw = self.data.tobytes(order="F")
        return base64.b64encode(igzip.compress(raw, GZIP_LEVEL, mtime=0)).decode()


class _Around(NamedTuple):
    """Places along an axis: the voxels (n,) around each, and how far (n,) from the near to the far one it lies."""

    near: np.ndarray
    far: np.ndarray
    share: np.ndarray


def _between(near: np.ndarray, far: np.ndarray, share: np.ndarray) -> np.ndarray:
    """float32 values ``share`` of the way from ``near`` to ``far``."""
    values: np.ndarray = near * (1 - share)
    values += far * share
    return values


@dataclass(frozen=True)
class Screen:
    """The grid of all layers: the box of the brain, with voxels as large as :data:`MOST_VOXELS` asks for."""

    shown: Shown

    @cached_property
    def pitch(self) -> tuple[float, float, float]:
        """Size of a voxel in mm: the finest axes are coarsened first, none is made finer."""
        spacing = np.array(self.shown.grid.spacing)
        extent = spacing * [part.stop - part.start for part in self.shown.box]

        def coarsened(least: float) -> np.ndarray:
            return np.maximum(spacing, least)

        def count(least: float) -> float:
            return float(np.prod(np.ceil(extent / coarsened(least))))

        low, high = 0.0, float(extent.max())
        for _ in range(40):  # bisection: the count falls as voxels grow
            middle = (low + high) / 2
            low, high = (low, middle) if count(middle) <= MOST_VOXELS else (middle, high)
        if count(0) <= MOST_VOXELS:
            high = 0.0
        x, y, z = (float(mm) for mm in coarsened(high))
        return x, y, z

    @cached_property
    def _axes(self) -> list[np.ndarray]:
        """Positions of the voxels' centres along each axis of the box, in voxels of the scan."""
        axes = []
        for part, own, pitch in zip(self.shown.box, self.shown.grid.spacing, self.pitch, strict=True):
            count = max(1, int(np.ceil((part.stop - part.start) * own / pitch)))
            axes.append(((np.arange(count) + 0.5) * pitch / own - 0.5).clip(0, part.stop - part.start - 1))
        return axes

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) voxel of a layer -> RAS mm."""
        corner = [part.start + axis[0] for part, axis in zip(self.shown.box, self._axes, strict=True)]
        affine = self.shown.grid.affine.copy()
        affine[:3, 3] = affine[:3, :3] @ corner + affine[:3, 3]
        affine[:3, :3] *= np.array(self.pitch) / self.shown.grid.spacing
        return affine

    @property
    def middle(self) -> tuple[float, float, float]:
        """The middle of the box in mm."""
        x, y, z = (self.affine @ [*((len(axis) - 1) / 2 for axis in self._axes), 1])[:3]
        return float(x), float(y), float(z)

    def linear(self, data: np.ndarray, low: float, high: float) -> np.ndarray:
        """``data`` (X, Y, Z) of the scan's grid, interpolated; 0 and 255 where it is ``low`` and ``high``."""
        values = data[self.shown.box].T  # whole planes: x runs fastest in files
        across, down, deep = self._around
        columns = np.zeros((values.shape[2], len(across.near)), np.float32)  # what each place takes of each voxel
        columns[across.near, range(columns.shape[1])] = 1 - across.share
        columns[across.far, range(columns.shape[1])] += across.share
        layer = np.empty((len(deep.near), len(down.near), len(across.near)), np.float32)
        for out, near, far, share in zip(layer, deep.near, deep.far, deep.share, strict=True):
            plane = _between(values[near], values[far], share) if share else values[near].astype(np.float32)
            np.matmul(_between(plane[down.near], plane[down.far], down.share[:, None]), columns, out=out)
        layer -= np.float32(low)
        layer *= np.float32(255 / (high - low))
        np.rint(layer.clip(0, 255, out=layer), out=layer)
        return layer.astype(np.uint8).T

    @cached_property
    def _around(self) -> list[_Around]:
        """What the places along each axis lie between."""
        found = []
        for part, places in zip(self.shown.box, self._axes, strict=True):
            near = places.astype(int)
            far = np.minimum(near + 1, part.stop - part.start - 1)
            found.append(_Around(near, far, (places - near).astype(np.float32)))
        return found

    def nearest(self, data: np.ndarray) -> np.ndarray:
        """``data`` (X, Y, Z) bool of the scan's grid, as 0 and 1; x runs fastest, as in all layers."""
        places = [np.rint(axis).astype(int) for axis in self._axes]
        return data[self.shown.box].T[np.ix_(*reversed(places))].astype(np.uint8).T

    def layers(self, threads: int | None = 1) -> Iterator[Layer]:
        """All that the case has: scans with their restorations, anomaly map, mask, reference.

        Args:
            threads: see :func:`braincli.runtime.side_by_side.mapped`.
        """
        shown, inside = self.shown, self.nearest(self.shown.inside).astype(bool)

        def interpolated(given: tuple[str, str, np.ndarray, tuple[float, float]]) -> Layer:
            kind, name, data, window = given
            return Layer(kind, name, self.linear(data, *window) * inside)

        yield from mapped(interpolated, self._interpolated(), threads)
        yield Layer("mask", "mask", self.nearest(shown.marked))
        if shown.known is not None:
            yield Layer("reference", "reference", self.nearest(shown.known))

    def _interpolated(self) -> Iterator[tuple[str, str, np.ndarray, tuple[float, float]]]:
        """Kind, name, voxels and window of the layers that are not masks."""
        shown = self.shown
        for contrast, (data, window) in shown.scans.items():
            yield "scan", NAMES[contrast], data, window
            if contrast in shown.restored:
                yield "restored", NAMES[contrast], view_along(shown.restored[contrast]).data, (0, 1)
        if shown.score is not None:
            yield "anomaly", "anomaly map", shown.score, (0, shown.top)
