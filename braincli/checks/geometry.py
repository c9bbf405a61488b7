"""Which affine counts, decided once by the table in :func:`decide`; nobody else looks at qform or sform.

ITK, ANTs and nibabel disagree on where the voxels are when qform and sform differ, when the voxel size in
``pixdim`` is not the length of the affine's columns, and when both codes are 0; a sheared affine is an error
in ITK.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from braincli.checks.header import Header
from braincli.checks.problem import Level, Problem, Refused

MILLIMETRE, UNIT_NAMES = 2, {1: "metres", 3: "micrometres"}
AGREE_VOXELS = 0.1  # corners of qform and sform may lie this far apart before we warn
SHEAR_NOTICED, SHEAR_REFUSED = (
    1e-5,
    1e-3,
)  # of max |D'D - I| for the columns' directions D; rounding gives about 1e-8
SPACING_AGREES = 0.01  # pixdim against the affine's column lengths
THICK = 3.0  # largest over smallest spacing


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
    xyzt_units: int = MILLIMETRE
    nifti2: bool = False
    big_endian: bool = False


@dataclass
class Geometry:
    """The decided ``affine`` (4, 4), voxel -> RAS mm, with the header's facts and the findings."""

    affine: np.ndarray
    facts: HeaderFacts
    problems: list[Problem] = field(default_factory=list)


def decide(header: Header, shape: tuple[int, int, int], prefer: str = "sform") -> Geometry:
    """The affine that counts.

    ====== ====== ======================= =====================================================
    qform  sform  corners                 affine
    ====== ====== ======================= =====================================================
    > 0    > 0    within 0.1 voxel        sform (``prefer='qform'``: qform)
    > 0    > 0    further apart           the same, with a warning that gives the distance in mm
    0      > 0                            sform
    > 0    0                              qform
    0      0                              NIfTI's base affine; warning: orientation unknown
    ====== ====== ======================= =====================================================

    Raises:
        Refused: voxel size not positive and finite, affine not finite, singular, or sheared by more than
            rounding.
    """
    _check_pixdim(header)
    sform, qform, problems = _sform(header), None, list(_check_units(header))
    try:
        qform = _qform(header)
    except ValueError as error:
        if sform is None:
            raise Refused(
                "qform", f"has a damaged qform ({error}).", "Its header is damaged; convert it again."
            ) from None
        problems.append(Problem(Level.WARNING, "qform", f"has a damaged qform ({error}); its sform is used."))
    facts = HeaderFacts(
        qform_code=int(header["qform_code"]) if qform is not None else 0,
        sform_code=int(header["sform_code"]) if sform is not None else 0,
        qform=qform, sform=sform, xyzt_units=int(header["xyzt_units"]),
        nifti2=int(header["sizeof_hdr"]) == 540, big_endian=header.endianness == ">",
    )  # fmt: skip
    first, second = (qform, sform) if prefer == "qform" else (sform, qform)
    if first is None and second is None:
        affine = np.asarray(_base_affine(header, shape))
        problems.append(
            Problem(
                Level.WARNING, "orientation-unknown",
                "has no orientation (qform and sform codes are 0): left and right may be flipped.",
                "Check it in a viewer; convert the scan again with a tool that keeps the orientation.",
            )
        )  # fmt: skip
    elif first is not None:
        affine = first
    else:
        affine = np.asarray(second)
    _check_affine(affine, other=second if first is not None else None)
    if first is not None and second is not None:
        problems += _compare_forms(first, second, shape, prefer)
    problems += _check_spacing(affine, header)
    return Geometry(affine, facts, problems)


def corner_distance(a: np.ndarray, b: np.ndarray, shape: tuple[int, int, int]) -> float:
    """Largest distance in mm between the corners of ``shape`` under two affines."""
    corners = np.array([[*corner, 1.0] for corner in product(*((0, size - 1) for size in shape))]).T
    return float(np.linalg.norm(((a - b) @ corners)[:3], axis=0).max())


