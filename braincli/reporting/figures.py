"""The picture of a case: inputs, restorations, anomaly map and mask on the slices that tell most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braincli.imaging.box import percentiles, values_in
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.volume import Volume, view_along
from braincli.reporting.board import LIGHT, Bar, Plane, Row, Words, paint, save
from braincli.reporting.planes import Box, View, brain_box, pick_views, upright
from braincli.runtime import files

if TYPE_CHECKING:
    from PIL.Image import Image

NAMES = {Contrast.T1: "T1", Contrast.T1CE: "T1ce", Contrast.T2: "T2", Contrast.FLAIR: "FLAIR"}
SHOWN_BEST_ON = (Contrast.FLAIR, Contrast.T2, Contrast.T1CE, Contrast.T1)
MASK, REFERENCE = "#ff5a4f", "#45d3c4"
THUMBNAIL = 128  # pixels at most
ENOUGH = 2_000_000  # voxels, above which every second one is looked at for a window


@dataclass(frozen=True)
class Shown:
    """What pictures of a case are made of; all volumes lie on one grid.

    Attributes:
        images: skull-stripped inputs, shown from their 1st to 99th percentile.
        mask: bool.
        brain: (X, Y, Z) bool; by default where any image is not 0.
        restored: in [0, 1], 0 and 1 being those percentiles.
        anomaly: anomaly map, >= 0.
        threshold: of the anomaly map.
        lesions: int, the number of the lesion that each voxel of the mask is in.
        reference: known mask, drawn in a second colour.
        title: first words of the heading.
    """

    images: Mapping[Contrast, Volume]
    mask: Volume
    brain: np.ndarray | None = None
    restored: Mapping[Contrast, Volume] = field(default_factory=dict)
    anomaly: Volume | None = None
    threshold: float | None = None
    lesions: Volume | None = None
    reference: Volume | None = None
    title: str = ""

    @cached_property
    def grid(self) -> Volume:
        """The mask in RAS order, as all arrays below."""
        return view_along(self.mask)

    @cached_property
    def inside(self) -> np.ndarray:
        """(X, Y, Z) bool: the brain."""
        if self.brain is not None:
            return view_along(self.mask.with_data(self.brain)).data
        return np.logical_or.reduce([view_along(image).data != 0 for image in self.images.values()])

    @cached_property
    def box(self) -> Box:
        """What is shown of the grid."""
        return brain_box(self.inside, self.grid.spacing)

    @cached_property
    def marked(self) -> np.ndarray:
        """(X, Y, Z) bool: the mask."""
        return self.grid.data > 0

    @cached_property
    def known(self) -> np.ndarray | None:
        """(X, Y, Z) bool: the reference."""
        return None if self.reference is None else view_along(self.reference).data > 0

    @cached_property
    def score(self) -> np.ndarray | None:
        """(X, Y, Z) >= 0: the anomaly map."""
        return None if self.anomaly is None else view_along(self.anomaly).data

    @cached_property
    def top(self) -> float:
        """The value at which the colours of the anomaly map end."""
        return 1.0 if self.score is None else colour_top(self.score, self.threshold)

    @cached_property
    def scans(self) -> dict[Contrast, tuple[np.ndarray, tuple[float, float]]]:
        """The images (X, Y, Z), and what is black and white in each."""
        arrays = {c: view_along(self.images[c]).data for c in CONTRASTS if c in self.images}
        return {contrast: (data, window_of(data, self.inside)) for contrast, data in arrays.items()}

    @cached_property
    def base(self) -> Contrast:
        """The contrast that a mask is drawn on."""
        return next(contrast for contrast in SHOWN_BEST_ON if contrast in self.images)


@dataclass(frozen=True)
class _Panel:
    title: str
    data: np.ndarray  # (X, Y, Z) in RAS
    window: tuple[float, float]
    colours: str = "gray"
    outlined: bool = False
    blank: bool = False  # what lies outside the brain is as dark as the window goes


def draw_case(shown: Shown, *, count: int = 3) -> Image:
    """Draw a case: inputs beside their restorations, anomaly map with its colours, numbered mask; a row per slice.

    Rows are what :func:`braincli.reporting.planes.pick_views` chooses, in true proportions. The same content gives the
    same pixels.

    Args:
        count: axial slices with mask at most.
    """
    outlines = [(shown.marked, MASK)] + ([] if shown.known is None else [(shown.known, REFERENCE)])
    numbers = None if shown.lesions is None else view_along(shown.lesions).data
    panels, grid = _panels(shown), shown.grid
    rows = []
    for view in pick_views(shown.marked, grid.spacing, known=shown.known, score=shown.score, count=count):
        planes = [_plane(panel, view, shown, outlines, numbers) for panel in panels]
        rows.append(Row(view.words(grid), planes, view.aspect(grid.spacing), view.ends))
    notes = [] if shown.known is None else [(f"reference {shown.known.sum() * grid.voxel_ml:.1f} ml", REFERENCE)]
    notes.append((f"mask {shown.marked.sum() * grid.voxel_ml:.1f} ml", MASK))
    bar = None if shown.score is None else Bar("anomaly map", shown.top, shown.threshold)
    return paint(rows, Words(shown.title, tuple(notes)), bar)


def restoration_figure(path: Path, shown: Shown, *, count: int = 3, overwrite: bool = False) -> None:
    """Write :func:`draw_case` as PNG.

    Raises:
        UsageError: ``path`` exists and ``overwrite`` is false.
        ResourceError: the disk is full or the folder cannot be written.
    """
    files.refuse_overwrite(path, overwrite=overwrite)
    save(draw_case(shown, count=count), path)


def thumbnail(shown: Shown) -> Image:
    """The slice with most mask, its outline drawn, at most 128 pixels wide and high."""
    from PIL import Image

    spacing = shown.grid.spacing
    view = pick_views(shown.marked, spacing, known=shown.known, score=shown.score, count=1)[0]
    plane = _plane(_outlined(shown), view, shown, [(shown.marked, MASK)])
    low, high = plane.window
    grey = 255 * upright((plane.data - low) / (high - low)).clip(0, 1)
    colour = [int(MASK[digit : digit + 2], 16) for digit in (1, 3, 5)]
    pixels = np.where(_edge(upright(plane.outlines[0][0]))[..., None], colour, grey[..., None]).astype(np.uint8)
    x, y = plane.data.shape
    size = np.array([x, y * view.aspect(spacing)])
    wide, tall = (size * THUMBNAIL / size.max()).round().astype(int).clip(min=1)
    return Image.fromarray(pixels).resize((int(wide), int(tall)), Image.Resampling.BILINEAR)


def _edge(mask: np.ndarray) -> np.ndarray:
    """The pixels of ``mask`` (2-D) that have a neighbour outside it."""
    around = np.pad(mask, 1)
    return mask & ~(around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:])


def colour_top(score: np.ndarray, threshold: float | None) -> float:
    """The value at which the colours of an anomaly map end: twice the threshold, or less where the map is lower."""
    highest = float(score.max()) or 1.0
    return min(2 * threshold, max(highest, 1.2 * threshold)) if threshold else highest


def window_of(data: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """1st and 99th percentile of ``data`` where ``inside``, both (X, Y, Z): what black and white show."""
    coarse = (slice(None, None, 2),) * 3 if inside.size > ENOUGH else ()  # as good, and much quicker
    values = values_in(data[coarse], inside[coarse])
    low, high = percentiles(values, (1, 99)) if values.size else (0.0, 1.0)
    return low, max(high, low + 1e-6)


def slices_figure(path: Path, rows: Sequence[Row], *, title: str, note: str = "", overwrite: bool = False) -> None:
    """Draw slices of any cases or methods as PNG, one row each.

    Args:
        rows: with equally many planes; the titles are those of the first row.
        note: right end of the heading.

    Raises:
        UsageError: ``path`` exists and ``overwrite`` is false.
        ResourceError: the disk is full or the folder cannot be written.
    """
    files.refuse_overwrite(path, overwrite=overwrite)
    save(paint(rows, Words(title, ((note, LIGHT),))), path)


def _panels(shown: Shown) -> list[_Panel]:
    """The columns, the outlined one last."""
    panels = []
    for contrast, (data, window) in shown.scans.items():
        panels.append(_Panel(NAMES[contrast], data, window, blank=True))
        if contrast in shown.restored:
            restored = view_along(shown.restored[contrast]).data
            panels.append(_Panel(f"{NAMES[contrast]} restored", restored, (0.0, 1.0)))
    if shown.score is not None:
        panels.append(_Panel("anomaly map", shown.score, (0.0, shown.top), "inferno"))
    return [*panels, _outlined(shown)]


def _outlined(shown: Shown) -> _Panel:
    return _Panel(f"mask on {NAMES[shown.base]}", *shown.scans[shown.base], outlined=True, blank=True)


def _plane(
    panel: _Panel,
    view: View,
    shown: Shown,
    outlines: Sequence[tuple[np.ndarray, str]],
    numbers: np.ndarray | None = None,
) -> Plane:
    """One panel on one slice."""
    data, box = view.of(panel.data, shown.box), shown.box
    if panel.blank:
        data = np.where(view.of(shown.inside, box), data, panel.window[0])
    if not panel.outlined:
        return Plane(panel.title, data, panel.window, panel.colours)
    cut = tuple((view.of(mask, box), colour) for mask, colour in outlines)
    return Plane(panel.title, data, panel.window, panel.colours, cut, _numbers(view, box, numbers))


def _numbers(view: View, box: Box, numbers: np.ndarray | None) -> tuple[tuple[str, float, float], ...]:
    """The number of each lesion in a slice, at the middle of what the slice shows of it."""
    if numbers is None:
        return ()
    plane = view.of(numbers, box)
    places = {int(number): np.argwhere(plane == number).mean(axis=0) for number in np.unique(plane[plane > 0])}
    return tuple((str(number), float(x), float(y)) for number, (x, y) in places.items())
