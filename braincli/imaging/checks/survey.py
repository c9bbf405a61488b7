"""Files and cases put through the gatekeeper: what ``braincli check`` reports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli.errors import InputError
from braincli.imaging.brain import has_skull
from braincli.imaging.cases import NO_RAW_DATA, Case, find_cases
from braincli.imaging.checks.gate import read
from braincli.imaging.checks.privacy import private_content
from braincli.imaging.checks.problem import Level, Problem
from braincli.imaging.dicom.opening import look_into
from braincli.imaging.dicom.study import Study
from braincli.imaging.names import Contrast, is_nifti, legible, read_name, stem
from braincli.imaging.own import folders_below, own_outputs
from braincli.imaging.volume import Volume, from_reading, same_grid
from braincli.runtime.frames import dataframe
from braincli.runtime.progress import Reporter

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class FileReport:
    """One file: what it is and what was found; ``shape`` and the like are None where unreadable."""

    file: str
    role: str = ""
    usable: bool = False
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, ...] | None = None
    axes: str | None = None
    sha256: str = ""
    problems: list[Problem] = field(default_factory=list)
    private: dict[str, str] | None = None


@dataclass
class CaseReport:
    """The files of one case, and what they are together."""

    id: str
    files: list[FileReport] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass
class CheckReport:
    """All cases, and what is wrong with the paths that gave none."""

    cases: list[CaseReport] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def all_problems(self) -> Iterator[Problem]:
        """Every finding, of paths, cases and files."""
        yield from self.problems
        for case in self.cases:
            yield from case.problems
            for file in case.files:
                yield from file.problems

    @property
    def errors(self) -> list[Problem]:
        """What makes something unusable."""
        return [problem for problem in self.all_problems() if problem.level >= Level.ERROR]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content; levels by name."""
        content = asdict(self, dict_factory=_with_level_names)
        return {"usable": not self.errors, **content}

    def to_dataframe(self) -> pd.DataFrame:
        """One line per file: case, role, size in voxels, spacing in mm, axes, what was found.

        Raises:
            UsageError: pandas is not installed.

        Example:
            >>> braincli.check("cohort/").to_dataframe().query("not usable")
        """
        columns = [name for name in FileReport.__dataclass_fields__ if name != "private"]
        rows = [
            {**vars(file), "case": case.id, "problems": "; ".join(problem.message for problem in file.problems)}
            for case in self.cases
            for file in case.files
        ]
        return dataframe(rows, ["case", *columns])


def _with_level_names(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value.name.lower() if isinstance(value, Level) else value for key, value in items}


def survey(
    paths: Sequence[Path | Case],
    *,
    volume: int | None = None,
    prefer: str = "sform",
    phi: bool = False,
    reporter: Reporter | None = None,
) -> CheckReport:
    """Put every file at ``paths`` (files, case or cohort folders, manifests) or of cases through the gatekeeper."""
    report = CheckReport()
    cases = [case for path in paths for case in _expand(path, report)]
    with (reporter or Reporter()).step("check", total=len(cases)) as step:
        for case, files in cases:
            report.cases.append(_check_case(case, files, volume=volume, prefer=prefer, phi=phi))
            step.advance(note=case.id)
    return report


def check_set(volumes: Mapping[str, Volume]) -> list[Problem]:
    """What is wrong with files that are given together: a scan given twice (error), different grids (note).

    Args:
        volumes: by contrast or mask name; images are float32.
    """
    problems = []
    for (first, a), (second, b) in combinations(volumes.items(), 2):
        images = [volume.data.dtype.kind == "f" for volume in (a, b)]
        if np.array_equal(a.data, b.data) if all(images) else (any(images) and a.sha256 == b.sha256 != ""):
            text = f"{_name(a)} and {_name(b)} are the same scan, given as {first} and {second}."
            problems.append(Problem(Level.ERROR, "same-scan", text, "Give each contrast its own file."))
    return problems + _compare_grids(volumes)


def _compare_grids(volumes: Mapping[str, Volume]) -> list[Problem]:
    """Raw scans may well lie on several grids; a mask that lies on none of them is suspicious."""
    images = {name: volume for name, volume in volumes.items() if volume.data.dtype.kind == "f"}
    if not images:
        return []
    problems = []
    reference, first = next(iter(images.items()))
    if apart := [name for name, image in images.items() if same_grid(first, image) is not None]:
        text = f"{', '.join(apart)}: another grid than {reference}."
        hint = "braincli preprocess (or detect --preprocess) brings them onto one."
        problems.append(Problem(Level.NOTE, "different-grids", text, hint))
    for mask in (volume for name, volume in volumes.items() if name not in images):
        apart_from = [same_grid(image, mask) for image in images.values()]
        if all(apart_from) and (nearest := apart_from[0]):
            hint = "Was it drawn on another scan, or saved without its position?"
            problems.append(Problem(Level.WARNING, "mask-elsewhere", nearest.message, hint))
    return problems


