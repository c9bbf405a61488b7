"""Which prediction belongs to which reference: by case id, taken from file and folder names, never by order.

The references name the cases. A prediction belongs to the longest case id that its name begins with, or else
that one of its folders bears: ``OUT/<case>/<case>_desc-tsgm_mask.nii.gz`` and flat files both work. What braincli
wrote is never a reference, and beside scans it is the prediction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from braincli.errors import InputError
from braincli.imaging.cases import sound
from braincli.imaging.manifest import read_manifest
from braincli.imaging.names import is_nifti, legible
from braincli.imaging.names import stem as stem_of
from braincli.imaging.own import folders_below, holds_prepared, label, own_outputs

SEPARATORS = "_-. "
LESION_WORD = re.compile(r"(d?seg|mask|lesions?|labels?|gt|truth|roi|pred(iction)?)\d*")
MAP_WORDS = {"probseg", "score", "uncertainty"}
IMAGE_WORDS = {"t1", "t1w", "t1ce", "t1c", "t1n", "t1gd", "t2", "t2w", "flair", "fla", "restored", "residual"}


@dataclass(frozen=True)
class Pair:
    """One case and the files that would fit; where they are several, the reference's grid decides.

    Attributes:
        problem: why it cannot be scored, whatever the files hold.
    """

    case: str
    reference: Path
    predictions: tuple[Path, ...] = ()
    anomalies: tuple[Path, ...] = ()
    brains: tuple[Path, ...] = ()
    problem: InputError | None = None

    @property
    def id(self) -> str:
        """The case."""
        return self.case


@dataclass(frozen=True)
class Matching:
    """Pairs sorted by case, the prediction files that no reference claims, and all files there that braincli wrote."""

    pairs: tuple[Pair, ...]
    unmatched: tuple[Path, ...] = ()
    own: frozenset[Path] = frozenset()


def match(prediction: Path, reference: Path, *, anomaly: Path | None = None, brain: Path | None = None) -> Matching:
    """Pair predictions with references.

    Args:
        prediction: a mask, or a folder of masks (flat, or one per case); maps beside them are found too.
        reference: a mask, or a folder of masks (flat, or a cohort with ``_seg``, ``_mask`` ...), or a ``.tsv``
            manifest, whose column ``lesion`` counts.
        anomaly: anomaly map or folder of maps, if they lie elsewhere.
        brain: brain mask for all cases, or a folder of them.

    Raises:
        InputError: a path is missing, a folder holds no mask, or the only case has two references.
    """
    for path in filter(None, (prediction, reference, anomaly, brain)):
        if not path.exists():
            raise InputError(f"{legible(path.name)} does not exist.", "Check the path.")
    listed = reference.suffix.lower() == ".tsv"
    if reference.is_file() and not listed:
        own = _own(prediction)
        return Matching((_single(prediction, reference, anomaly, brain, own),), own=frozenset(own))
    if prediction.is_file():
        raise InputError(
            f"{prediction.name} is a file but {reference.name} is a folder.", "Give two files or two folders."
        )
    references = _listed(reference) if listed else find_references(reference)
    known = {path.resolve() for masks in references.values() for path in masks}
    predicted = [path for path in _volumes(prediction) if path.resolve() not in known]
    files = _by_case(predicted, prediction, references)
    maps = files if anomaly is None else _by_case(_volumes(anomaly), anomaly, references)
    brains = _by_case(_volumes(brain), brain, references) if brain is not None and brain.is_dir() else {}
    own = _own(prediction)
    pairs = [
        Pair(
            case=case,
            reference=masks[0],
            predictions=_masks(files.get(case, ()), own),
            anomalies=_maps(maps.get(case, ()), named=anomaly is not None),
            brains=(brain,) if brain is not None and brain.is_file() else _brains(brains.get(case, ())),
            problem=_two_references(case, masks) if len(masks) > 1 else None,
        )
        for case, masks in references.items()
    ]
    if len(pairs) == 1 and pairs[0].problem is not None:
        raise pairs[0].problem
    return Matching(tuple(pairs), _masks(files.get("", ()), own), frozenset(own))


def find_references(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Case id -> its reference masks (one, as a rule): files named as masks, or every volume where no name says so.

    Raises:
        InputError: no volume.
    """
    own = _own(folder)
    volumes = [path for path in _volumes(folder) if not _is_brain(path) and not is_map(path) and path not in own]
    marked = [path for path in volumes if _named_mask(path)]
    if not volumes:
        raise InputError(f"{legible(folder.name)} holds no NIfTI file.", "References are .nii or .nii.gz masks.")
    if not marked and any(_is_image(path) for path in volumes):
        raise InputError(
            f"{legible(folder.name)} holds scans but no reference mask.",
            "Masks end in _seg, _mask, _lesion or _label, e.g. case01_seg.nii.gz.",
        )
    masks: dict[str, tuple[Path, ...]] = {}
    for path in marked or volumes:
        masks[case_id(path)] = (*masks.get(case_id(path), ()), path)
    raw = {label(case) for case, paths in masks.items() if not any(holds_prepared(path.parent) for path in paths)}
    return {  # a mask that preprocess carried along is no second case beside its raw one
        case: paths
        for case, paths in sorted(masks.items())
        if label(case) not in raw or not all(holds_prepared(path.parent) for path in paths)
    }


