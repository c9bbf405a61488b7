"""A scan in memory: voxels, affine, and the facts of the header that outputs must keep.

Geometry is decided once, by the table in :func:`braincli.imaging.checks.geometry.decide`; nobody else looks at qform
or sform.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braincli import __version__
from braincli.errors import InputError
from braincli.imaging import checks
from braincli.imaging.checks import HeaderFacts, Level, Problem
from braincli.imaging.checks.geometry import corner_distance
from braincli.runtime import files
from braincli.runtime.packing import packed

if TYPE_CHECKING:
    import nibabel as nib

__all__ = [
    "HeaderFacts",
    "Volume",
    "itk_geometry",
    "load",
    "nifti",
    "onto_grid_of",
    "reorient",
    "resample",
    "same_grid",
    "save",
    "view_along",
    "view_onto",
]

TOLERANCE_VOXELS = 0.05  # corners of one grid in two files
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])


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

    def cut(self, box: tuple[slice, ...]) -> Volume:
        """What lies in ``box`` (three slices with ends, in voxels), on its own grid; without copying."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
        return replace(self, data=self.data[box], affine=affine, header=HeaderFacts())


def load(path: Path, *, volume: int | None = None, prefer: str = "sform", labels: bool = False) -> Volume:
    """Read a NIfTI file through the gatekeeper, to the end of its stream.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        volume: which volume of a 4-D file (0-based); a 4-D file with more than one volume is refused without
            it.
        prefer: ``sform`` or ``qform``, where both are set and disagree.
        labels: keep integer labels (rounded, int32; an empty mask is fine) instead of scaled float32.

    Raises:
        InputError: the file is missing, damaged, or its geometry or values cannot be used.
    """
    reading = checks.read(path, volume=volume, prefer=prefer, labels=labels)
    for problem in reading.problems:
        if problem.level >= Level.ERROR:
            raise InputError(problem.message, problem.hint)
    return from_reading(reading)


def from_reading(reading: checks.Reading) -> Volume:
    """The volume of a reading without errors."""
    assert reading.data is not None and reading.geometry is not None
    affine, facts = reading.geometry.affine, reading.geometry.facts
    return Volume(reading.data, affine, facts, tuple(reading.problems), source=reading.path, sha256=reading.sha256)


def warned(*volumes: Volume) -> list[str]:
    """What the gatekeeper warned about, in words."""
    return [problem.message for one in volumes for problem in one.problems if problem.level == Level.WARNING]


def is_readable(path: Path) -> bool:
    """Whether ``path`` is a NIfTI file whose voxels can be read."""
    return path.name.endswith((".nii", ".nii.gz")) and checks.read(path, labels=True).data is not None


