"""The files of one folder -> its cases: usually one, or a flat cohort."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from braincli.errors import InputError
from braincli.imaging import nnunet
from braincli.imaging.case import Case, case_name, dangling, folder_name, names_of
from braincli.imaging.names import (
    CONTRASTS,
    TISSUES,
    Contrast,
    Named,
    Role,
    is_aside,
    is_stripped,
    legible,
    read_name,
    stem,
)

SEGMENTATION = re.compile(r"(.*)[ _.\-]seg(?:mentation)?", re.IGNORECASE)


def cases_of(folder: Path, paths: list[Path], run: str | None) -> list[Case]:
    """The cases whose files lie in one folder: usually one, or a flat cohort."""
    try:
        channels = nnunet.read_channels(folder, paths)
    except InputError as problem:
        return [Case(case_name(folder), problem=problem)]
    named, unknown, aside = _read_names(paths, channels)
    files = _by_id(named)
    roles = Counter(file.role for file in named)
    if len(files) > 1 and max(roles.values()) == 1:
        text = f"{folder_name(folder)}: file names begin differently ({', '.join(sorted(files))}): one case or several?"
        hint = "Give them the same beginning, a folder each, or a .tsv manifest."
        return [Case(case_name(folder), problem=InputError(text, hint))]
    strange, asides = _by_owner(unknown, list(files)), _by_owner(aside, list(files))
    cases = []
    for id in sorted({*files, *strange}):
        own = files.get(id, [])
        case = _assemble(id or case_name(folder), own, run)
        if id in strange and (case is not None or not own):
            case = replace(case or Case(id or case_name(folder)), problem=_unplaced(folder, strange[id]))
        if case is not None:
            if channels and case.lesion is None:
                case = replace(case, lesion=nnunet.labels_of(folder, case.id))
            cases.append(replace(case, aside=tuple(asides.get(id, ()))))
    return cases


def _read_names(paths: list[Path], channels: dict[Path, Named]) -> tuple[list[Named], list[Path], list[Path]]:
    """Files with a role, those whose name tells nothing, and those that are known to be neither scan nor mask."""
    names = {path: channels.get(path) or read_name(path) for path in paths}
    stems = {stem(path) for path in paths}
    scans = {name.id for name in names.values() if name is not None and isinstance(name.role, Contrast)}
    named: list[Named] = []
    unknown: list[Path] = []
    aside: list[Path] = []
    for path, name in names.items():
        if name is None:
            (aside if is_aside(path) else unknown).append(path)
            continue
        segmentation = SEGMENTATION.fullmatch(stem(path)) if name.role == "lesion" else None
        of_scan = bool(name.scan) and name.scan not in scans  # else the case itself is called so
        if segmentation and _is_of_fast(segmentation[1], stems, of_scan):
            continue
        if segmentation and of_scan:  # lesion, or tissue classes of a FAST that left nothing else?
            unknown.append(path)
        elif name.role != "other":
            named.append(name)
    if not scans:  # what was made from scans is all that there is: it is not left out without a word
        unknown += [path for path in aside if is_stripped(path)]
    return named, unknown, aside


def _is_of_fast(prefix: str, stems: set[str], of_scan: bool) -> bool:
    """Whether ``<prefix>_seg`` lies beside what FSL FAST writes: then it holds tissue classes, no lesion."""
    kinds = ("pveseg", "mixeltype", *(("pve_0", "pve_1", "pve_2") if of_scan else ()))
    return any(f"{prefix}_{kind}" in stems for kind in kinds)


def _by_id(named: list[Named]) -> dict[str, list[Named]]:
    """Files by case: a mask of a scan goes with it, and so do runs of one scan (``X_t1`` beside ``X_run2_t1``)."""
    scans = {file.id for file in named if isinstance(file.role, Contrast)}
    ids = {file.path: file.scan if file.scan and file.scan in scans else file.id for file in named}
    spellings: dict[str, set[str]] = {}
    for file in named:
        spellings.setdefault(file.base, set()).add(ids[file.path])
    files: dict[str, list[Named]] = {}
    for file in named:
        files.setdefault(file.base if len(spellings[file.base]) > 1 else ids[file.path], []).append(file)
    return files


def _by_owner(paths: list[Path], ids: list[str]) -> dict[str, list[Path]]:
    """Files without a role by the case that their name begins with, or the only one; others are one by themselves."""
    owners: dict[str, list[Path]] = {}
    for path in paths:
        name = legible(stem(path))
        own = [id for id in ids if name == id or (name.startswith(id) and name[len(id)] in " _.-")]
        alone = (ids or [""]) if len(ids) < 2 else [name]
        owners.setdefault(max(own or alone, key=len), []).append(path)
    return owners


def _unplaced(folder: Path, paths: list[Path]) -> InputError:
    return nnunet.untold(paths) or InputError(
        f"{folder_name(folder)}: cannot tell what {names_of(paths)} shows.",
        "Name it like id_flair.nii.gz or id_seg.nii.gz, move it away, or use a .tsv manifest.",
    )


def _assemble(id: str, files: list[Named], run: str | None) -> Case | None:
    """One case from its named files, None without an image; masks count only in the images' space."""
    spaces = {file.space for file in files if isinstance(file.role, Contrast)}
    roles: dict[Role, list[Named]] = {}
    for file in files:
        if file.space in spaces:
            roles.setdefault(file.role, []).append(file)
    problem: InputError | None = None
    placed: dict[Role, Path] = {}
    usual = {file.path: file.usual for file in files}
    for role, candidates in roles.items():
        try:
            placed[role] = _choose(id, role, candidates, run)
        except InputError as error:
            problem = problem or error
    if len(spaces) > 1:
        text = f"{id}: scans in several spaces ({', '.join(space or 'native' for space in sorted(spaces))})."
        problem = InputError(text, "Keep prepared and raw scans in separate folders.")
    if not spaces:
        return None
    images = {contrast: placed[contrast] for contrast in CONTRASTS if contrast in placed}
    tissue = {str(role): path for role, path in placed.items() if role in TISSUES}
    problem = problem or dangling(placed.values())
    understood = tuple(contrast for contrast, path in images.items() if not usual[path])
    return Case(
        id, images, placed.get("brain"), placed.get("lesion"), None, tissue, problem, understood=understood
    )  # fmt: skip


def _choose(id: str, role: Role, files: list[Named], run: str | None) -> Path:
    """The only file for ``role``, or of several runs the one that was asked for.

    Raises:
        InputError: they are no runs, or none was asked for, or that one is not there.
    """
    if len(files) == 1:
        return files[0].path
    count = {2: "two", 3: "three"}.get(len(files), str(len(files)))
    text = f"{id}: {count} files for {role}: {names_of(sorted(file.path for file in files))}."
    if len({file.run for file in files}) < len(files):
        raise InputError(text, "Keep one of them, or choose in a .tsv manifest.")
    if run is None:
        raise InputError(text, "Runs of one scan? Choose: --run first, --run last or --run N; or keep one of them.")
    by_run = {file.run: file.path for file in sorted(files, key=lambda file: file.run or 0)}
    if run in ("first", "last"):
        return list(by_run.values())[0 if run == "first" else -1]
    number = int(run)
    if number == 1 and 1 not in by_run and None in by_run:  # a scan is repeated when a second one is called so
        return by_run[None]
    if number not in by_run:
        raise InputError(f"{text[:-1]}, and none is run {number}.", "Choose another --run.")
    return by_run[number]
