"""A case, and the words for what can be wrong with its files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from braincli.errors import InputError
from braincli.imaging.dicom.study import Study
from braincli.imaging.names import CONTRASTS, Contrast, legible, stem


@dataclass(frozen=True)
class Case:
    """One patient (or session) as found on disk.

    Attributes:
        id: unique in its cohort; from the folder or the file names.
        images: at least one contrast; of a study, none before it is opened.
        brain: brain mask, if one lies beside the images.
        lesion: reference lesion mask, if one lies beside the images.
        unsure: mask of what may be a lesion or not: training leaves it out.
        group: ``healthy``, ``diseased`` or None when unknown.
        tissue: probability maps of tissues (``TISSUES``) that lie beside the images.
        problem: why nothing can be done with it (two files for one contrast, an unreadable folder ...); what is found
            of it is kept all the same.
        volumes: which volume of its file (from 0) a contrast is, where several share a 4-D file.
        facts: what else a manifest says of it, by column (``age``).
        study: of DICOM, opened by :func:`braincli.imaging.dicom.opening.opened`.
        understood: contrasts whose file is not called as data sets call it: a scanner's words, or a channel's number.
        aside: files that lie beside the images and are known to be no scan and no mask with a meaning (``x_roi``).
    """

    id: str
    images: dict[Contrast, Path] = field(default_factory=dict)
    brain: Path | None = None
    lesion: Path | None = None
    group: str | None = None
    tissue: dict[str, Path] = field(default_factory=dict)
    problem: InputError | None = None
    volumes: dict[Contrast, int] = field(default_factory=dict)
    study: Study | None = None
    understood: tuple[Contrast, ...] = ()
    aside: tuple[Path, ...] = ()
    unsure: Path | None = None
    facts: dict[str, str] = field(default_factory=dict)

    def number(self, name: str) -> float:
        """The fact ``name``, which is to be a number.

        Raises:
            InputError: there is none, or it is no finite number.
        """
        hint = f"Every case needs one: a column {name} in the manifest (.tsv)."
        text = self.facts.get(name)
        if text is None:
            raise InputError(f"{self.id} has no {name}.", hint)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{self.id}: the {name} {text!r} is not a number.", hint)
        return value


def remarks(cases: Iterable[Case]) -> list[str]:
    """What a user should know of how files were understood, in sentences: see :func:`taken` and :func:`left_aside`."""
    cases = list(cases)
    return [*taken(cases), *left_aside(cases), *called_otherwise(cases)]


def called_otherwise(cases: Iterable[Case]) -> list[str]:
    """A sentence about studies that are not called as their folders are."""
    ids = [case.id for case in cases if case.study is not None and case.study.renamed]
    if not ids:
        return []
    listed = ", ".join(ids[:4]) + (f" and {len(ids) - 4} more" if len(ids) > 4 else "")
    return [f"Outputs are called {listed}: the folder's name tells the patient's name, number or a date."]


def taken(cases: Iterable[Case]) -> list[str]:
    """A sentence that says which files were taken for which contrast, where their names are not the usual ones.

    Names that differ by their case alone are told once: ``*_T1_MPRAGE.nii.gz``.
    """
    alike: Counter[str] = Counter()
    for case in cases:
        files = [(case.images[c], c) for c in CONTRASTS if c in case.understood and c in case.images]
        alike[", ".join(f"{_without_id(path, case.id)} as {contrast}" for path, contrast in files)] += 1
    told = [f"{text}{f' ({count} cases)' if count > 1 else ''}" for text, count in alike.items() if text]
    more = f"; and {len(told) - 4} kinds more" if len(told) > 4 else ""
    return [f"Taken by their names: {'; '.join(told[:4])}{more}."] if told else []


def _without_id(path: Path, id: str) -> str:
    """A file's name with ``*`` for the case's id that it begins with."""
    rest = stem(path)[len(id) :]
    return legible(f"*{rest}{path.name[len(stem(path)) :]}" if id and stem(path).startswith(id) else path.name)


def left_aside(cases: Iterable[Case]) -> list[str]:
    """A sentence for every case beside whose scans lies what nobody will look at."""
    return [f"{case.id}: not used: {names_of(case.aside)}." for case in cases if case.aside]


def one_per_id(cases: list[Case], text: str = "Several cases are called {}.") -> list[Case]:
    """``cases``, but one with a problem for all of an id that occurs more than once."""
    again = repeated(cases)
    hint = "Ids must be unique: rename them, or use a .tsv manifest."
    clash = [Case(id, problem=InputError(text.format(id), hint)) for id in again]
    return [case for case in cases if case.id not in again] + clash


def repeated(cases: Iterable[Case]) -> list[str]:
    """Ids that occur more than once."""
    return [id for id, count in Counter(case.id for case in cases).items() if count > 1]


def names_of(paths: Iterable[Path], most: int = 4) -> str:
    """Base names for a message, the first few."""
    names = [legible(path.name) for path in paths]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def folder_name(path: Path) -> str:
    """What a folder is called, however it was given (``.``)."""
    return legible(path.resolve().name) or "/"


def case_name(folder: Path) -> str:
    """The id of a case whose files do not tell one: its folder's name, of ``anat`` the one above."""
    return folder_name(folder.parent if folder.name == "anat" else folder)


def dangling(paths: Iterable[Path]) -> InputError | None:
    """What is wrong with links whose target is not there."""
    for path in paths:
        if path.is_symlink() and not path.exists():
            annexed = ".git/annex" in str(path.readlink())
            hint = f"Fetch it: datalad get {legible(path.name)}" if annexed else "Mend the link, or take it away."
            return InputError(f"{legible(path.name)} is a link to content that is not here.", hint)
    return None


def unreadable(path: Path, error: OSError) -> InputError:
    """The problem of a file or folder that the system does not let us read."""
    return InputError(f"{legible(path.name)}: cannot be read ({error.strerror}).", "Check its permissions.")
