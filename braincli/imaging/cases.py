"""What is on disk -> cases: a single file, a folder of BraTS names, a BIDS subject, a TSV manifest, a cohort.

A name is read from its end: ``<id>[_entity-value ...]<separator><suffix>.nii.gz``. The suffix tells the
contrast or the mask (``_t1ce``, ``-t1c``, ``_T1w``, ``_fla``, ``_seg`` ...), BIDS entities refine it
(``ce-gd``, ``label-L_mask``, ``desc-brain_mask``). Nothing is guessed: what cannot be placed is an error that
names the file.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from braincli.errors import InputError


class Contrast(StrEnum):
    """The four contrasts, in the order of every contrast axis in braincli."""

    T1 = "t1"
    T1CE = "t1ce"
    T2 = "t2"
    FLAIR = "flair"


CONTRASTS: tuple[Contrast, ...] = tuple(Contrast)


TISSUES = ("gm", "wm", "csf")  # grey matter, white matter, fluid
GROUPS = ("healthy", "diseased")
MANIFEST_COLUMNS = ("id", *CONTRASTS, "brain", "lesion", *TISSUES, "group")
MANIFEST_HINT = f"Columns, separated by tabs: {', '.join(MANIFEST_COLUMNS)}; paths relative to the manifest."
MAX_DEPTH = 5  # dataset / subject / session / anat, and one to spare

Role = Contrast | Literal["brain", "lesion", "gm", "wm", "csf", "mask", "other"]
SUFFIXES: dict[Role, str] = {
    Contrast.T1CE: r"t1[_-]?(?:ce|c|gd|post)w?",
    Contrast.T1: r"t1[wn]?",
    Contrast.FLAIR: r"(?:t2[_-]?)?flair|fla|t2f",
    Contrast.T2: r"t2w?",
    "brain": r"brain[_-]?mask",
    "lesion": r"seg|segmentation|(?:lesions?|tumou?r)(?:[_-]?(?:mask|seg|segmentation))?",
    "csf": r"csf|pve_0",  # pve_0 to pve_2: as FSL FAST names them, given a T1
    "gm": r"gm|pve_1",
    "wm": r"wm|pve_2",
    "mask": r"mask|dseg|probseg",
}
OTHER_SUFFIXES = (  # BIDS names of what is known not to be one of the four contrasts
    "pdw|pdt2|inplanet[12]|angio|t2starw?|t[12]map|t2starmap|r1map|mp2rage|unit1|mtw|mtsat|tb1map|megre|mese|vfa|mpm"
    "|bold|sbref|boldref|dwi|epi|asl|m0scan|cbf|swi|phase|magnitude|defacemask|xfm"
)
ENTITIES = r"(?:_(?:acq|ce|rec|run|space|res|den|label|desc|part|echo|inv|dir|mod|from|to|mode|hemi)-[A-Za-z0-9]+)*"
SUFFIX = "|".join((*SUFFIXES.values(), OTHER_SUFFIXES))
NAME = re.compile(rf"(?P<id>.*?)(?P<entities>{ENTITIES})(?:^|[ _.\-])(?P<suffix>{SUFFIX})", re.IGNORECASE)
BESIDE = (
    "figures",
    "logs",
    "xfm",
    "transforms",
    "intermediates",
    "qc",
    "native",
)  # folders that hold no cases


@dataclass(frozen=True)
class Case:
    """One patient (or session) as found on disk.

    Attributes:
        id: unique in its cohort; from the folder or the file names.
        images: at least one contrast.
        brain: brain mask, if one lies beside the images.
        lesion: reference lesion mask, if one lies beside the images.
        group: ``healthy``, ``diseased`` or None when unknown.
        tissue: probability maps of tissues (``TISSUES``) that lie beside the images.
        problem: why nothing can be done with it (two files for one contrast, an unreadable folder ...); what is found
            of it is kept all the same.
    """

    id: str
    images: dict[Contrast, Path] = field(default_factory=dict)
    brain: Path | None = None
    lesion: Path | None = None
    group: str | None = None
    tissue: dict[str, Path] = field(default_factory=dict)
    problem: InputError | None = None


@dataclass(frozen=True)
class Named:
    """What a file name says."""

    path: Path
    id: str
    role: Role
    space: str = ""


def stem(path: Path) -> str:
    """The name without ``.nii`` or ``.nii.gz``; other dots stay."""
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def is_nifti(path: Path) -> bool:
    """Whether the name ends in ``.nii`` or ``.nii.gz`` (any case)."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_name(path: Path) -> Named | None:
    """What the name of a NIfTI file says, or None where it says nothing."""
    match = NAME.fullmatch(stem(path))
    if match is None:
        return None
    entities = dict(part.split("-", 1) for part in match["entities"].split("_")[1:])
    role = _role(match["suffix"].lower(), entities)
    return None if role is None else Named(path, match["id"].strip(" _.-"), role, _space(entities))


