"""Which affine counts, decided once by the table in :func:`decide`; nobody else looks at qform or sform.

ITK, ANTs and nibabel disagree on where the voxels are when qform and sform differ, when the voxel size in
``pixdim`` is not the length of the affine's columns, and when both codes are 0; a sheared affine is an error
in ITK.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np

from braincli.imaging.checks.header import Header
from braincli.imaging.checks.problem import Level, Problem, Refused

MILLIMETRE, UNIT_NAMES = 2, {1: "metres", 3: "micrometres"}
FORMS = ("sform", "qform")
FORM_CODES = (1, 2, 3, 4, 5)  # what NIfTI defines; nibabel takes others for 0
AGREE_VOXELS = 0.1  # corners of qform and sform may lie this far apart before we warn
SHEAR_NOTICED, SHEAR_REFUSED = 1e-5, 1e-3  # of max |D'D - I| for the columns' directions D; rounding: about 1e-8
SPACING_AGREES = 0.01  # pixdim against the affine's column lengths
PLAUSIBLE_MM, FARTHEST_MM = (0.01, 100.0), 1e5  # edges of a voxel; distance of the first one from the origin
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
    forms, problems = _read_forms(header)
    names = sorted(forms, key=lambda name: name != prefer)
    if names:
        used, other = names[0], names[1] if len(names) > 1 else ""
        affine = forms[used]
        _check_affine(affine, other=forms.get(other))
        if other and not _is_plausible(forms[other]):
            del forms[other]
            text = f"has a {other} that makes no sense; the {used} is used."
            problems.append(Problem(Level.WARNING, "qform-sform", text))
        elif other:
            problems += _compare_forms(affine, forms[other], shape, used, other)
    else:
        affine = _base_affine(header, shape)
        _check_affine(affine, other=None)
        text = "has no orientation (qform and sform codes are 0): left and right may be flipped."
        hint = "Check it in a viewer; convert the scan again with a tool that keeps the orientation."
        problems.append(Problem(Level.WARNING, "orientation-unknown", text, hint))
    facts = HeaderFacts(
        qform_code=int(header["qform_code"]) if "qform" in forms else 0,
        sform_code=int(header["sform_code"]) if "sform" in forms else 0,
        qform=forms.get("qform"),
        sform=forms.get("sform"),
        xyzt_units=int(header["xyzt_units"]),
        nifti2=int(header["sizeof_hdr"]) == 540,
        big_endian=header.endianness == ">",
    )
    return Geometry(affine, facts, [*_check_units(header), *problems, *_check_spacing(affine, header)])


def corner_distance(a: np.ndarray, b: np.ndarray, shape: tuple[int, int, int]) -> float:
    """Largest distance in mm between the corners of ``shape`` under two affines."""
    corners = np.array([[*corner, 1.0] for corner in product(*((0, size - 1) for size in shape))]).T
    return float(np.linalg.norm(((a - b) @ corners)[:3], axis=0).max())


def shear(affine: np.ndarray) -> float:
    """max |D'D - I| for the unit directions D of the affine's columns; 0 for perpendicular axes."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.abs(directions.T @ directions - np.eye(3)).max())


def _read_forms(header: Header) -> tuple[dict[str, np.ndarray], list[Problem]]:
    """The sform and the qform (4, 4) that the header sets, whether or not they make sense."""
    forms: dict[str, np.ndarray] = {}
    problems = []
    codes = {name: int(header[f"{name}_code"]) for name in FORMS}
    for name, code in codes.items():
        if code not in (0, *FORM_CODES):
            text = f"has an unknown {name} code ({code}); its {name} is ignored."
            problems.append(Problem(Level.WARNING, "form-code", text))
    if codes["sform"] in FORM_CODES:
        forms["sform"] = np.asarray(header.get_sform(), dtype=float)
    if codes["qform"] in FORM_CODES:
        try:
            forms["qform"] = _qform(header)
        except ValueError as error:
            if not forms:
                hint = "Its header is damaged; convert it again."
                raise Refused("qform", f"has a damaged qform ({error}).", hint) from None
            text = f"has a damaged qform ({error}); its sform is used."
            problems.append(Problem(Level.WARNING, "qform", text))
    return forms, problems


