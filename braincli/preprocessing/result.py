"""What :func:`braincli.preprocessing.chain.preprocess_case` leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from braincli.errors import UsageError
from braincli.imaging import volume
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.volume import Volume


@dataclass(frozen=True)
class Preprocessed:
    """One case on disk, and how to get back to its native grids.

    Attributes:
        case: the case as it was found (raw files).
        folder: where the outputs lie.
        space: ``SRI24``, or ``orig`` (the reference contrast's own grid).
        reference: the contrast that the others were aligned to.
        images: normalised images in ``space``, float32 in [0, 1], 0 outside the brain.
        brain: brain mask in ``space`` (None with ``--skip brain``).
        lesion: lesion mask in ``space``, if one lay beside the scans.
        transforms: (4, 4) per contrast: a point of ``space`` -> its point in the contrast's native world (RAS mm).
        grids: the native grid per contrast, as a volume without content (header facts kept).
        qc: quality figures, see :mod:`braincli.preprocessing.quality`.
        warnings: what the user should look at, in words.
        resumed: taken over from an earlier run with the same inputs and configuration.
        picture: of quality.
    """

    case: Case
    folder: Path
    space: str
    reference: Contrast
    images: dict[Contrast, Path]
    brain: Path | None
    lesion: Path | None
    transforms: dict[Contrast, np.ndarray]
    grids: dict[Contrast, Volume] = field(repr=False)
    qc: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    resumed: bool = False
    picture: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Grids without their repeated zeros, which else are 40 MB a contrast on their way from another process."""
        grids = {c: (grid.shape, grid.with_data(grid.data[:1, :1, :1].copy())) for c, grid in self.grids.items()}
        return self.__dict__ | {"grids": grids}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The way back of :meth:`__getstate__`."""
        grids = {c: grid.with_data(np.broadcast_to(grid.data, shape)) for c, (shape, grid) in state["grids"].items()}
        self.__dict__.update(state | {"grids": grids})

    def prepared(self) -> Case:
        """The outputs as a case, for training and detection."""
        return Case(self.case.id, dict(self.images), self.brain, self.lesion, self.case.group)

    def as_dict(self) -> dict[str, Any]:
        """What ``--json`` prints: base names, figures and warnings."""
        masks = {"brain": self.brain, "lesion": self.lesion}
        return {
            "case": self.case.id,
            "folder": self.folder.name,
            "space": self.space,
            "reference": str(self.reference),
            "images": {str(contrast): path.name for contrast, path in self.images.items()},
            **{kind: path.name if path else None for kind, path in masks.items()},
            "qc": self.qc,
            "warnings": self.warnings,
            "resumed": self.resumed,
        }

    def to_native(self, image: Volume, contrast: Contrast, *, labels: bool | None = None) -> Volume:
        """``image``, on the grid of the outputs, put back on the native grid of ``contrast``.

        Args:
            image: (X, Y, Z) in the output space.
            contrast: one of the contrasts that the case has.
            labels: nearest neighbour (keeps the type) instead of linear; default: for bool and integer data.

        Raises:
            UsageError: the case has no such contrast.
        """
        if contrast not in self.transforms:
            raise UsageError(f"{self.case.id} has no {contrast} scan.", f"It has {', '.join(self.transforms)}.")
        as_labels = image.data.dtype.kind in "biu" if labels is None else labels
        placed = Volume(image.data, self.transforms[contrast] @ image.affine)
        return volume.resample(placed, self.grids[contrast], labels=as_labels)


def grid_only(image: Volume) -> Volume:
    """The grid and header facts of ``image`` without its voxels (one zero, repeated)."""
    return image.with_data(np.broadcast_to(np.float32(0), image.shape))
