"""Which prediction belongs to which reference: by case id, taken from file and folder names, never by order.

The references name the cases. A prediction belongs to the longest case id that its name begins with, or else
that one of its folders bears: ``OUT/<case>/<case>_desc-tsgm_mask.nii.gz`` and flat files both work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from braincli.errors import InputError

SUFFIXES = (".nii.gz", ".nii")
SEPARATORS = "_-. "
LESION_WORD = re.compile(r"(d?seg|mask|lesions?|labels?|gt|truth|roi|pred(iction)?)\d*")
MAP_WORDS = {"probseg", "score"}
NEVER = {"brain", "brainmask"}  # brain masks are not lesions
IMAGE_WORDS = {"t1", "t1w", "t1ce", "t1c", "t1n", "t1gd", "t2", "t2w", "flair", "fla", "restored", "residual"}


@dataclass(frozen=True)
class Pair:
    """One case and the files that would fit; where they are several, the reference's grid decides."""

    case: str
    reference: Path
    predictions: tuple[Path, ...] = ()
    anomalies: tuple[Path, ...] = ()
    brains: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Matching:
    """Pairs sorted by case, and the prediction files that no reference claims."""

    pairs: tuple[Pair, ...]
    unmatched: tuple[Path, ...] = ()


def match(prediction: Path, reference: Path, *, anomaly: Path | None = None, brain: Path | None = None) -> Matching:
    """Pair predictions with references.

    Args:
        prediction: a mask, or a folder of masks (flat, or one per case); maps beside them are found too.
        reference: a mask, or a folder of masks (flat, or a cohort with ``_seg``, ``_mask`` ...).
        anomaly: anomaly map or folder of maps, if they lie elsewhere.
        brain: brain mask for all cases, or a folder of them.

    Raises:
        InputError: a path is missing, a folder holds no mask, or two references share an id.
    """
    for path in filter(None, (prediction, reference, anomaly, brain)):
        if not path.exists():
            raise InputError(f"{path.name} does not exist.", "Check the path.")
    if reference.is_file():
        return Matching((_single(prediction, reference, anomaly, brain),))
    if prediction.is_file():
        raise InputError(
            f"{prediction.name} is a file but {reference.name} is a folder.", "Give two files or two folders."
        )
    references = find_references(reference)
    found = _by_case(_volumes(prediction), prediction, references)
    maps = found if anomaly is None else _by_case(_volumes(anomaly), anomaly, references)
    brains = _by_case(_volumes(brain), brain, references) if brain is not None and brain.is_dir() else {}
    pairs = [
        Pair(
            case=case,
            reference=path,
            predictions=_masks(found.get(case, ())),
            anomalies=_maps(maps.get(case, ()), named=anomaly is not None),
            brains=(brain,) if brain is not None and brain.is_file() else _brains(brains.get(case, ())),
        )
        for case, path in references.items()
    ]
    return Matching(tuple(pairs), _masks(found.get("", ())))


def find_references(folder: Path) -> dict[str, Path]:
    """Case id -> reference mask: files named as masks, or every volume where no name says so.

    Raises:
        InputError: no volume, or two masks of one case.
    """
    volumes = [path for path in _volumes(folder) if not _is_brain(path) and not is_map(path)]
    marked = [path for path in volumes if _named_mask(path)]
    if not volumes:
        raise InputError(f"{folder.name} holds no NIfTI file.", "References are .nii or .nii.gz masks.")
    if not marked and any(_is_image(path) for path in volumes):
        raise InputError(
            f"{folder.name} holds scans but no reference mask.",
            "Masks end in _seg, _mask, _lesion or _label, e.g. case01_seg.nii.gz.",
        )
    found: dict[str, Path] = {}
    for path in marked or volumes:
        case = case_id(path)
        if case in found:
            raise InputError(
                f"Two reference masks for case {case}: {found[case].name} and {path.name}.",
                "Leave one of them in the folder.",
            )
        found[case] = path
    return dict(sorted(found.items()))


def case_id(path: Path) -> str:
    """Case id of a mask: its name up to the mask words; ``sub-.._ses-..`` of a BIDS name."""
    stem = _stem(path)
    if subject := re.match(r"sub-[A-Za-z0-9]+(_ses-[A-Za-z0-9]+)?", stem):
        return subject.group()
    while (parts := re.match(r"(.+)[_\-. ](.+?)$", stem)) and LESION_WORD.fullmatch(parts.group(2).lower()):
        stem = parts.group(1)
    return stem


