"""What :func:`braincli.preprocessing.chain.preprocess_case` leaves behind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from braincli.errors import UsageError
from braincli.imaging import volume
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.checks.geometry import HeaderFacts
from braincli.imaging.given import Scratch
from braincli.imaging.results import ResultFiles, as_image, as_volume, voxels
from braincli.imaging.volume import Volume
from braincli.layout import bids
from braincli.reporting.notebook import fragment

if TYPE_CHECKING:
    import nibabel as nib
    from nibabel.spatialimages import SpatialImage


@dataclass(frozen=True, repr=False)
class Preprocessed:
    """One case, and how to get back to its native grids.

    Images are nibabel's, (X, Y, Z) on the grid of ``space`` (SRI24: 240 x 240 x 155 of 1 mm, LPS); of files the voxels
    are read when they are asked for. Of a result in memory, paths are names.

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
        memory: the files, where no folder was named.

    Example:
        >>> prepared = braincli.preprocess({"t1": t1, "flair": flair})[0]
        >>> prepared.image("flair").shape, prepared.array("brain").sum()
        >>> braincli.detect(prepared)
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
    memory: ResultFiles | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"<preprocessed {self.case.id}: {', '.join(self.images)} in {self.space}>"

    def __getstate__(self) -> dict[str, Any]:
        """Grids without their repeated zeros, which else are 40 MB a contrast on their way from another process."""
        grids = {c: (grid.shape, grid.with_data(grid.data[:1, :1, :1].copy())) for c, grid in self.grids.items()}
        return self.__dict__ | {"grids": grids}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The way back of :meth:`__getstate__`."""
        grids = {c: grid.with_data(np.broadcast_to(grid.data, shape)) for c, (shape, grid) in state["grids"].items()}
        self.__dict__.update(state | {"grids": grids})

    @property
    def place(self) -> str:
        """The folder below that of all outputs: ``sub-01/ses-2``."""
        return bids.place(self.case.id)

    def prepared(self) -> Case:
        """The outputs as a case, for training and detection."""
        return Case(self.case.id, dict(self.images), self.brain, self.lesion, self.case.group)

    @property
    def files(self) -> ResultFiles:
        """Images by contrast, ``brain``, ``lesion`` and ``figure``."""
        if self.memory is not None:
            return self.memory
        there = {str(contrast): path for contrast, path in self.images.items()}
        others = {"brain": self.brain, "lesion": self.lesion, "figure": self.picture}
        there |= {kind: path for kind, path in others.items() if path is not None}
        names = {kind: Path(os.path.relpath(path, self.folder)).as_posix() for kind, path in there.items()}
        return ResultFiles(self.folder.absolute(), names)

    @property
    def paths(self) -> dict[str, Path]:
        """Where images (by contrast), ``brain``, ``lesion`` and ``figure`` lie; empty where they are in memory."""
        return self.files.paths

    def image(self, kind: str) -> nib.Nifti1Image:
        """A contrast (float32 in [0, 1], 0 outside the brain), or the mask ``brain`` or ``lesion`` (uint8).

        Raises:
            UsageError: the case has none.
            InputError: its file is gone.

        Example:
            >>> prepared.image("flair").get_fdata().max()
        """
        return self.files.image(str(kind))

    def array(self, kind: str) -> np.ndarray:
        """The voxels of :meth:`image`, (X, Y, Z): bool for masks, else float32.

        Raises:
            UsageError, InputError: see :meth:`image`.

        Example:
            >>> prepared.array("flair")[prepared.array("brain")].mean()
        """
        return voxels(self.image(kind), mask=kind in ("brain", "lesion"))

    def as_case(self, scratch: Scratch) -> Case:
        """:meth:`prepared`, of which every file is there."""
        if self.memory is None:
            return self.prepared()
        there = {kind: self.memory.place(kind, scratch) for kind in self.memory.names}
        images = {contrast: there[str(contrast)] for contrast in self.images}
        return Case(self.case.id, images, there.get("brain"), there.get("lesion"), self.case.group)

    def in_memory(self) -> Preprocessed:
        """The same, of which no file is needed any more."""
        brain, lesion, picture = (path and Path(path.name) for path in (self.brain, self.lesion, self.picture))
        return replace(
            self, folder=Path(self.folder.name), images={c: Path(path.name) for c, path in self.images.items()},
            brain=brain, lesion=lesion, picture=picture, memory=self.files.in_memory(),
        )  # fmt: skip

    def png(self) -> bytes | None:
        """The figure of quality as PNG, if there is one."""
        return self.files.read("figure") if "figure" in self.files.names else None

    def as_row(self) -> dict[str, Any]:
        """What the table of several cases says of this one."""
        figures = {name: value for name, value in self.qc.items() if isinstance(value, int | float)}
        return {
            "case": self.case.id, "space": self.space, "reference": str(self.reference),
            "contrasts": ", ".join(self.images), **figures, "warnings": "; ".join(self.warnings),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        row = {name: value for name, value in self.as_row().items() if name not in ("case", "warnings")}
        png = self.png()
        pictures = [(self.case.id, png)] if png else []
        return fragment(self.case.id, [row], notes=self.warnings, pictures=pictures)

    def as_dict(self) -> dict[str, Any]:
        """What ``--json`` prints: base names, figures and warnings."""
        masks = {"brain": self.brain, "lesion": self.lesion}
        return {
            "case": self.case.id,
            "folder": self.place,
            "space": self.space,
            "reference": str(self.reference),
            "images": {str(contrast): path.name for contrast, path in self.images.items()},
            **{kind: path.name if path else None for kind, path in masks.items()},
            "qc": self.qc,
            "warnings": self.warnings,
            "resumed": self.resumed,
        }

    @overload
    def to_native(self, image: Volume, contrast: Contrast | str, *, labels: bool | None = None) -> Volume: ...

    @overload
    def to_native(
        self, image: SpatialImage, contrast: Contrast | str, *, labels: bool | None = None
    ) -> nib.Nifti1Image: ...

    def to_native(
        self, image: Volume | SpatialImage, contrast: Contrast | str, *, labels: bool | None = None
    ) -> Volume | nib.Nifti1Image:
        """``image``, on the grid of the outputs, put back on the native grid of ``contrast``.

        Args:
            image: (X, Y, Z) in the output space; a nibabel image gives one.
            contrast: one of the contrasts that the case has.
            labels: nearest neighbour (keeps the type) instead of linear; default: for bool and integer data.

        Raises:
            UsageError: the case has no such contrast.

        Example:
            >>> prepared.to_native(report[0].mask, "flair")
        """
        if contrast not in self.transforms:
            raise UsageError(f"{self.case.id} has no {contrast} scan.", f"It has {', '.join(self.transforms)}.")
        given, contrast = as_volume(image), Contrast(contrast)
        as_labels = given.data.dtype.kind in "biu" if labels is None else labels
        placed = Volume(given.data, self.transforms[contrast] @ given.affine)
        native = volume.resample(placed, self.grids[contrast], labels=as_labels)
        return native if isinstance(image, Volume) else as_image(native)


def grid_only(image: Volume) -> Volume:
    """The grid and header facts of ``image`` without its voxels (one zero, repeated)."""
    return image.with_data(np.broadcast_to(np.float32(0), image.shape))


def grid_of(shape: Sequence[int], affine: Sequence[Sequence[float]]) -> Volume:
    """A grid (X, Y, Z) with ``affine`` (4, 4), voxel -> RAS mm, as a converted scan has it, without voxels."""
    matrix = np.asarray(affine)
    header = HeaderFacts(qform_code=1, sform_code=1, qform=matrix, sform=matrix)
    return Volume(np.broadcast_to(np.float32(0), tuple(shape)), matrix, header)