def _qform(header: Header) -> np.ndarray:
    """The qform matrix; ValueError where its quaternion is none."""
    from nibabel.spatialimages import HeaderDataError

    numbers = [float(header[name]) for name in ("quatern_b", "quatern_c", "quatern_d")]
    if not np.isfinite(numbers).all():
        raise ValueError("quaternion not finite")
    if not np.isfinite(header["pixdim"][0]):
        raise ValueError("its handedness (pixdim[0]) not finite")
    proper = header.copy()
    proper["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # NIfTI: 0 means 1, and only the sign counts
    try:
        return np.asarray(proper.get_qform(), dtype=float)
    except (HeaderDataError, ValueError):
        raise ValueError("quaternion longer than 1") from None


def _base_affine(header: Header, shape: tuple[int, int, int]) -> np.ndarray:
    from nibabel import Nifti1Header

    plain = Nifti1Header()
    plain.set_data_shape(shape)
    plain.set_zooms([float(size) for size in header["pixdim"][1:4]])
    return np.asarray(plain.get_base_affine())


def _is_plausible(affine: np.ndarray) -> bool:
    if not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    near = np.abs(affine[:3, 3]).max() <= FARTHEST_MM
    return bool(PLAUSIBLE_MM[0] <= lengths.min() <= lengths.max() <= PLAUSIBLE_MM[1] and near)


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
    if other is not None and _is_plausible(other) and shear(other) < SHEAR_REFUSED:
        way_out += " Its other form is sound: if that is the true one, --prefer qform (or sform) takes it."
    if not np.isfinite(affine).all():
        raise Refused("affine", "has an affine that is not finite (NaN or infinite).", way_out)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not lengths.all() or abs(np.linalg.det(affine[:3, :3] / np.where(lengths, lengths, 1))) < 1e-3:
        raise Refused("singular", "has a singular affine: its axes do not span space.", way_out)
    if not PLAUSIBLE_MM[0] <= lengths.min() <= lengths.max() <= PLAUSIBLE_MM[1]:
        text = " x ".join(f"{size:.3g}" for size in lengths)
        raise Refused("spacing", f"has a voxel size of {text} mm (implausible).", "Is it given in another unit?")
    if np.abs(affine[:3, 3]).max() > FARTHEST_MM:
        raise Refused("affine", f"lies {np.abs(affine[:3, 3]).max():.3g} mm from the origin.", way_out)
    if shear(affine) >= SHEAR_REFUSED:
        raise Refused("sheared", f"has a sheared affine (axes {_angle(affine):.1f} degrees apart).", way_out)


def _angle(affine: np.ndarray) -> float:
    """The smallest angle between two axes, in degrees."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.abs(np.triu(directions.T @ directions, 1)).max())))


def _compare_forms(
    affine: np.ndarray, another: np.ndarray, shape: tuple[int, int, int], used: str, other: str
) -> list[Problem]:
    distance = corner_distance(affine, another, shape)
    if distance < AGREE_VOXELS * np.linalg.norm(affine[:3, :3], axis=0).min():
        return []
    text = f"has a qform and an sform that lie {distance:.1f} mm apart; the {used} is used."
    return [Problem(Level.WARNING, "qform-sform", text, f"--prefer {other} takes the other one.")]


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
    if unit in (0, MILLIMETRE):
        return []
    text = f"gives its lengths in {UNIT_NAMES.get(unit, f'an unknown unit ({unit})')}; they are read as millimetres."
    return [Problem(Level.WARNING, "units", text, "Correct xyzt_units if that is wrong.")]
