"""What the steps of the chain pass on: scans as they were read, where they lie, images on the output grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from braincli.imaging import volume
from braincli.imaging.cases import Contrast
from braincli.imaging.volume import Volume
from braincli.runtime.progress import Reporter
from braincli.runtime.provenance import RunRecord


@dataclass(frozen=True)
class Scans:
    """The scans of a case as they were read, each on its own grid.

    Attributes:
        reference: the contrast that the others are aligned to.
        stripped: they show no skull. HD-BET fails on brains without heads (half of one was lost).
        brain: probability of brain on the reference's grid; None where it is not wanted.
    """

    images: dict[Contrast, Volume]
    reference: Contrast
    stripped: bool
    brain: Volume | None = None

    @property
    def fixed(self) -> Volume:
        """The reference scan."""
        return self.images[self.reference]

    def brain_mask(self) -> np.ndarray | None:
        """Brain (X, Y, Z) bool on the reference's grid."""
        return None if self.brain is None else self.brain.data > 0.5


@dataclass(frozen=True)
class Place:
    """Where one scan lies.

    Attributes:
        grid: of the outputs, without content.
        to_scan: (4, 4): a point of the output space -> its point in the scan's own world (RAS mm).
    """

    grid: Volume
    to_scan: np.ndarray

    def bring(self, image: Volume, *, labels: bool = False) -> Volume:
        """``image``, in the world of the scan, interpolated once onto the grid of the outputs."""
        placed = Volume(image.data, np.linalg.inv(self.to_scan) @ image.affine)
        return volume.resample(placed, self.grid, labels=labels)


@dataclass(frozen=True)
class Alignment:
    """Where all scans lie: :class:`Place` by contrast."""

    grid: Volume
    to_scan: dict[Contrast, np.ndarray]

    def of(self, contrast: Contrast) -> Place:
        """Where one of them lies."""
        return Place(self.grid, self.to_scan[contrast])


class Images(NamedTuple):
    """Everything on the output grid; ``heads`` show the skull, ``finished`` do not."""

    heads: dict[Contrast, Volume]
    finished: dict[Contrast, Volume]
    brain: Volume | None
    lesion: Volume | None


@dataclass
class Report:
    """What the steps have to say about a case: quality figures, and warnings for screen and record."""

    case_id: str
    record: RunRecord
    reporter: Reporter
    figures: dict[str, Any] = field(default_factory=dict)

    def note(self, figure: str, contrast: Contrast, value: float) -> None:
        """Keep a quality figure of one contrast."""
        self.figures.setdefault(figure, {})[str(contrast)] = round(value, 4)

    def warn(self, text: str) -> None:
        """Tell the user, and keep it in the record."""
        self.record.warnings.append(text)
        self.reporter.warn(f"{self.case_id}: {text}")