def _space(entities: dict[str, str]) -> str:
    space = entities.get("space", "")
    return "" if space == "orig" else space


def _role(suffix: str, entities: dict[str, str]) -> Role | None:
    role: Role = next((r for r, pattern in SUFFIXES.items() if re.fullmatch(pattern, suffix)), "other")
    desc = entities.get("desc", "").lower()
    if isinstance(role, Contrast):
        if desc not in ("", "preproc") or entities.get("part", "mag") != "mag":
            return "other"  # something computed from a scan
        return Contrast.T1CE if role is Contrast.T1 and "ce" in entities else role
    if role != "mask":
        return role
    if (label := entities.get("label", "").lower()) in TISSUES and suffix == "probseg":
        return label  # type: ignore[return-value]
    if desc == "brain":
        return "brain"
    if desc.endswith("lesion") or (entities.get("label") == "L" and not desc):
        return "lesion"
    return "other" if desc or "label" in entities else None  # a mask of we know not what


def find_cases(path: Path, *, contrast: Contrast | None = None) -> list[Case]:
    """All cases at ``path``, sorted by id.

    Args:
        path: a NIfTI file, a folder of one case, a BIDS subject or dataset, a cohort folder, or a ``.tsv``
            manifest.
        contrast: what a single file shows, where its name does not tell.

    Raises:
        InputError: nothing usable, two files for one contrast, or a file that cannot be placed.
    """
    try:
        return _find_cases(path, contrast)
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror}).", "Check its permissions.") from None


def _find_cases(path: Path, contrast: Contrast | None) -> list[Case]:
    if not path.exists():
        raise InputError(f"{path.name or path}: no such file or folder.", "Check the path.")
    if path.is_file():
        return _from_manifest(path) if path.suffix.lower() == ".tsv" else [_from_file(path, contrast)]
    if contrast is not None:
        raise InputError(f"{_folder_name(path)} is a folder; a contrast describes a single file.", "Name the file.")
    cases = [case for folder in _folders_with_scans(path) for case in _from_folder(folder)]
    if not cases:
        raise InputError(f"{_folder_name(path)} holds no .nii or .nii.gz scan.", "Convert DICOM with dcm2niix first.")
    return sorted(_unique(cases), key=lambda case: case.id)


def _from_file(path: Path, contrast: Contrast | None) -> Case:
    if not is_nifti(path):
        raise InputError(f"{path.name} is neither a .nii(.gz) scan nor a .tsv manifest.", "Convert it to NIfTI.")
    named = read_name(path)
    if contrast is None and named is not None and not isinstance(named.role, Contrast):
        raise InputError(f"{path.name} is named like a mask or map, not a scan.", "If it is one, add --contrast flair.")
    if contrast is None and named is None:
        raise InputError(f"The name of {path.name} does not tell its contrast.", "Say it, e.g. --contrast flair.")
    told = named.role if named and isinstance(named.role, Contrast) else None
    chosen = contrast or told
    assert chosen is not None
    return Case((named.id if named else "") or stem(path), {chosen: path})


def _folder_name(path: Path) -> str:
    return path.resolve().name or "/"


def _scans(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if is_nifti(p) and not p.name.startswith(".") and not p.is_dir())


def _folders_with_scans(root: Path, depth: int = 0) -> Iterator[Path]:
    """``root`` if scans lie in it, else the folders below that hold some; of BIDS folders only ``anat``."""
    below = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    for pattern in ("sub-*", "ses-*", "anat"):
        below = [p for p in below if p.match(pattern)] or below
    found = [] if depth >= MAX_DEPTH else [f for p in below for f in _folders_with_scans(p, depth + 1)]
    if not _scans(root):
        yield from found
        return
    cases = [f for f in found if not any(part in BESIDE for part in f.relative_to(root).parts)]
    if cases:
        raise InputError(
            f"{_folder_name(root)} holds scans itself and in folders ({_names(cases)}).",
            "Name the case folders, or use a .tsv manifest.",
        )
    yield root


