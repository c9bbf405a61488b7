"""What callers hand over in Python -> files and cases: scans in memory go through the gatekeeper as all others do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from braincli.errors import InputError, UsageError
from braincli.imaging.archive import is_archive, unpack
from braincli.imaging.case import Case
from braincli.imaging.cases import CONTRASTS, TISSUES, Contrast, gather_cases, read_name, sound, stem
from braincli.imaging.manifest import GROUPS, MASKS
from braincli.imaging.names import legible
from braincli.runtime import files

if TYPE_CHECKING:
    from types import TracebackType

    import nibabel as nib
    from nibabel.spatialimages import SpatialImage

Scan: TypeAlias = "Path | str | SpatialImage | tuple[Any, Any]"  # file, nibabel image, or (array (X, Y, Z), affine)
Scans: TypeAlias = "Mapping[str, Scan]"  # one case: what a line of a manifest holds, by its columns
One: TypeAlias = "Path | str | Case | Prepared | Scans"
Inputs: TypeAlias = "One | Sequence[One] | Mapping[str, Scans]"
ROLES = (*CONTRASTS, *MASKS, *TISSUES)
KINDS = "A scan is a path, a nibabel image, or (array, affine)."
UNNAMED = "case"  # id of a case that nothing gives one


@runtime_checkable
class Prepared(Protocol):
    """The result of one verb that another takes."""

    def as_case(self, scratch: Scratch) -> Case:
        """Its files as a case; what is in memory is written to ``scratch``."""


class Scratch:
    """A folder for as long as a call takes; it is made when the first thing in memory has to become a file."""

    def __init__(self) -> None:
        self._kept: TemporaryDirectory[str] | None = None
        self._count = 0

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept is not None:
            self._kept.cleanup()

    def folder(self) -> Path:
        """A new, empty folder; nobody else can read it."""
        if self._kept is None:
            self._kept = TemporaryDirectory(prefix="braincli-")
        self._count += 1
        folder = Path(self._kept.name) / str(self._count)
        folder.mkdir()
        return folder

    def file(self, scan: Scan, name: str) -> Path:
        """The path of ``scan``, which is written to ``<name>.nii`` where it has none.

        Raises:
            InputError: it is nothing that can be written.
            ResourceError: the disk is full.
        """
        if isinstance(scan, str | Path):
            return Path(scan)
        image, path = as_nifti(scan, name), self.folder() / f"{name}.nii"
        with files.atomic_path(path) as temporary, temporary.open("wb") as stream:
            image.to_stream(stream)
        return path


def as_nifti(scan: Scan, name: str) -> nib.Nifti1Image:
    """A scan in memory as a NIfTI image: its voxels as they are (bool as uint8), its affine, its header's codes.

    Args:
        scan: a nibabel image of any format, or (array, affine): (X, Y, Z) voxels, (4, 4) voxel index -> RAS mm.
        name: what errors call it.

    Raises:
        InputError: it has no affine, or no numbers.
    """
    import nibabel as nib

    header, kind = None, nib.Nifti1Image
    if isinstance(scan, nib.spatialimages.SpatialImage):
        voxels, affine = scan.dataobj, scan.affine
        if isinstance(scan, nib.Nifti1Pair):
            header = scan.header
            kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else kind
    elif isinstance(scan, tuple) and len(scan) == 2:
        voxels, affine = scan
    else:
        what = "an array without an affine" if isinstance(scan, np.ndarray) else f"of type {type(scan).__name__}"
        raise InputError(f"{name} is {what}.", KINDS)
    data = _numbers(voxels, name)
    image = kind(data, _affine(affine, name), header, dtype=data.dtype)
    image.header.set_slope_inter(1, 0)
    return image


def _numbers(voxels: Any, name: str) -> np.ndarray:
    """The array in a type that NIfTI has and every reader knows."""
    try:
        data = np.asanyarray(voxels)
    except Exception as error:  # a file behind the image, or a tensor that is not in main memory
        raise InputError(f"{name} cannot be read: {error}", KINDS) from None
    if data.dtype.kind not in "biuf" or data.ndim < 3:
        what = f"{data.ndim} axes" if data.dtype.kind in "biuf" else f"values of type {data.dtype}"
        raise InputError(f"{name} has {what}.", "A scan is an array of numbers with the axes (X, Y, Z).")
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype.kind == "f":
        return data.astype(
            np.float32 if data.dtype.itemsize < 4 else np.float64 if data.dtype.itemsize > 8 else data.dtype
        )
    if data.dtype.itemsize <= 4:
        return data
    narrow = data.astype(np.int32)  # many readers know no wider ones
    return narrow if np.array_equal(narrow, data) else data.astype(np.float64)


def _affine(affine: Any, name: str) -> np.ndarray:
    matrix = None if affine is None else np.asarray(affine)
    if matrix is None or matrix.shape != (4, 4) or matrix.dtype.kind not in "iuf":
        raise InputError(f"{name} has no affine of shape (4, 4).", "It leads from voxel indices to RAS mm.")
    return matrix.astype(np.float64)


def given_cases(
    inputs: Inputs,
    scratch: Scratch,
    *,
    contrast: Contrast | tuple[Contrast, ...] | None = None,
    run: str | None = None,
    dicom: bool = False,
) -> list[Case]:
    """The cases that a caller named or handed over; of several, one that cannot be used has a ``problem``.

    Args:
        inputs: paths, cases, results of other verbs; a mapping of one case's scans and masks, by contrast (and
            ``brain``, ``lesion``, ``group`` ...: the columns of a manifest); or several of all these: a sequence, or a
            mapping of such mappings by the cases' ids.
        scratch: where scans in memory become files, for as long as it is open.
        contrast: what a single file shows, where its name does not tell; several: what the volumes of a 4-D file show.
        run: which of several runs of one scan.
        dicom: a study of DICOM is a case, to be opened.

    Raises:
        InputError: nothing usable, or an object that is no scan.
        UsageError: nothing was given, or a name that is no contrast.
    """
    found = found_or_given(inputs, scratch)
    if not found:
        raise UsageError("No scan was given.", "Name a scan, the folder of a case or a cohort, or a manifest.")
    cases = [each for each in found if isinstance(each, Case)]
    if len(found) == 1:
        sound(cases)
    if paths := [each for each in found if isinstance(each, Path)]:
        cases += gather_cases(paths, contrast=contrast, run=run, dicom=dicom)
    return cases


def found_or_given(inputs: Inputs, scratch: Scratch) -> list[Path | Case]:
    """What was given, one by one: paths as they are, all else as cases; see :func:`given_cases`.

    Raises:
        InputError: an object that does not say what it shows.
        UsageError: a name that is no contrast.
    """
    given = list(_each(inputs))
    anonymous = sum(isinstance(item, Mapping) and not id and not _name_of(item) for id, item in given)
    found: list[Path | Case] = []
    for number, (id, item) in enumerate(given, start=1):
        if isinstance(item, Case):
            found.append(item)
        elif isinstance(item, Prepared):
            found.append(item.as_case(scratch))
        elif isinstance(item, Mapping):
            name = id or _name_of(item) or (UNNAMED if anonymous == 1 else f"{UNNAMED}-{number}")
            try:
                found.append(_from_mapping(name, item, scratch))
            except InputError as problem:
                found.append(Case(name, problem=problem))
        else:
            found.append(_opened(Path(item), scratch))
    return found


def _opened(path: Path, scratch: Scratch) -> Path | Case:
    """``path``, but of a .zip the folder that is in it; a case with a problem where it cannot be opened."""
    if not is_archive(path):
        return path
    try:
        return unpack(path, scratch.folder())
    except InputError as problem:
        return Case(legible(path.stem) or UNNAMED, problem=problem)


def _each(inputs: Inputs) -> Iterator[tuple[str, One]]:
    """What was given, one by one, with the id that a mapping gives it."""
    if isinstance(inputs, Mapping):
        nested = [isinstance(value, Mapping) for value in inputs.values()]
        if nested and all(nested):
            yield from ((str(id), scans) for id, scans in inputs.items())
        else:
            yield "", inputs
    elif isinstance(inputs, str | Path | Case | Prepared):
        yield "", inputs
    elif isinstance(inputs, Iterable) and not isinstance(inputs, np.ndarray) and not hasattr(inputs, "affine"):
        for item in inputs:
            if not isinstance(item, str | Path | Case | Prepared | Mapping):
                raise _nameless(item)
            yield "", item
    else:
        raise _nameless(inputs)


def _nameless(item: object) -> InputError:
    return InputError(
        f"An input of type {type(item).__name__} does not say what it shows.",
        'Give paths, or scans by contrast: {"t1": image, "flair": image}.',
    )


def _from_mapping(id: str, scans: Scans, scratch: Scratch) -> Case:
    """A case by the columns of a manifest.

    Raises:
        UsageError: an unknown column or group, or no scan.
        InputError: one file for two contrasts, or what is no scan.
    """
    content = {str(key).strip().lower(): value for key, value in scans.items() if value is not None}
    group = content.pop("group", None)
    if unknown := [key for key in content if key not in ROLES]:
        raise UsageError(
            f"There is no contrast {unknown[0]!r}.",
            f"Use one of: {', '.join(CONTRASTS)}; beside them {', '.join(ROLES[len(CONTRASTS) :])} and group.",
        )
    if group is not None and group not in GROUPS:
        raise UsageError(f"There is no group {group!r}.", f"Use one of: {', '.join(GROUPS)}.")
    paths = {role: scratch.file(content[role], role) for role in ROLES if role in content}
    images = {contrast: paths[contrast] for contrast in CONTRASTS if contrast in paths}
    if not images:
        raise UsageError("No scan was given.", f"Name one by its contrast: {', '.join(CONTRASTS)}.")
    if len({path.resolve() for path in images.values()}) < len(images):
        raise InputError("The same file was given for two contrasts.", "Each contrast is a scan of its own.")
    tissue = {role: paths[role] for role in TISSUES if role in paths}
    return Case(
        id, images, paths.get("brain"), paths.get("lesion"), None if group is None else str(group), tissue,
        unsure=paths.get("unsure"),
    )  # fmt: skip


def _name_of(scans: Scans) -> str:
    """The id that the name of the first scan tells, of a file or of an image that came from one; or none."""
    for contrast in CONTRASTS:
        scan = next((value for key, value in scans.items() if str(key).strip().lower() == contrast), None)
        source = scan if isinstance(scan, str | Path) else getattr(scan, "get_filename", lambda: None)()
        if source:
            named = read_name(Path(source))
            return (named.id if named else "") or stem(Path(source))
    return ""