def save(volume: Volume, path: Path, *, overwrite: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Write ``volume`` atomically with its own affine and header facts.

    bool becomes uint8, floats float32, integers keep their type; no intensity scaling. On one machine the same
    volume gives the same bytes. Of the input's header only :class:`HeaderFacts` survive; a stored qform or sform
    that no longer describes ``volume.affine`` is not written.

    Raises:
        UsageError: ``path`` exists and ``overwrite`` is false.
        InputError: ``path`` is one of ``inputs`` (or the file that ``volume`` came from).
        ResourceError: the disk is full or the folder cannot be written.
    """
    own = [volume.source] if volume.source else []
    files.refuse_overwrite(path, overwrite=overwrite, inputs=[*inputs, *own])
    image = nifti(volume)
    with files.atomic_path(path) as temporary, temporary.open("wb") as raw:
        if path.name.lower().endswith(".gz"):
            with packed(raw) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(raw)


def reorient(volume: Volume, axes: str = "RAS") -> Volume:
    """Permute and flip axes to the closest ``axes`` (e.g. ``RAS``, ``LPS``); data and affine change together.

    The header facts are dropped (they describe the old axes); use :func:`onto_grid_of` to come back.
    """
    turned = view_along(volume, axes)
    return turned.with_data(np.ascontiguousarray(turned.data))


def view_along(volume: Volume, axes: str = "RAS") -> Volume:
    """Like :func:`reorient`, without copying: data is a view of ``volume``'s, in whatever order that lies in memory."""
    from nibabel import orientations

    now = orientations.io_orientation(volume.affine)
    change = orientations.ornt_transform(now, orientations.axcodes2ornt(tuple(axes)))
    data = orientations.apply_orientation(volume.data, change)
    affine = volume.affine @ orientations.inv_ornt_aff(change, volume.shape)
    return replace(volume, data=data, affine=affine, header=HeaderFacts())


def onto_grid_of(volume: Volume, target: Volume) -> Volume:
    """Undo :func:`reorient`: permute and flip ``volume`` to ``target``'s axes, with ``target``'s affine and
    header.

    Raises:
        InputError: the two do not cover the same grid.
    """
    return target.with_data(np.ascontiguousarray(view_onto(volume, target).data))


def view_onto(volume: Volume, target: Volume) -> Volume:
    """Like :func:`onto_grid_of`, without copying: it undoes :func:`view_along`.

    Raises:
        InputError: the two do not cover the same grid.
    """
    from nibabel import orientations

    steps = (np.linalg.inv(volume.affine) @ target.affine)[:3, :3]  # target index -> volume index
    whole = np.rint(steps)
    flipped = volume
    if np.array_equal(np.abs(whole).sum(0), [1, 1, 1]) and np.array_equal(np.abs(whole).sum(1), [1, 1, 1]):
        axis = np.abs(whole).argmax(axis=1)  # volume axis i runs along target axis axis[i]
        change = np.stack([axis, whole[np.arange(3), axis]], axis=1)
        flipped = replace(
            volume,
            data=orientations.apply_orientation(volume.data, change),
            affine=volume.affine @ orientations.inv_ornt_aff(change, volume.shape),
        )
    if problem := same_grid(flipped, target):
        raise InputError(problem.message, problem.hint)
    return target.with_data(flipped.data)


def same_grid(a: Volume, b: Volume, *, tolerance_voxels: float = TOLERANCE_VOXELS) -> Problem | None:
    """None if both volumes have the same shape and their corners coincide; else what differs, in mm.

    Corners may lie ``tolerance_voxels`` of the smallest voxel edge apart: other tools round affines, or store them as
    quaternions. What is accepted and more than rounding, :func:`nearly_same_grid` says.
    """
    names = f"{_name(a)} and {_name(b)}"
    hint = "Bring them onto one grid first (braincli preprocess)."
    if a.shape != b.shape:
        sizes = " and ".join(" x ".join(map(str, volume.shape)) for volume in (a, b))
        return Problem(Level.ERROR, "grid-shape", f"{names} have different sizes: {sizes}.", hint)
    distance = corner_distance(a.affine, b.affine, a.shape)
    if distance > tolerance_voxels * min(*a.spacing, *b.spacing):
        text = f"{names} have the same size, but their corners lie {distance:.3g} mm apart."
        return Problem(Level.ERROR, "grid-place", text, hint)
    return None


def nearly_same_grid(a: Volume, b: Volume) -> list[str]:
    """How far two volumes on one grid lie apart, in words, where that is more than a thousandth of a voxel."""
    if same_grid(a, b, tolerance_voxels=1e-3) is None:
        return []
    distance = corner_distance(a.affine, b.affine, a.shape)
    return [f"the corners of {_name(a)} and {_name(b)} lie {distance:.2g} mm apart; they are taken as one grid"]


def mask_on_grid_of(mask: Volume, image: Volume) -> tuple[Volume, Problem | None]:
    """A mask that belongs to ``image``, on its grid; with a warning where the mask's header had lost its
    origin.

    Some published masks (BraTS 2017 among them) kept size and axes of their image but not its origin, so
    that the two do not overlap in the world at all. Size and axes being equal, such a mask is taken voxel
    by voxel.

    Raises:
        InputError: the grids differ in any other way.
    """
    problem = same_grid(mask, image)
    if problem is None:
        return image.with_data(mask.data), None
    shift = np.abs(np.linalg.inv(image.affine) @ mask.affine - np.eye(4))
    same_axes = mask.shape == image.shape and shift[:3, :3].max() < 1e-3
    if same_axes and (shift[:3, 3] > 0.5 * np.array(image.shape)).any():
        text = f"{_name(mask)} has lost its origin (it lies beside {_name(image)}); it is taken voxel by voxel."
        return image.with_data(mask.data), Problem(Level.WARNING, "grid-origin", text, "Check that it overlays.")
    raise InputError(problem.message, problem.hint)


def resample(volume: Volume, like: Volume, *, labels: bool = False) -> Volume:
    """``volume`` on the grid of ``like``, through world coordinates.

    Images are interpolated linearly (float32), labels take the nearest neighbour and keep their type; outside
    of ``volume`` is 0. No smoothing before a coarser grid.
    """
    if same_grid(volume, like) is None:
        return like.with_data(volume.data)
    from scipy.ndimage import affine_transform

    step = np.linalg.inv(volume.affine) @ like.affine
    source = volume.data.astype(np.uint8) if volume.data.dtype == bool else volume.data
    data = affine_transform(
        source if labels else source.astype(np.float32), step, output_shape=like.shape,
        order=0 if labels else 1, mode="grid-constant",
    )  # fmt: skip
    return like.with_data(data.astype(volume.data.dtype) if labels else data)


def itk_geometry(volume: Volume) -> tuple[tuple[float, ...], tuple[float, ...], np.ndarray]:
    """``(spacing, origin, direction)`` for SimpleITK and ANTs: mm, LPS, direction (3, 3) exactly orthonormal.

    The array keeps its axis order (X, Y, Z); SimpleITK wants it transposed to (Z, Y, X), ANTs as it is. Axes
    that are not quite perpendicular are replaced by the nearest rotation (polar decomposition).
    """
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(volume.affine[:3, :3] / spacing)
    direction = LPS_FROM_RAS @ left @ right
    origin = LPS_FROM_RAS @ volume.affine[:3, 3]
    return tuple(map(float, spacing)), tuple(map(float, origin)), direction


def _name(volume: Volume) -> str:
    return volume.source.name if volume.source else "a computed volume"


def nifti(volume: Volume) -> nib.Nifti1Image:
    """The NIfTI image that :func:`save` writes."""
    import nibabel as nib

    facts = volume.header if _describes(volume) else HeaderFacts(nifti2=volume.header.nifti2)
    kinds = (nib.Nifti2Header, nib.Nifti2Image) if facts.nifti2 else (nib.Nifti1Header, nib.Nifti1Image)
    header = kinds[0](endianness=">" if facts.big_endian else "<")
    data = volume.data
    if data.dtype == bool:
        data = data.astype(np.uint8)
    elif data.dtype.kind == "f":
        data = data.astype(np.float32)
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header.set_zooms(volume.spacing)
    if facts.qform_code:
        header.set_qform(volume.affine if facts.qform is None else facts.qform)
        header["qform_code"] = facts.qform_code
    if facts.sform_code:
        header.set_sform(volume.affine if facts.sform is None else facts.sform)
        header["sform_code"] = facts.sform_code
    header["xyzt_units"] = facts.xyzt_units
    header["descrip"] = f"braincli {__version__}".encode()
    image = kinds[1](data, None, header=header)
    image.header.set_slope_inter(1, 0)
    return image


def _describes(volume: Volume) -> bool:
    """Whether the header facts still say what the affine says (or say nothing, because the input did not)."""
    facts = volume.header
    stored = [form for form in (facts.sform, facts.qform) if form is not None]
    return not stored or any(np.allclose(form, volume.affine, atol=1e-4) for form in stored)
