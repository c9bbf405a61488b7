"""What a BIDS data set of raw scans holds: its participants and sessions as cases, by labels and filters.

Queries are those of a BIDS filter file as fMRIPrep reads it: contrast -> entity -> value, list of values, ``null``
(the name has no such entity) or ``"*"`` (it has one, whatever it is).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from braincli.errors import InputError, UsageError
from braincli.imaging.case import Case, folder_name, unreadable
from braincli.imaging.folder import cases_of
from braincli.imaging.names import Contrast, is_nifti, legible, read_name, stem

KEYS = {"t1w": Contrast.T1, "t1ce": Contrast.T1CE, "t2w": Contrast.T2, "flair": Contrast.FLAIR}
ENTITIES = {
    "subject": "sub", "session": "ses", "acquisition": "acq", "ceagent": "ce", "reconstruction": "rec", "run": "run",
    "echo": "echo", "part": "part", "direction": "dir", "space": "space", "resolution": "res", "task": "task",
    "inversion": "inv", "flip": "flip", "chunk": "chunk", "desc": "desc", "description": "desc",
}  # fmt: skip
PARTS = ("suffix", "datatype", "extension")
Filters = Mapping[Contrast, Mapping[str, Any]]


@dataclass(frozen=True)
class Selection:
    """Which participants, sessions and scans are wanted; all, where nothing says otherwise.

    Attributes:
        participants, sessions: labels, with or without ``sub-`` and ``ses-``.
        run: which of several runs of one scan.
    """

    participants: Sequence[str] = ()
    sessions: Sequence[str] = ()
    filters: Filters = field(default_factory=dict)
    run: str | None = None


def find_participants(root: Path, wanted: Selection | None = None) -> list[Case]:
    """The cases of a BIDS data set, one per participant and session, sorted; one that cannot be used has a ``problem``.

    Raises:
        InputError: ``root`` is no BIDS data set.
        UsageError: a label that it does not have.
    """
    wanted = wanted or Selection()
    try:
        subjects = {path.name: path for path in sorted(root.glob("sub-*")) if path.is_dir()}
    except OSError as error:
        raise unreadable(root, error) from None
    if not subjects:
        raise InputError(
            f"{folder_name(root)} holds no participant (sub-<label>).", "Name the root of a BIDS data set."
        )
    chosen = _choose("participant", wanted.participants, "sub-", subjects, root)
    placed = {name: _sessions(subjects[name]) for name in chosen}
    known = {session for sessions in placed.values() for session in sessions if session}
    sessions = _choose("session", wanted.sessions, "ses-", known, root) if wanted.sessions else None
    return [
        _case("_".join(filter(None, (name, session))), folder, wanted)
        for name, folders in placed.items()
        for session, folder in folders.items()
        if sessions is None or session in sessions
    ]


def _choose(what: str, labels: Sequence[str], start: str, known: Iterable[str], root: Path) -> list[str]:
    """Those of ``known`` that are named, or all.

    Raises:
        UsageError: one is not among them.
    """
    names = {name if name.startswith(start) else f"{start}{name}" for name in labels}
    if unknown := sorted(names - set(known)):
        there = ", ".join(name.removeprefix(start) for name in sorted(known)) or "none"
        raise UsageError(
            f"{folder_name(root)} has no {what} {unknown[0].removeprefix(start)}.", f"Those that it has: {there}."
        )
    return sorted(names or known)


def _sessions(subject: Path) -> dict[str, Path]:
    """Sessions of a participant with their folders; of one without sessions, its own folder under an empty name."""
    folders = {path.name: path for path in sorted(subject.glob("ses-*")) if path.is_dir()}
    return folders or {"": subject}


def _case(id: str, folder: Path, wanted: Selection) -> Case:
    try:
        found = sorted(path for path in (folder / "anat").glob("*") if is_nifti(path) and not path.name.startswith("."))
    except OSError as error:
        return Case(id, problem=unreadable(folder, error))
    known = [path for path in found if read_name(path) is not None]  # others are scans of other kinds
    paths = [path for path in known if _passes(path, wanted.filters)]
    cases = [case for case in cases_of(folder / "anat", paths, wanted.run) if case.images or case.problem]
    if len(cases) == 1 and cases[0].id == id:
        return _with_a_way_out(cases[0], paths)
    if any(case.images for case in cases):
        strange = next(case.id for case in cases if case.id != id)
        problem = InputError(f"{id}: its folder holds scans of {strange}.", "Names in it begin with the participant's.")
        return Case(id, problem=problem)
    left = " that the filters leave" if wanted.filters and found else ""
    problem = InputError(f"{id} has no T1w, T2w or FLAIR scan{left}.", "They lie in its folder anat/.")
    return replace(Case(id), problem=next((case.problem for case in cases if case.problem), problem))


def _with_a_way_out(case: Case, paths: Iterable[Path]) -> Case:
    """``case``; where it has several scans of one contrast, its problem names the options that choose one."""
    shown = [named.role for named in map(read_name, paths) if named and isinstance(named.role, Contrast)]
    if case.problem is None or len(set(shown)) == len(shown):
        return case
    hint = 'Choose one: --run first, or --bids-filter-file with, for example, {"t1w": {"acquisition": "mprage"}}.'
    return replace(case, problem=InputError(case.problem.message, hint))


def read_filters(path: Path) -> Filters:
    """A BIDS filter file.

    Raises:
        UsageError: it cannot be read, or names a contrast or an entity that there is not.
    """
    name, hint = legible(path.name), 'For example: {"t1w": {"acquisition": "mprage"}, "flair": {"run": 1}}.'
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        words = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"Cannot read the filters {name}: {words}.", hint) from None
    if not isinstance(content, dict) or not all(isinstance(query, dict) for query in content.values()):
        raise UsageError(f"{name} is no table of queries.", hint)
    if unknown := [key for key in content if key not in KEYS]:
        raise UsageError(f"{name}: there are no scans {unknown[0]!r}.", f"Those that are read: {', '.join(KEYS)}.")
    known = {*ENTITIES, *ENTITIES.values(), *PARTS}
    told = f"Known: {', '.join(sorted(known))}."
    for key, query in content.items():
        if strange := [entity for entity in query if entity not in known]:
            raise UsageError(f"{name}, {key}: there is no entity {strange[0]!r}.", told)
        if bad := [entity for entity, value in query.items() if not _is_query(value)]:
            raise UsageError(f"{name}, {key}: {bad[0]} is neither text, number, null nor a list of these.", hint)
    return {KEYS[key]: query for key, query in content.items()}


def _is_query(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_query(each) and not isinstance(each, list) for each in value)
    return value is None or (isinstance(value, str | int) and not isinstance(value, bool))


def _passes(path: Path, filters: Filters) -> bool:
    """Whether a file is none of the scans that are filtered, or answers all queries about its contrast."""
    named = read_name(path)
    if named is None or not isinstance(named.role, Contrast) or named.role not in filters:
        return True
    told = _entities(path)
    return all(_answers(told.get(ENTITIES.get(key, key)), value) for key, value in filters[named.role].items())


def _entities(path: Path) -> dict[str, str]:
    *pairs, suffix = stem(path).split("_")
    told = dict(pair.split("-", 1) for pair in pairs if "-" in pair)
    extension = path.name[len(stem(path)) :]
    return told | {"suffix": suffix, "datatype": path.parent.name, "extension": extension}


def _answers(told: str | None, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return any(_answers(told, each) for each in wanted)
    if wanted is None or wanted == "*":
        return (told is None) == (wanted is None)
    return told is not None and _plain(told) == _plain(str(wanted))


def _plain(value: str) -> str:
    """A label without its prefix, a number without zeros in front, an extension without its dot."""
    label = re.sub(r"^(?:sub|ses)-", "", value).lstrip(".")
    return label.lstrip("0") or "0" if label.isdecimal() else label
