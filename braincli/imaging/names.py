"""What the name of a NIfTI file says: which case, and which contrast or mask.

A name is read from its end: ``<id>[_entity-value ...]<separator><suffix>.nii.gz``. The suffix tells the
contrast or the mask (``_t1ce``, ``-t1c``, ``_T1w``, ``_fla``, ``_seg`` ...), BIDS entities refine it
(``ce-gd``, ``label-L_mask``, ``desc-brain_mask``). Only the end counts: a case may be called ``brain_001``. Other
names may end in the words of a scanner (``T1_MPRAGE_sag``, see :mod:`braincli.imaging.words`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from braincli.imaging.contrast import CONTRASTS, Contrast
from braincli.imaging.words import named_by_words

__all__ = ["CONTRASTS", "TISSUES", "Contrast", "Named", "Role", "is_aside", "is_nifti", "is_stripped", "legible"]
__all__ += ["read_name", "stem"]

TISSUES = ("gm", "wm", "csf")  # grey matter, white matter, fluid

Role = Contrast | Literal["brain", "lesion", "gm", "wm", "csf", "mask", "other"]
SUFFIXES: dict[Role, str] = {
    Contrast.T1CE: r"t1[_-]?(?:ce|c|gd|post)w?",
    Contrast.T1: r"t1[wn]?",
    Contrast.FLAIR: r"(?:t2[_-]?)?flair|fla|t2f",
    Contrast.T2: r"t2w?",
    "brain": r"(?:brain|bet)[_-]?mask",
    "lesion": r"seg|segmentation|(?:lesions?|tumou?r)(?:[_-]?(?:mask|seg|segmentation))?",
    "csf": r"csf|pve_0",  # pve_0 to pve_2: as FSL FAST names them, given a T1
    "gm": r"gm|pve_1",
    "wm": r"wm|pve_2",
    "mask": r"mask|dseg|probseg",
}
OTHER_SUFFIXES = (  # what is known not to be one of the four contrasts: names of BIDS, of FAST, of braincli
    "pdw|pdt2|inplanet[12]|angio|t2starw?|t[12]map|t2starmap|r1map|mp2rage|unit1|mtw|mtsat|tb1map|megre|mese|vfa|mpm"
    "|bold|sbref|boldref|dwi|epi|asl|m0scan|cbf|swi|phase|magnitude|defacemask|xfm"
    r"|pveseg|mixeltype|(?:pve|prob|seg)_\d+|bias|restore"
    r"|anomaly|uncertainty|(?:restored|residual)-(?:t1|t1ce|t2|flair)"
)
ENTITIES = r"(?:_(?:acq|ce|rec|run|space|res|den|label|desc|part|echo|inv|dir|mod|from|to|mode|hemi)-[A-Za-z0-9]+)*"
SUFFIX = "|".join((*SUFFIXES.values(), OTHER_SUFFIXES))
NAME = re.compile(rf"(?P<id>.*?)(?P<entities>{ENTITIES})(?:^|[ _.\-])(?P<suffix>{SUFFIX})", re.IGNORECASE)
RUN = re.compile(r"[ _.\-]run[_\-]?0*(?P<number>[0-9]+)(?=[ _.\-]|$)", re.IGNORECASE)
DRAWN_ON = re.compile(
    rf"(?P<id>.*?){ENTITIES}(?:^|[ _.\-])(?:{'|'.join(SUFFIXES[contrast] for contrast in CONTRASTS)})", re.IGNORECASE
)
STRIPPED = "brain|skull|head|bet|stripped"  # scans that another tool has worked on
ASIDE = re.compile(  # names of what was made from a scan, and is neither a scan nor a mask that we know
    rf".*[ _.\-](?:{STRIPPED}|rois?\d*|segm|synthseg|aseg|ribbon|overlay|probs?|priors?|warp|jac|dist|edges?)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Named:
    """What a file name says.

    Attributes:
        id: of the case; empty where the name is a suffix and no more.
        space: the entity ``space-``, empty for the scan's own.
        run: of a scan that was repeated (``run-2``, ``X_run2_t1``), None where the name has none.
        base: ``id`` without the run that it may hold.
        scan: of a mask or map, the name of the scan that it was made from (``x_t1`` of ``x_t1_seg``), or empty.
        usual: it is called as data sets call it; else a scanner's words were understood, and the user is told how.
    """

    path: Path
    id: str
    role: Role
    space: str = ""
    run: int | None = None
    base: str = ""
    scan: str = ""
    usual: bool = True


def stem(path: Path) -> str:
    """The name without ``.nii`` or ``.nii.gz``; other dots stay."""
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def is_nifti(path: Path) -> bool:
    """Whether the name ends in ``.nii`` or ``.nii.gz`` (any case)."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def legible(name: str) -> str:
    """``name`` as text that can be printed and written, whatever bytes the file system gave (Latin-1, as a rule)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")
    return name


def read_name(path: Path) -> Named | None:
    """What the name of a NIfTI file says, or None where it says nothing."""
    name = stem(path)
    match = NAME.fullmatch(name)
    if match is None and (repeated := RUN.search(name)) and repeated.end() == len(name):  # x_t1_run2
        match = NAME.fullmatch(name[: repeated.start()])
    words = None if is_aside(path) else named_by_words(name)
    if match is None:
        return None if words is None else _by_words(path, *words)
    entities = dict(part.split("-", 1) for part in match["entities"].split("_")[1:])
    role = _role(match["suffix"].lower(), entities)
    if role is None:
        return None
    id, scan = match["id"], ""
    if isinstance(role, Contrast) and not match["entities"] and words and len(words[0]) < len(id):
        before, told = words
        if not before.endswith("-"):  # sub-01_ses-tra_T1w: the value of an entity
            return _by_words(path, before, told)
    if not isinstance(role, Contrast) and (drawn := DRAWN_ON.fullmatch(id)):
        id, scan = drawn["id"], id
    elif not isinstance(role, Contrast) and (worded := named_by_words(id)) and isinstance(worded[1], Contrast):
        id, scan = worded[0], id
    runs = list(RUN.finditer(name))
    id = legible(id.strip(" _.-"))
    return Named(
        path, id, role, _space(entities), int(runs[-1]["number"]) if runs else None, RUN.sub("", id), legible(scan)
    )  # fmt: skip


def _by_words(path: Path, id: str, role: Role) -> Named:
    id = legible(id.strip(" _.-"))
    runs = list(RUN.finditer(id))
    return Named(
        path, id, role, run=int(runs[-1]["number"]) if runs else None, base=RUN.sub("", id), usual=False
    )  # fmt: skip


def is_aside(path: Path) -> bool:
    """Whether a name that says nothing else is that of something made from a scan (``x_roi``, ``x_brain``)."""
    return ASIDE.fullmatch(stem(path)) is not None


def is_stripped(path: Path) -> bool:
    """Whether such a name is that of a scan without (or with nothing but) its skull."""
    return re.search(rf"[ _.\-](?:{STRIPPED})$", stem(path), re.IGNORECASE) is not None


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