def words(path: Path) -> list[str]:
    """Lower-case words of a file name, without ``.nii`` / ``.nii.gz``."""
    parts = re.split(r"[_\-. ]", _stem(path).lower())
    return [word for word in parts if word]


def is_map(path: Path) -> bool:
    """Whether the name says that the file is an anomaly map."""
    return not _named_mask(path) and any("anomaly" in word or word in MAP_WORDS for word in words(path))


def _single(prediction: Path, reference: Path, anomaly: Path | None, brain: Path | None) -> Pair:
    """Two files belong together whatever their names; so do the masks of one folder and a file."""
    masks = (prediction,) if prediction.is_file() else _masks(_volumes(prediction))
    if anomaly is not None:
        maps = _maps(_volumes(anomaly), named=True)
    elif prediction.is_file():
        beside = _maps(_volumes(prediction.parent, deep=False))
        maps = tuple(path for path in beside if case_id_of_map(path) == case_id(prediction))
    else:
        maps = _maps(_volumes(prediction))
    return Pair(case_id(reference), reference, masks, maps, _brains(_volumes(brain)) if brain is not None else ())


def case_id_of_map(path: Path) -> str:
    """Case id of an anomaly map: what stands before the word that names it."""
    stem = _stem(path)
    if stem.startswith("sub-"):
        return case_id(path)
    return re.sub(r"[_\-. ](desc-)?[A-Za-z0-9]*(anomaly|anomalymap|probseg|score).*$", "", stem, flags=re.IGNORECASE)


def _by_case(paths: Iterable[Path], root: Path, references: dict[str, Path]) -> dict[str, list[Path]]:
    """Files by the case that they belong to; under the empty id, those of no case."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        folders = path.relative_to(root).parts[:-1]
        stem = _stem(path)
        own = [case for case in references if _begins(stem, case) or _begins(stem, _safe(case))]
        own = own or [case for case in references if case in folders or _safe(case) in folders]
        found.setdefault(max(own, key=len, default=""), []).append(path)
    return found


def _begins(stem: str, case: str) -> bool:
    """Whether a name is the case id, or goes on after it with a separator."""
    return stem == case or (stem.startswith(case) and stem[len(case)] in SEPARATORS)


def _safe(case: str) -> str:
    """A case id as it stands in the names of outputs (detection replaces spaces and the like)."""
    return re.sub(r"[^\w.\-]+", "_", case).lstrip(".")


def _masks(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Lesion masks: named so, or, where none is, all but scans, maps and brain masks."""
    rest = [path for path in paths if not _is_brain(path) and not is_map(path)]
    named = [path for path in rest if _named_mask(path)]
    return tuple(named or [path for path in rest if not _is_image(path)])


def _maps(paths: Iterable[Path], *, named: bool = False) -> tuple[Path, ...]:
    """Anomaly maps by name; all files, if the user ``named`` the folder as theirs and no name tells."""
    rest = [path for path in paths if not _is_brain(path)]
    return tuple([path for path in rest if is_map(path)] or (rest if named else []))


def _brains(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Brain masks by name, or all files where no name tells."""
    rest = list(paths)
    return tuple([path for path in rest if _is_brain(path)] or rest)


def _named_mask(path: Path) -> bool:
    return any(LESION_WORD.fullmatch(word) for word in words(path)[-2:])


def _is_image(path: Path) -> bool:
    return bool(set(words(path)[-2:]) & IMAGE_WORDS)


def _is_brain(path: Path) -> bool:
    return bool(NEVER & set(words(path)))


def _volumes(folder: Path, *, deep: bool = True) -> list[Path]:
    """NIfTI files below ``folder`` (or itself, if it is one), hidden ones left out, sorted."""
    if folder.is_file():
        return [folder]
    paths = folder.rglob("*") if deep else folder.glob("*")
    return sorted(p for p in paths if p.name.lower().endswith(SUFFIXES) and not p.name.startswith(".") and p.is_file())


def _stem(path: Path) -> str:
    name = path.name
    return next((name[: -len(end)] for end in SUFFIXES if name.lower().endswith(end)), name)