def _listed(manifest: Path) -> dict[str, tuple[Path, ...]]:
    """Case id -> its mask, of the cases of a manifest that have one.

    Raises:
        InputError: the manifest cannot be read, one of its files is missing, or no case has a mask.
    """
    cases = sound(read_manifest(manifest))
    masks: dict[str, tuple[Path, ...]] = {case.id: (case.lesion,) for case in cases if case.lesion is not None}
    if not masks:
        raise InputError(f"{legible(manifest.name)} names no mask.", "The column lesion holds their paths.")
    return masks


def _two_references(case: str, masks: tuple[Path, ...]) -> InputError:
    names = " and ".join(legible(path.name) for path in masks)
    return InputError(f"Two reference masks for case {case}: {names}.", "Leave one of them in the folder.")


def case_id(path: Path) -> str:
    """Case id of a mask: its name up to the mask words; ``sub-.._ses-..`` of a BIDS name."""
    stem = _stem(path)
    if subject := re.match(r"sub-[A-Za-z0-9]+(_ses-[A-Za-z0-9]+)?", stem):
        return subject.group()
    while (parts := re.match(r"(.+)[_\-. ](.+?)$", stem)) and LESION_WORD.fullmatch(parts.group(2).lower()):
        stem = parts.group(1)
    return stem


def is_bids(stem: str) -> bool:
    """Whether a name begins as those of BIDS do."""
    return re.match(r"sub-[A-Za-z0-9]+_", stem) is not None


def words(path: Path) -> list[str]:
    """Lower-case words of a file name, without ``.nii`` / ``.nii.gz``."""
    parts = re.split(r"[_\-. ]", _stem(path).lower())
    return [word for word in parts if word]


def is_map(path: Path) -> bool:
    """Whether the name says that the file is an anomaly map."""
    return not _named_mask(path) and any("anomaly" in word or word in MAP_WORDS for word in words(path))


def _single(prediction: Path, reference: Path, anomaly: Path | None, brain: Path | None, own: set[Path]) -> Pair:
    """Two files belong together whatever their names; so do the masks of one folder and a file."""
    beside = [path for path in _volumes(prediction) if path.resolve() != reference.resolve()]
    masks = (prediction,) if prediction.is_file() else _masks(beside, own)
    if anomaly is not None:
        maps = _maps(_volumes(anomaly), named=True)
    elif prediction.is_file():
        near = _maps(_volumes(prediction.parent, deep=False))
        maps = tuple(path for path in near if case_id_of_map(path) == case_id(prediction))
    else:
        maps = _maps(_volumes(prediction))
    return Pair(case_id(reference), reference, masks, maps, _brains(_volumes(brain)) if brain is not None else ())