def _from_folder(folder: Path) -> list[tuple[Path, Case]]:
    """The cases whose files lie in one folder: usually one, or a flat cohort."""
    named = [(path, read_name(path)) for path in _scans(folder)]
    if unknown := [path for path, name in named if name is None]:
        raise InputError(
            f"{_folder_name(folder)}: cannot tell what {_names(unknown)} shows.",
            "Name it like id_flair.nii.gz or id_seg.nii.gz, move it away, or use a .tsv manifest.",
        )
    files = [name for _, name in named if name is not None and name.role != "other"]
    ids = sorted({file.id for file in files})
    counts = Counter(file.role for file in files)
    if len(ids) > 1 and max(counts.values()) == 1:
        raise InputError(
            f"{_folder_name(folder)}: file names begin differently ({', '.join(ids)}): one case or several?",
            "Give them the same beginning, a folder each, or a .tsv manifest.",
        )
    found = [(folder, _assemble(id, [file for file in files if file.id == id], folder)) for id in ids]
    return [(folder, case) for folder, case in found if case is not None]


def _assemble(id: str, files: list[Named], folder: Path) -> Case | None:
    """One case from its named files, None without an image; masks count only in the images' space."""
    spaces = {file.space for file in files if isinstance(file.role, Contrast)}
    if len(spaces) > 1:
        raise InputError(
            f"{id}: scans in several spaces ({', '.join(space or 'native' for space in sorted(spaces))}).",
            "Keep prepared and raw scans in separate folders.",
        )
    placed: dict[Role, Path] = {}
    for file in files:
        if file.space not in spaces:
            continue
        if file.role in placed:
            both = _names([placed[file.role], file.path])
            raise InputError(
                f"{id or _folder_name(folder)}: two files for {file.role}: {both}.",
                "Keep one of them, or choose in a .tsv manifest.",
            )
        placed[file.role] = file.path
    images = {contrast: placed[contrast] for contrast in CONTRASTS if contrast in placed}
    own = folder.parent if folder.name == "anat" else folder
    masks = placed.get("brain"), placed.get("lesion"), None
    return Case(id or _folder_name(own), images, *masks, _tissue(placed)) if images else None


def _tissue(files: Mapping[Any, Path]) -> dict[str, Path]:
    return {name: files[name] for name in TISSUES if name in files}


def _unique(found: list[tuple[Path, Case]]) -> list[Case]:
    """The cases of several folders; ids that occur twice get the name of the folder above in front."""
    twice = _repeated(case for _, case in found)
    cases = [
        replace(case, id=f"{_folder_name(folder.resolve().parent)}_{case.id}") if case.id in twice else case
        for folder, case in found
    ]
    if again := _repeated(cases):
        raise InputError(f"Several cases are called {again[0]}.", "Rename them, or use a .tsv manifest.")
    return cases


def _repeated(cases: Iterable[Case]) -> list[str]:
    return [id for id, count in Counter(case.id for case in cases).items() if count > 1]


def _names(paths: Iterable[Path], most: int = 4) -> str:
    names = [path.name for path in paths]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _from_manifest(path: Path) -> list[Case]:
    """Cases of a tab-separated table; empty cells and ``n/a`` mean that there is no such file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, delimiter="\t")
            rows, columns = list(reader), list(reader.fieldnames or [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} is no table in UTF-8 text ({error}).", MANIFEST_HINT) from None
    if unknown := [column for column in columns if column not in MANIFEST_COLUMNS]:
        raise InputError(f"{path.name}: unknown column {unknown[0]!r}.", MANIFEST_HINT)
    if "id" not in columns or not rows:
        raise InputError(f"{path.name} has no {'rows' if 'id' in columns else 'column id'}.", MANIFEST_HINT)
    cases = [_from_row(path, number, row) for number, row in enumerate(rows, 2)]
    if twice := _repeated(cases):
        raise InputError(f"{path.name}: the id {twice[0]} occurs twice.", "Ids must be unique.")
    return sorted(cases, key=lambda case: case.id)


def _from_row(manifest: Path, number: int, row: dict[str, str | None]) -> Case:
    where = f"{manifest.name}, line {number}"
    cells = {key: value.strip() for key, value in row.items() if key and value and value.strip() not in ("", "n/a")}
    files = {key: manifest.parent / cells[key] for key in (*CONTRASTS, "brain", "lesion", *TISSUES) if key in cells}
    if missing := [file for file in files.values() if not file.is_file()]:
        raise InputError(f"{where}: no such file: {missing[0].name}.", "Paths are relative to the manifest.")
    images = {contrast: files[contrast] for contrast in CONTRASTS if contrast in files}
    if "id" not in cells or not images:
        raise InputError(f"{where}: no {'scan' if 'id' in cells else 'id'}.", MANIFEST_HINT)
    group = cells.get("group")
    if group not in (None, *GROUPS):
        raise InputError(f"{where}: group is {group!r}.", "Write healthy, diseased, or leave it empty.")
    return Case(cells["id"], images, files.get("brain"), files.get("lesion"), group, _tissue(files))
