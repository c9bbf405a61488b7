"""A scan in memory: voxels, affine, and the facts of the header that outputs must keep.

Geometry is decided once, here, by the table in :func:`decide_affine`; nobody else looks at qform or sform.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from braincli.checks import Problem


@dataclass(frozen=True)
class HeaderFacts:
    """What an output on the same grid must carry over from the input's NIfTI header.

    ``sform`` / ``qform`` are the stored 4 x 4 matrices (None where the code is 0); nothing else of the header
    survives (no ``descrip``, ``aux_file``, ``db_name``, ``intent_name``, extensions).
    """

    qform_code: int = 0
    sform_code: int = 1
    qform: np.ndarray | None = None
    sform: np.ndarray | None = None
    xyzt_units: int = 2  # mm
    nifti2: bool = False
    big_endian: bool = False


@dataclass(frozen=True, eq=False)
class Volume:
    """A three-dimensional image on a grid in the world.

    Attributes:
        data: (X, Y, Z); float32 for images, bool or an integer type for masks and labels.
        affine: (4, 4) float64, voxel index -> RAS mm; the geometry that was decided on.
        header: facts of the file that it came from.
        problems: what the gatekeeper noted or warned about.
        source: the file, if any.
        sha256: of the file's bytes, if any.
    """

    data: np.ndarray
    affine: np.ndarray
    header: HeaderFacts = field(default_factory=HeaderFacts)
    problems: tuple[Problem, ...] = ()
    source: Path | None = None
    sha256: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(X, Y, Z) in voxels."""
        x, y, z = self.data.shape
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along the three array axes."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000.0)

    def with_data(self, data: np.ndarray) -> Volume:
        """Other voxels on the same grid, with the same header facts."""
        return replace(self, data=data)


def load(path: Path, *, volume: int | None = None, prefer: str = "sform", labels: bool = False) -> Volume:
    """Read a NIfTI file through the gatekeeper, to the end of its stream.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        volume: which volume of a 4-D file (0-based); a 4-D file with more than one volume is refused without it.
        prefer: ``sform`` or ``qform``, where both are set and disagree.
        labels: keep integer labels (rounded, int32) instead of float32.

    Raises:
        InputError: the file is missing, damaged, or its geometry or values cannot be used.
    """
    raise NotImplementedError


def save(volume: Volume, path: Path, *, overwrite: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Write ``volume`` atomically with its own affine and header facts (bool becomes uint8).

    Raises:
        UsageError: ``path`` exists and ``overwrite`` is false.
        InputError: ``path`` is one of ``inputs``.
        ResourceError: the disk is full or the folder cannot be written.
    """
    raise NotImplementedError


def reorient(volume: Volume, axes: str = "RAS") -> Volume:
    """Permute and flip axes to the closest ``axes`` (e.g. ``RAS``, ``LPS``); data and affine change together.

    The header facts are dropped (they describe the old axes); use :func:`onto_grid_of` to come back.
    """
    raise NotImplementedError


def onto_grid_of(volume: Volume, target: Volume) -> Volume:
    """Undo :func:`reorient`: permute and flip ``volume`` to ``target``'s axes, with ``target``'s affine and header.

    Raises:
        InputError: the two do not cover the same grid.
    """
    raise NotImplementedError


def same_grid(a: Volume, b: Volume, *, tolerance_voxels: float = 1e-3) -> Problem | None:
    """None if both volumes have the same shape and their corners coincide; else what differs, in mm."""
    raise NotImplementedError