def case_id_of_map(path: Path) -> str:
    """Case id of an anomaly map: what stands before the word that names it."""
    stem = _stem(path)
    if stem.startswith("sub-"):
        return case_id(path)
    return re.sub(r"[_\-. ](desc-)?[A-Za-z0-9]*(anomaly|anomalymap|probseg|score).*$", "", stem, flags=re.IGNORECASE)


def _by_case(paths: Iterable[Path], root: Path, references: Iterable[str]) -> dict[str, list[Path]]:
    """Files by the case that they belong to; under the empty id, those of no case."""
    files: dict[str, list[Path]] = {}
    for path in paths:
        folders = [legible(part) for part in path.relative_to(root).parts[:-1]]
        stem = _stem(path)
        own = [case for case in references if _begins(stem, case) or _begins(stem, _safe(case))]
        own = own or [case for case in references if case in folders or _safe(case) in folders]
        own = own or [case for case in references if is_bids(stem) and label(case) == label(case_id(path))]
        files.setdefault(max(own, key=len, default=""), []).append(path)
    return files


def _begins(stem: str, case: str) -> bool:
    """Whether a name is the case id, or goes on after it with a separator."""
    return stem == case or (stem.startswith(case) and stem[len(case)] in SEPARATORS)


def _safe(case: str) -> str:
    """A case id as it stands in the names of outputs (detection replaces spaces and the like)."""
    return re.sub(r"[^\w.\-]+", "_", case).lstrip(".")


def _masks(paths: Iterable[Path], own: set[Path]) -> tuple[Path, ...]:
    """Lesion masks: of braincli's ``own`` files, else named so, or, where none is, all but scans, maps and brains."""
    rest = [path for path in paths if not _is_brain(path) and not is_map(path)]
    rest = [path for path in rest if path in own and not _is_image(path) and not _is_numbered(path)] or rest
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
    """Whether the last word names a mask, or the one before an addition (``seg_v2``)."""
    last = words(path)[-2:]
    if len(last) == 2 and not LESION_WORD.fullmatch(last[1]) and _says_otherwise(last[1]):
        return False  # seg01_flair: the case is called so
    return any(LESION_WORD.fullmatch(word) for word in last)


def _says_otherwise(word: str) -> bool:
    return word in IMAGE_WORDS or word in MAP_WORDS or "anomaly" in word


def _is_image(path: Path) -> bool:
    return bool(set(words(path)[-2:]) & IMAGE_WORDS)


def _is_numbered(path: Path) -> bool:
    """Whether a file of ``detect`` is the image of numbered lesions, which marks what the mask beside it marks."""
    return words(path)[-1:] in (["lesions"], ["dseg"])


def _is_brain(path: Path) -> bool:
    """Whether the name ends in brain, or has a brain mask in it; a case may be called ``brain_001``."""
    parts = words(path)
    masks = [here == "brain" and LESION_WORD.fullmatch(after) for here, after in pairwise(parts)]
    return "brainmask" in parts or parts[-1:] == ["brain"] or any(masks)


def _own(folder: Path) -> set[Path]:
    """What ``detect`` wrote at or below ``folder``."""
    own: set[Path] = set()
    for below in folders_below(folder) if folder.is_dir() else ():
        with suppress(OSError):
            own |= own_outputs(below)
    return own


def _volumes(folder: Path, *, deep: bool = True) -> list[Path]:
    """NIfTI files below ``folder`` (or itself, if it is one), hidden ones left out, links followed, sorted."""
    if folder.is_file():
        return [folder]
    volumes: list[Path] = []
    for below in folders_below(folder) if deep else (folder,):
        with suppress(OSError):
            volumes += [path for path in below.iterdir() if is_nifti(path) and not path.name.startswith(".")]
    return sorted(path for path in volumes if path.is_file())


def _stem(path: Path) -> str:
    return legible(stem_of(path))
