"""The words in which scanners, technicians and data sets name a sequence -> the contrast that it has.

``T1_MPRAGE_sag``, ``t2_tse_tra``, ``AX T1 POST GD``, ``t2_spc_da-fl_iso`` ... Words of one kind stand for each other;
what they say together is decided in one place, for names of files and for series of DICOM.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from braincli.imaging.contrast import Contrast

Kind = Literal["t1", "t2", "flair", "doubt", "gd", "post", "pre", "other", "plane", "more"]
KINDS: dict[Kind, str] = {
    "t1": "t1 t1w t1weighted mprage spgr fspgr bravo vibe mdeft",
    "t2": "t2 t2w t2weighted",
    "flair": "flair darkfluid",
    "doubt": "tirm pd pdw",  # how long the inversion and the echo were decides
    "gd": "gd gad gado gadolinium ce km mdc contrast postcontrast postgd enhanced gadovist dotarem magnevist",
    "post": "post",  # before the contrast it may speak of an operation
    "pre": "pre nativ native plain precontrast noncontrast unenhanced without",
    "other": """dwi diff diffusion dti adc eadc trace tracew ep2d epi b0 b500 b1000 fa colfa tensor swi swan swip
        venobold t2star hemo qsm phase pha perf perfusion dsc dce asl pasl pcasl cbf cbv mtt ttp tmax tof mra
        angio mrv pca bold fmri rsfmri mrs svs csi spectroscopy mip minip subtraction stir dir psir mtr mp2rage
        uni inv1 inv2 t1map t2map t2starmap fieldmap localizer localiser loca scout survey calib calibration
        shim aahead aahscout smartbrain ciss fiesta trufi spine cspine lspine tspine orbit orbita iac""",
    "plane": """2d 3d ax axial tra trans transversal transverse sag sagittal cor coronal obl iso isotropic tse fse cube
        space spc""",
    "more": """vista se ir gre flash fl2d fl3d ffe tfe tfl frfse propeller blade fs fatsat fat sat spair spir hr hires
        highres std routine mpr p2 p3 mr mri seq wb weighted stealth navi norm nd dis2d dis3d""",
}
KIND: dict[str, Kind] = {word: kind for kind, words in KINDS.items() for word in words.split()}
TELLING = ("t1", "t2", "flair", "doubt")
LEADING = (*TELLING, "gd", "plane")  # what the words of a contrast may begin with in a file's name
AGENT, AND = r"(?:contrast|con|gd|gado|ce|km|iv)", r"[ _]?(?:/|&|and|\+)[ _]?"
WITH, WITHOUT = "w(?:ith)?", "w(?:/?o|ithout)"
PHRASES = {  # spellings with a separator, or glued together, in the order in which they are looked for
    rf"(?<![a-z])(?:{WITH}{AND}{WITHOUT}|{WITHOUT}{AND}{WITH})(?:[ _.\-]?{AGENT})?(?![a-z])": " ",  # of protocols
    r"post[ _.\-]?op(?:erative)?": " operated ",
    r"dark[ _.\-]?fluid|da[ _\-]fl": " darkfluid ",
    r"t2[ _.\-]?(?:\*|star)": " t2star ",
    r"(?<![a-z])t([12])[ _.\-]?map": r" t\1map ",
    r"(?:(?<![a-z0-9])c ?\+|\+ ?c(?![a-z0-9]))": " gd ",
    rf"(?:non|no|w/?o|without|ohne)[ _.\-]?{AGENT}(?![a-z])": " without ",
    r"(?<![a-z0-9])t1c(?![a-z])": "t1 gd",
    r"(?<![a-z])c[ _.\-]?spine|wirbels(?:ä|ae)ule": " spine ",
}
GLUED = re.compile(f"(?:{'|'.join(sorted(KIND, key=len, reverse=True))})+")
PIECE = re.compile("|".join(sorted(KIND, key=len, reverse=True)))
NUMBER = re.compile(r"\d+(?:mm|[a-z])?|e\d")  # of a series, an echo, a millimetre, a time


def words_of(text: str) -> list[str]:
    """The words of a description in lower case; what is glued together (``t1mprage``) comes apart."""
    text = text.lower()
    for phrase, word in PHRASES.items():
        text = re.sub(phrase, word, text)
    return [word for token in re.split(r"[\W_]+", text) if token for word in _apart(token)]


def contrast_of(words: Iterable[str]) -> Contrast | Literal["other"] | None:
    """The contrast that words name together; ``other``: known to be none of the four; None: they do not tell."""
    kinds = {KIND[word] for word in words if word in KIND}
    told = kinds.intersection(TELLING)
    if "other" in kinds:
        return "other"
    if "flair" in told and "t1" not in told:
        return Contrast.FLAIR
    if "t1" in told and not told & {"t2", "doubt"}:  # a "T1 FLAIR" is a T1 with an inversion pulse
        return Contrast.T1CE if kinds & {"gd", "post"} and "pre" not in kinds else Contrast.T1
    return Contrast.T2 if told == {"t2"} else None


def named_by_words(name: str) -> tuple[str, Contrast | Literal["other"]] | None:
    """What is before the words of a sequence at the end of a file's name, and what they say; None: they say nothing.

    ``p7_T1_MPRAGE_sag_5`` -> (``p7``, T1). Numbers count as part of them where they follow a contrast.
    """
    for begin, tail in _tails(name):
        words = words_of(tail)
        first = KIND.get(words[0]) if words else None
        numbers = [bool(NUMBER.fullmatch(word)) and word not in KIND for word in words]
        if first is None or not all(known or word in KIND for word, known in zip(words, numbers, strict=True)):
            continue
        kinds = [KIND.get(word) for word in words]
        told = next((n for n, kind in enumerate(kinds) if kind in (*TELLING, "other")), None)
        if told is None or any(numbers[:told]) or any(kind == "post" for kind in kinds[:told]):
            continue
        if first in LEADING or not set(kinds).intersection(TELLING):
            role = contrast_of(words)
            return None if role is None else (name[:begin], role)
    return None


def _tails(name: str) -> Iterator[tuple[int, str]]:
    """Every end of ``name`` that begins with a word, the longest first, and where it begins."""
    yield 0, name
    for match in re.finditer(r"[ _.\-]+", name):
        yield match.end(), name[match.end() :]


def _apart(token: str) -> list[str]:
    """The words that a token is glued together from, or the token itself."""
    if token in KIND or not GLUED.fullmatch(token):
        return [token]
    pieces, rest = [], token
    while rest:  # longest first; where that leaves a rest that is no word, the token stays whole
        piece = PIECE.match(rest)
        if piece is None:
            return [token]
        pieces.append(piece[0])
        rest = rest[piece.end() :]
    return pieces
