"""What is on disk -> cases: a single file, a folder of BraTS names, a BIDS subject, a TSV manifest, a cohort.

Nothing is guessed: a subject whose files cannot be placed becomes a case with a ``problem`` that names them, and the
others go on. What braincli wrote beside the scans is known by its records and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from braincli.errors import InputError, UsageError
from braincli.imaging.archive import is_archive
from braincli.imaging.case import Case, case_name, dangling, folder_name, names_of, one_per_id, repeated, unreadable
from braincli.imaging.dicom.find import INDEX, dicom_cases, index_folder, is_dicom
from braincli.imaging.folder import cases_of
from braincli.imaging.manifest import read_manifest
from braincli.imaging.names import CONTRASTS, TISSUES, Contrast, Named, is_aside, is_nifti, legible, read_name, stem
from braincli.imaging.nnunet import is_dataset
from braincli.imaging.own import holds_prepared, is_prepared, label, own_outputs

__all__ = [
    "CONTRASTS",
    "TISSUES",
    "Case",
    "Contrast",
    "Named",
    "find_cases",
    "gather_cases",
    "is_nifti",
    "read_name",
    "sound",
    "stem",
]

MAX_DEPTH = 5  # dataset / subject / session / anat, and one to spare
BESIDE = ("figures", "logs", "xfm", "transforms", "intermediates", "qc", "native")  # folders that hold no cases
NO_RAW_DATA = ("derivatives", "sourcedata", "code")  # of a BIDS dataset
OTHERS = {  # files that are given instead of what can be read -> what to do
    (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar"): "Unpack it first.",
    (".csv", ".txt", ".xls", ".xlsx", ".ods"): "A table of cases has tabs between its columns: save it as .tsv.",
    (".toml", ".json"): "Options go to --config.",
}
Shows = Contrast | tuple[Contrast, ...] | None


@dataclass(frozen=True)
class _Placed:
    """A case, the folder that its files lie in, and whether it is one that we prepared from a raw one."""

    case: Case
    folder: Path
    prepared: bool = False


def find_cases(path: Path, *, contrast: Shows = None, run: str | None = None, dicom: bool = False) -> list[Case]:
    """All cases at ``path``, sorted by id; of several, one that cannot be used has a ``problem``.

    Args:
        path: a NIfTI file, a folder of one case, a BIDS subject or dataset, a cohort folder, or a ``.tsv``
            manifest.
        contrast: what a single file shows, where its name does not tell; several: what the volumes of a 4-D file
            show, in their order (then ``path`` may be a folder of such files, too).
        run: which of several runs of one scan: ``first``, ``last`` or a number. None: such a case has a problem.
        dicom: a study of DICOM is a case, to be opened; else it has a problem.

    Raises:
        InputError: nothing usable, or the problem of the only case.
        UsageError: ``contrast`` names one contrast twice.
    """
    cases = _find_cases(path, contrast, run, dicom)
    if len(cases) == 1:
        sound(cases)
    return cases


def gather_cases(
    paths: Sequence[Path], *, contrast: Shows = None, run: str | None = None, dicom: bool = False
) -> list[Case]:
    """The cases of several paths, in their order; a path that gives none becomes a case with a ``problem``.

    Raises:
        InputError: there is only one path, see :func:`find_cases`.
        UsageError: ``contrast`` names one contrast twice.
    """
    if len(paths) == 1:
        return find_cases(paths[0], contrast=contrast, run=run, dicom=dicom)
    cases: list[Case] = []
    for path in paths:
        try:
            cases += _find_cases(path, contrast, run, dicom)
        except InputError as problem:
            cases.append(Case(legible(stem(path)) or "/", problem=problem))
    return cases


def refuse_missing(paths: Iterable[Path]) -> None:
    """Raise where one of ``paths`` leads nowhere.

    Raises:
        InputError: the first that does.
    """
    for path in paths:
        if not path.exists():
            missing = InputError(f"{legible(path.name) or path}: no such file or folder.", "Check the path.")
            raise dangling([path]) or missing


def sound(cases: Sequence[Case]) -> list[Case]:
    """``cases``, where all of them can be used: for what needs the whole cohort.

    Raises:
        InputError: the first problem.
    """
    for case in cases:
        if case.problem is not None:
            raise case.problem
    return list(cases)


def _find_cases(path: Path, contrast: Shows, run: str | None, dicom: bool) -> list[Case]:
    if isinstance(contrast, tuple):
        if len(set(contrast)) < len(contrast):
            raise UsageError("A contrast is named twice.", "Name each volume of the file once, in their order.")
        contrast = contrast[0] if len(contrast) == 1 else contrast or None
    try:
        refuse_missing([path])
        if path.name.upper() == INDEX and path.is_file():
            path = index_folder(path)
        if path.is_file():
            return read_manifest(path) if path.suffix.lower() == ".tsv" else [_from_file(path, contrast)]
        if isinstance(contrast, Contrast):
            text = f"{folder_name(path)} is a folder; a contrast describes a single file."
            raise InputError(text, "Name the file.")
        if contrast:
            cases = [_from_file(scan, contrast) for scan in _contents(path)[0] if not _is_mask(scan)]
        else:
            placed = _cases_below(path, run, set())
            cases = _unique(_without_prepared(placed + _studies(path, placed, dicom)))
    except OSError as error:
        raise unreadable(path, error) from None
    if not cases:
        hint = "Name the .zip files in it: FOLDER/*.zip." if _holds_zip(path) else "Name a folder with scans."
        raise InputError(f"{folder_name(path)} holds no .nii or .nii.gz scan, and no DICOM.", hint)
    return sorted(cases, key=lambda case: case.id)


def _holds_zip(folder: Path) -> bool:
    return folder.is_dir() and any(is_archive(path) for path in folder.iterdir())


def _studies(root: Path, placed: Sequence[_Placed], dicom: bool) -> list[_Placed]:
    """The studies of DICOM at or below ``root``; where NIfTI files of a case lie beside or above them, these count."""
    files = [one.folder for one in placed if not one.prepared]
    if root in files:
        return []
    found = [one for one in dicom_cases(root) if not any(one[1].is_relative_to(folder) for folder in files)]
    if dicom:
        return [_Placed(case, folder) for case, folder in found]
    hint = "Prepare it first: braincli preprocess STUDY/ -o prepared/."
    problem = "{} is a study of DICOM, as it left the scanner."
    return [
        _Placed(replace(case, problem=case.problem or InputError(problem.format(case.id), hint)), folder)
        for case, folder in found
    ]


def _from_file(path: Path, contrast: Shows) -> Case:
    name = legible(path.name)
    if not is_nifti(path) and is_dicom(path):
        raise InputError(f"{name} is one file of DICOM.", "Name the folder of its study.")
    if not is_nifti(path):
        hint = next(
            (hint for suffixes, hint in OTHERS.items() if name.lower().endswith(suffixes)), "Convert it to NIfTI."
        )
        raise InputError(f"{name} is neither a .nii(.gz) scan nor a .tsv manifest.", hint)
    named = read_name(path)
    if isinstance(contrast, tuple):
        volumes = {shown: number for number, shown in enumerate(contrast)}
        images = {shown: path for shown in CONTRASTS if shown in contrast}
        return Case(legible(stem(path)), images, lesion=_decathlon_lesion(path), volumes=volumes)
    if contrast is None and named is not None and not isinstance(named.role, Contrast):
        raise InputError(f"{name} is named like a mask or map, not a scan.", "If it is one, add --contrast flair.")
    if contrast is None and named is None:
        raise InputError(f"The name of {name} does not tell its contrast.", "Say it, e.g. --contrast flair.")
    told = named.role if named and isinstance(named.role, Contrast) else None
    chosen = contrast or told
    assert chosen is not None
    understood = (chosen,) if contrast is None and named is not None and not named.usual else ()
    return Case((named.id if named else "") or legible(stem(path)), {chosen: path}, understood=understood)


def _decathlon_lesion(path: Path) -> Path | None:
    """The labels of a scan in ``imagesTr``, as the Medical Segmentation Decathlon keeps them."""
    labels = path.parent.parent / "labelsTr" / path.name
    return labels if path.parent.name == "imagesTr" and labels.is_file() else None


def _is_mask(path: Path) -> bool:
    named = read_name(path)
    return is_aside(path) if named is None else not isinstance(named.role, Contrast)


def _contents(folder: Path) -> tuple[list[Path], list[Path]]:
    """Scans and masks in ``folder`` (own outputs left out) and the folders in it that may hold cases, sorted.

    Raises:
        OSError: it cannot be read.
    """
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    below = [path for path in entries if path.is_dir()]
    files = [path for path in entries if is_nifti(path) and path not in below]
    own = own_outputs(folder) if files else set()
    below = [path for path in below if path.name not in NO_RAW_DATA] or below
    # beside ``sub-*`` other folders are cases, too, unless the data set says that it is BIDS
    if is_dataset(folder):
        below = [path for path in below if path.name.startswith("images")]
    bids = (folder / "dataset_description.json").exists()
    for pattern in (*(["sub-*"] if bids else []), "ses-*", "anat"):
        matching = [path for path in below if path.match(pattern)]
        if not any(map(holds_prepared, matching)):  # else it may be we who made them, beside raw cases
            below = matching or below
    return [path for path in files if path not in own], below


def _cases_below(root: Path, run: str | None, seen: set[Path], depth: int = 0) -> list[_Placed]:
    """The cases whose files lie in ``root`` or, where none do, in the folders below; of BIDS folders only ``anat``."""
    if (real := root.resolve()) in seen:  # links in a circle, or two to one folder
        return []
    seen.add(real)
    try:
        files, folders = _contents(root)
    except OSError as error:
        return [_Placed(Case(case_name(root), problem=unreadable(root, error)), root)]
    deeper = [] if depth >= MAX_DEPTH else [one for path in folders for one in _cases_below(path, run, seen, depth + 1)]
    if not files:
        return deeper
    prepared = any(map(is_prepared, files))
    here = [_Placed(case, root, prepared) for case in cases_of(root, files, run)]
    raw = [one for one in deeper if not one.prepared and not _is_beside(one.folder, root)]
    if not raw:
        return here + [one for one in deeper if one.prepared]
    if prepared or not any(placed.case.images for placed in here):
        return deeper + here
    text = f"{folder_name(root)} holds scans itself and in folders ({names_of(one.folder for one in raw)})."
    problem = InputError(text, "Name the case folders, or use a .tsv manifest.")
    return [_Placed(Case(folder_name(root), problem=problem), root)]


def _is_beside(folder: Path, root: Path) -> bool:
    return any(part in BESIDE for part in folder.relative_to(root).parts)


def _without_prepared(placed: list[_Placed]) -> list[_Placed]:
    """Raw cases, and of the prepared ones those whose raw case is not among them."""
    raw = {label(case.id) for case in _unique([one for one in placed if not one.prepared])}
    return [one for one in placed if not (one.prepared and label(one.case.id) in raw)]


def _unique(placed: list[_Placed]) -> list[Case]:
    """The cases of several folders; ids that occur twice get the name of the folder above in front."""
    twice = repeated(one.case for one in placed)
    cases = [
        replace(one.case, id=f"{folder_name(one.folder.resolve().parent)}_{one.case.id}")
        if one.case.id in twice
        else one.case
        for one in placed
    ]
    return one_per_id(cases)
