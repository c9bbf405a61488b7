"""A cohort in parts: by patient, seeded, with every kind of case in every part.

The order of the patients is that of a hash of seed and name: no site's, no alphabet's, and a case that comes or goes
leaves the order of the others. Kinds (healthy, with a lesion mask, unknown) are dealt out evenly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from braincli.errors import InputError, UsageError
from braincli.imaging.case import Case
from braincli.imaging.manifest import as_manifest
from braincli.imaging.names import Contrast
from braincli.runtime import files
from braincli.wording import counted

TIME_POINT = re.compile(r"^(sub-[A-Za-z0-9]+)_ses-.+$|^(BraTS-.+)-[0-9]{3}$")  # BIDS; BraTS since 2023


@dataclass(frozen=True)
class Fold:
    """Cases to learn from and cases that choose."""

    train: list[Case]
    validation: list[Case]


@dataclass(frozen=True)
class Split:
    """Folds (one, where none were asked for) of what is not in ``test``; each list sorted by id."""

    folds: list[Fold]
    test: list[Case]


def patient_of(case: str, pattern: re.Pattern[str] | None = None) -> str:
    """The patient whom ``case`` is of: what the first group of ``pattern`` finds in it, or the whole match.

    Without a pattern, of BIDS sessions the subject, and of the time points of BraTS 2023 the patient.
    """
    found = (pattern or TIME_POINT).search(case)
    if not found:
        return case
    return next((group for group in found.groups() if group), found.group())


def split(
    cases: Sequence[Case],
    *,
    folds: int | None = None,
    validation: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
    pattern: re.Pattern[str] | None = None,
) -> Split:
    """Deal ``cases`` out, all of a patient to the same part.

    Args:
        folds: parts that take turns as the validation; None: one validation of the size ``validation``.
        validation, test: patients, a share below 1 or a number; a share above 0 is at least one patient.

    Raises:
        UsageError: too few patients.
    """
    by_patient: dict[str, list[Case]] = {}
    for case in cases:
        by_patient.setdefault(patient_of(case.id, pattern), []).append(case)
    order = _dealt(by_patient, seed)
    testing = _count(test, len(order))
    rest = order[testing:]
    judging = 0 if folds else _count(validation, len(order))
    if testing > len(order) or judging > len(rest) or (folds and len(rest) < folds):
        raise UsageError(
            f"Too few for this split: {counted(len(order), 'patient')}.", "Ask for smaller parts or fewer folds."
        )

    def of(patients: Sequence[str]) -> list[Case]:
        return sorted((case for name in patients for case in by_patient[name]), key=lambda case: case.id)

    def fold(number: int) -> Fold:
        chosen = rest[number::folds] if folds else rest[:judging]
        return Fold(of([name for name in rest if name not in set(chosen)]), of(chosen))

    return Split([fold(number) for number in range(folds or 1)], of(order[:testing]))


def _dealt(by_patient: dict[str, list[Case]], seed: int) -> list[str]:
    """Patients in the order of their hashes, those of every kind spread evenly."""
    kinds: dict[str, list[str]] = {}
    for name, cases in by_patient.items():
        kind = next((case.group for case in cases if case.group), "masked" if any(c.lesion for c in cases) else "")
        kinds.setdefault(kind, []).append(name)
    places = []
    for kind, names in kinds.items():
        hashed = sorted(names, key=lambda name: sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest())
        places += [((rank + 0.5) / len(hashed), kind, name) for rank, name in enumerate(hashed)]
    return [name for _, _, name in sorted(places)]


def _count(part: float, patients: int) -> int:
    return max(1, round(part * patients)) if 0 < part < 1 else round(part)


def narrowed(cases: Sequence[Case], contrasts: Sequence[Contrast] = (), group: str | None = None) -> list[Case]:
    """``cases`` with these contrasts alone (none: all), and of ``group`` where nothing says what they are.

    Raises:
        InputError: a case has none of the contrasts.
    """
    chosen = []
    for case in cases:
        images = {c: path for c, path in case.images.items() if c in contrasts or not contrasts}
        if not images:
            raise InputError(f"{case.id} has no {' or '.join(contrasts)}.", "Take its folder away, or other contrasts.")
        chosen.append(replace(case, images=images, group=case.group or (group if case.lesion is None else None)))
    return chosen


def write_split(parts: Split, folder: Path, *, overwrite: bool = False) -> list[str]:
    """Write a manifest per part to ``folder``, and ``splits.json``; a line about each.

    Raises:
        UsageError: one of them exists.
        InputError: a case that a manifest cannot hold.
    """
    tables: dict[str, list[Case]] = {"test.tsv": parts.test} if parts.test else {}
    for number, fold in enumerate(parts.folds):
        place = f"fold-{number}/" if len(parts.folds) > 1 else ""
        tables |= {f"{place}train.tsv": fold.train} if fold.train else {}  # a cohort may be there to test alone
        tables |= {f"{place}validation.tsv": fold.validation} if fold.validation else {}
    for name in [*tables, "splits.json"]:
        files.refuse_overwrite(folder / name, overwrite=overwrite)
    texts = {name: as_manifest(cases, (folder / name).parent) for name, cases in tables.items()}
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / name, text)
    ids = [{"train": [c.id for c in f.train], "val": [c.id for c in f.validation]} for f in parts.folds]
    files.write_json(folder / "splits.json", ids)
    return [f"{name}: {counted(len(cases), 'case')}" for name, cases in tables.items()]