def shear(affine: np.ndarray) -> float:
    """max |D'D - I| for the unit directions D of the affine's columns; 0 for perpendicular axes."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.abs(directions.T @ directions - np.eye(3)).max())


def _sform(header: Header) -> np.ndarray | None:
    return np.asarray(header.get_sform(), dtype=float) if int(header["sform_code"]) > 0 else None


def _qform(header: Header) -> np.ndarray | None:
    """The qform matrix; ValueError where its quaternion is none."""
    if int(header["qform_code"]) <= 0:
        return None
    numbers = [float(header[name]) for name in ("quatern_b", "quatern_c", "quatern_d")]
    if not np.isfinite(numbers).all():
        raise ValueError("quaternion not finite")
    try:
        return np.asarray(header.get_qform(), dtype=float)
    except (HeaderDataError, ValueError):
        raise ValueError("quaternion longer than 1") from None


def _base_affine(header: Header, shape: tuple[int, int, int]) -> np.ndarray:
    plain = nib.Nifti1Header()
    plain.set_data_shape(shape)
    plain.set_zooms([float(size) for size in header["pixdim"][1:4]])
    return plain.get_base_affine()


def _check_pixdim(header: Header) -> None:
    spacing = np.asarray(header["pixdim"][1:4], dtype=float)
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        text = " x ".join(f"{size:g}" for size in spacing)
        kind = "not finite" if not np.isfinite(spacing).all() else "zero" if (spacing == 0).any() else "negative"
        raise Refused(
            "spacing",
            f"has a voxel size of {text} mm ({kind}).",
            "Convert it again, or correct pixdim in its header.",
        )


def _check_affine(affine: np.ndarray, other: np.ndarray | None) -> None:
    way_out = "Convert or resample the scan again."
    if other is not None and np.isfinite(other).all() and np.linalg.det(other[:3, :3]) and shear(other) < SHEAR_REFUSED:
        way_out += " Its other form is sound: if that is the true one, --prefer qform (or sform) takes it."
    if not np.isfinite(affine).all():
        raise Refused("affine", "has an affine that is not finite (NaN or infinite).", way_out)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not lengths.all() or abs(np.linalg.det(affine[:3, :3] / np.where(lengths, lengths, 1))) < 1e-3:
        raise Refused("singular", "has a singular affine: its axes do not span space.", way_out)
    if shear(affine) >= SHEAR_REFUSED:
        raise Refused("sheared", f"has a sheared affine (axes {_angle(affine):.1f} degrees apart).", way_out)


def _angle(affine: np.ndarray) -> float:
    """The smallest angle between two axes, in degrees."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.abs(np.triu(directions.T @ directions, 1)).max())))


def _compare_forms(used: np.ndarray, other: np.ndarray, shape: tuple[int, int, int], prefer: str) -> list[Problem]:
    names = ("qform", "sform") if prefer == "qform" else ("sform", "qform")
    if not np.isfinite(other).all():
        return [Problem(Level.WARNING, "qform-sform", f"has a {names[1]} that is not finite; the {names[0]} is used.")]
    distance = corner_distance(used, other, shape)
    if distance < AGREE_VOXELS * np.linalg.norm(used[:3, :3], axis=0).min():
        return []
    text = f"has a qform and an sform that lie {distance:.1f} mm apart; the {names[0]} is used."
    return [Problem(Level.WARNING, "qform-sform", text, f"--prefer {names[1]} takes the other one.")]


def _check_spacing(affine: np.ndarray, header: Header) -> list[Problem]:
    problems = []
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    pixdim = np.asarray(header["pixdim"][1:4], dtype=float)
    if (np.abs(pixdim / lengths - 1) > SPACING_AGREES).any():
        stated, real = (" x ".join(f"{size:.3g}" for size in sizes) for sizes in (pixdim, lengths))
        text = f"states a voxel size of {stated} mm, but its affine has {real} mm; the affine is used."
        problems.append(Problem(Level.WARNING, "pixdim", text))
    if shear(affine) > SHEAR_NOTICED:
        text = "has axes that are not quite perpendicular (rounding); straightened where a tool needs it."
        problems.append(Problem(Level.WARNING, "nearly-sheared", text))
    if lengths.max() > THICK * lengths.min():
        text = f"has thick slices ({lengths.max():.1f} mm against {lengths.min():.1f} mm)."
        problems.append(Problem(Level.NOTE, "thick-slices", text, "Small lesions may be missed."))
    return problems


def _check_units(header: Header) -> list[Problem]:
    unit = int(header["xyzt_units"]) & 7
    if unit not in UNIT_NAMES:
        return []
    text = f"gives its lengths in {UNIT_NAMES[unit]}; they are read as millimetres."
    return [Problem(Level.WARNING, "units", text, "Correct xyzt_units if that is wrong.")]
