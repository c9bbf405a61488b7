"""Folders -> the studies below them, by one header per folder: a cohort is found without reading all of its files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path
from typing import TYPE_CHECKING

from braincli.errors import InputError
from braincli.imaging.case import Case, folder_name
from braincli.imaging.dicom.headers import is_cut, read_header
from braincli.imaging.dicom.identity import TAGS, pseudonym, tells_identity
from braincli.imaging.dicom.study import Study, missing_packages
from braincli.imaging.own import folders_below

if TYPE_CHECKING:
    from pydicom import Dataset

MAGIC_AT, MAGIC = 128, b"DICM"
INDEX = "DICOMDIR"
SUFFIXES = ("", ".dcm", ".dicom", ".dic", ".ima", ".img", ".mr", ".mag")  # and numbers, such as .0001
LOOKED_AT = 20  # files of a folder, until one is of DICOM
NO_RAW_DATA = ("derivatives", "sourcedata", "code")  # where a BIDS dataset keeps them beside its NIfTI files


@dataclass(frozen=True)
class Found:
    """A study, the folder that holds all of it (and no other, where there is such a one), and its header."""

    study: Study
    folder: Path
    header: Dataset | None


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does (PS3.10, section 7.1)."""
    try:
        with path.open("rb") as handle:
            handle.seek(MAGIC_AT)
            return handle.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def dicom_files(folder: Path) -> Iterator[Path]:
    """The files in ``folder`` that may be images of DICOM, sorted; its index is none."""
    for path in sorted(folder.iterdir()):
        suffix = path.suffix.lower()
        named = suffix in SUFFIXES or suffix[1:].isdecimal() or path.name.lower().startswith(("im", "mr", "1."))
        if named and path.name.upper() != INDEX and not path.name.startswith(".") and path.is_file() and is_dicom(path):
            yield path


def dicom_cases(root: Path) -> list[tuple[Case, Path]]:
    """A case for every study at or below ``root``, with its folder; nothing is read of its images yet."""
    found = list(_studies(root))
    names = [_name(one, found, root) for one in found]
    cases = []
    for one, name in zip(found, names, strict=True):
        tells = one.header is not None and tells_identity(name, one.header)
        if tells or names.count(name) > 1:
            name = pseudonym(one.study.uid)
        study = Study(one.study.folders, one.study.uid, renamed=tells)
        cases.append((Case(name, study=study, problem=missing_packages(name)), one.folder))
    return cases


def index_folder(path: Path) -> Path:
    """Where the images of the index ``path`` lie.

    Raises:
        InputError: they are not there.
    """
    if next(_studies(path.parent), None) is None:
        raise InputError(
            f"{path.name} is an index, and the images that it lists are not beside it.", "Copy the whole medium."
        )
    return path.parent


def _studies(root: Path) -> Iterator[Found]:
    """The studies at or below ``root``, each with the highest folder that holds it and no other."""
    leaves: dict[str, list[Path]] = {}
    headers: dict[str, Dataset | None] = {}
    for folder in folders_below(root):
        if set(folder.relative_to(root).parts) & set(NO_RAW_DATA):
            continue
        for header in _first_image(folder):
            uid = "" if header is None else str(header.get("StudyInstanceUID", ""))
            leaves.setdefault(uid or str(folder), []).append(folder)
            headers.setdefault(uid or str(folder), header)
    for uid, folders in leaves.items():
        others = [path for key, paths in leaves.items() if key != uid for path in paths]
        yield Found(Study(tuple(folders), uid), _highest(folders, others, root), headers[uid])


def _first_image(folder: Path) -> list[Dataset | None]:
    """The header of the first image in ``folder``, None where it is DICOM that cannot be read; empty: there is none."""
    if missing_packages(""):
        return [None for _ in list(_some(folder))[:1]]
    unread = False
    for path in _some(folder):
        try:
            header = read_header(path, TAGS)
        except InputError:
            unread = True
            continue
        unread = unread or is_cut(header)
        if "Rows" in header and header.get("Modality") != "SEG":
            return [header]
    return [None] if unread else []


def _some(folder: Path) -> Iterator[Path]:
    try:
        for path, _ in zip(dicom_files(folder), range(LOOKED_AT), strict=False):
            yield path
    except OSError:
        return


def _highest(folders: list[Path], others: list[Path], root: Path) -> Path:
    """The highest folder, not above ``root``, that holds ``folders`` and none of ``others``."""
    place = Path(commonpath(folders))
    while place != root and not any(other.is_relative_to(place.parent) for other in others):
        place = place.parent
    return place


def _name(one: Found, found: list[Found], root: Path) -> str:
    """The name of its folder, with that above where several are called so."""
    name = folder_name(one.folder)
    if one.folder != root and sum(folder_name(other.folder) == name for other in found) > 1:
        return f"{folder_name(one.folder.parent)}_{name}"
    return name