def _name(volume: Volume) -> str:
    return volume.source.name if volume.source else "a computed volume"


def _expand(path: Path | Case, report: CheckReport) -> list[tuple[Case, dict[str, Path]]]:
    """The cases at ``path`` with their files by role; where none can be told, each file by itself."""
    if isinstance(path, Case):  # its problem is told with the case
        return [(path, _files(path))]
    if is_nifti(path) or not (path.is_dir() or path.suffix.lower() == ".tsv"):
        return [_alone(path)]
    try:
        return [(case, _files(case)) for case in find_cases(path, dicom=True)]
    except InputError as error:
        report.problems.append(Problem(Level.ERROR, "cases", error.message, error.hint))
    return [_alone(scan) for scan in _volumes(path)] if path.is_dir() else []


def _alone(path: Path) -> tuple[Case, dict[str, Path]]:
    return Case(legible(stem(path))), {_role(path): path}


def _volumes(root: Path) -> Iterator[Path]:
    """Every volume at or below ``root`` that is not braincli's own, nor in a folder of derivatives."""
    for folder in folders_below(root):
        if not set(folder.relative_to(root).parts) & set(NO_RAW_DATA):
            with suppress(OSError):
                own = own_outputs(folder)
                yield from (
                    path
                    for path in sorted(folder.iterdir())
                    if is_nifti(path) and not path.name.startswith(".") and path not in own
                )


def _files(case: Case) -> dict[str, Path]:
    masks = {"brain": case.brain, "lesion": case.lesion}
    return {
        **{str(name): path for name, path in case.images.items()},
        **{n: p for n, p in masks.items() if p},
    }


def _role(path: Path) -> str:
    """The contrast or mask that a name tells, ``mask`` where it ends like one, ``scan`` otherwise."""
    named = read_name(path)
    if named is not None and named.role != "other":
        return str(named.role)
    return "mask" if re.search(r"(mask\d*|seg|segm|labels?|lesions?|roi)$", stem(path), re.IGNORECASE) else "scan"


def _check_case(case: Case, files: Mapping[str, Path], *, volume: int | None, prefer: str, phi: bool) -> CaseReport:
    report = CaseReport(case.id)
    if case.problem is not None:
        report.problems.append(Problem(Level.ERROR, "case", case.problem.message, case.problem.hint))
    for path in case.aside:
        text = f"{legible(path.name)} is neither a scan nor a mask with a known meaning; it is not used."
        report.problems.append(Problem(Level.NOTE, "aside", text, "If it is the lesion, name it <case>_seg.nii.gz."))
    if case.study is not None and case.problem is None:
        report.problems.append(_check_study(case, case.study))
    volumes: dict[str, Volume] = {}
    for role, path in files.items():
        labels = role not in ("scan", *Contrast)
        chosen = None if labels and len(files) > 1 else case.volumes.get(role, volume)  # type: ignore[call-overload]
        reading = read(path, volume=chosen, prefer=prefer, labels=labels)
        file = FileReport(legible(path.name), role, reading.usable, sha256=reading.sha256, problems=reading.problems)
        if reading.usable:
            volumes[role] = from_reading(reading)
            _describe(file, volumes[role], skull=not labels)
        if phi and reading.header is not None:
            file.private = private_content(reading.header, reading.head)
        report.files.append(file)
    if len(volumes) > 1:
        report.problems += check_set(volumes)
    return report


def _check_study(case: Case, study: Study) -> Problem:
    """What a study of DICOM shows, or why it cannot be used; its images are not converted."""
    try:
        choice = look_into(case, study)
    except InputError as error:
        return Problem(Level.ERROR, "dicom", error.message, error.hint)
    hint = "Another series? Choose: --series t1ce=N. The scans are raw: preprocess, or detect --preprocess."
    return Problem(Level.NOTE, "dicom", choice.words, hint)


def _describe(file: FileReport, volume: Volume, *, skull: bool) -> None:
    import nibabel as nib

    file.shape, file.axes = volume.shape, "".join(nib.aff2axcodes(volume.affine))
    file.spacing_mm = tuple(round(size, 4) for size in volume.spacing)
    if skull and has_skull(volume):
        hint = "braincli preprocess (or detect --preprocess) removes it."
        text = f"{file.file} shows the head, skull included."
        file.problems.append(Problem(Level.NOTE, "with-skull", text, hint))
