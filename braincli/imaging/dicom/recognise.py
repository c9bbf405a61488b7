"""A series -> the contrast that it shows, by how it was measured and by what it is called.

Times and pulses are the scanner's; names are people's, and may be missing, in any language, or wrong. Where both tell
and disagree, neither is believed: the series is left out, and can be chosen by its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from braincli.imaging.contrast import Contrast
from braincli.imaging.dicom.headers import Parameters
from braincli.imaging.dicom.series import Series
from braincli.imaging.words import KIND, contrast_of

Weighting = Literal["t1", "t2", "flair", "proton density", "T2*", "STIR"]
ONE_OF_FOUR = ("t1", "t2", "flair")
NO_SCANS = {  # parts of Image Type -> what such images are
    "LOCALIZER": "a localiser", "ADC": "a diffusion map", "FA": "a diffusion map", "TRACEW": "diffusion",
    "DIFFUSION": "diffusion", "TENSOR": "a diffusion map", "PERFUSION": "perfusion", "CBF": "a perfusion map",
    "CBV": "a perfusion map", "RELCBF": "a perfusion map", "RELCBV": "a perfusion map", "MTT": "a perfusion map",
    "TTP": "a perfusion map", "ASL": "perfusion", "SWI": "susceptibility", "MNIP": "a projection",
    "PROJECTION IMAGE": "a projection", "MIP": "a projection", "MINIP": "a projection", "SUBTRACTION": "a subtraction",
    "SUB": "a subtraction", "SUBTRACT": "a subtraction", "P": "phase", "PHASE": "phase", "PHASE MAP": "phase",
    "R": "a real part", "REAL": "a real part", "I": "an imaginary part", "IMAGINARY": "an imaginary part",
    "VELOCITY": "flow", "SCREEN SAVE": "a screenshot", "T1 MAP": "a map", "T2 MAP": "a map", "T2_STAR MAP": "a map",
    "B1 MAP": "a map", "FIELD MAP": "a map", "UNI": "a combined image of MP2RAGE",
}  # fmt: skip
REFORMATTED = ("MPR", "REFORMATTED", "CSA MPR", "CSA RESAMPLED", "RESAMPLED", "AVERAGE")
OTHER_BODY = ("SPINE", "NECK", "KNEE", "HIP", "SHOULDER", "ABDOMEN", "PELVIS", "CHEST", "HEART", "BREAST", "LIVER",
              "ANKLE", "FOOT", "WRIST", "HAND", "ELBOW", "PROSTATE", "EXTREMITY", "ARM", "LEG", "ORBIT")  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What a series shows, or why it is left out.

    Attributes:
        agent: a contrast agent was given before it; of T2 and FLAIR, those before it are preferred.
        derived: computed from another series (reformatted), which is preferred.
        corrected: by the scanner, for shading or distortion; preferred to its uncorrected twin.
    """

    contrast: Contrast | None
    reason: str = ""
    agent: bool = False
    derived: bool = False
    corrected: bool = False


def recognise(series: Series) -> Verdict:
    """The contrast of ``series``, or why it is none that we look for."""
    parameters = series.parameters
    if reason := series.unfit or _other_image(parameters):
        return Verdict(None, reason)
    named, measured = contrast_of(parameters.words), weighting(parameters)
    if named == "other":
        return Verdict(None, f"named {_telling(parameters, 'other')}")
    base = _agreed("t1" if named is Contrast.T1CE else named, measured, parameters)
    if base not in ONE_OF_FOUR:
        return Verdict(None, base)
    kinds = {KIND.get(word) for word in parameters.words}
    agent = (parameters.agent or bool(kinds & {"gd", "post"})) and "pre" not in kinds
    contrast = Contrast.T1CE if base == "t1" and agent else Contrast(base)
    derived = parameters.kind[:1] == ("DERIVED",) or any(kind in REFORMATTED for kind in parameters.kind)
    corrected = any(kind in ("NORM", "DIS2D", "DIS3D", "FILTERED") for kind in parameters.kind)
    return Verdict(contrast, agent=agent, derived=derived, corrected=corrected)


def weighting(parameters: Parameters) -> Weighting | None:
    """What times and pulses make of an image; None where they do not tell.

    Limits are wide enough for 0.5 to 7 T: Bernstein, King, Zhou, Handbook of MRI Pulse Sequences, 2004, chapters 14-17.
    """
    tr, te, ti = parameters.repetition_ms, parameters.echo_ms, parameters.inversion_ms
    if te is None or tr is None:
        return None
    if "GR" in parameters.sequence and "SE" not in parameters.sequence:
        steady = "SS" in parameters.variant and "SP" not in parameters.variant and tr < 15 and not ti
        if steady or (parameters.flip is not None and parameters.flip < 5 and not ti):
            return None  # balanced steady state; low flip angles weight by proton density
        return "t1" if te < 12 else "T2*"
    if ti:
        if ti < 350:
            return "STIR"
        if te < 50:
            return "t1" if ti < 1500 else None
        return "flair" if ti >= 1200 else None
    if tr >= 1800:
        return "t2" if te >= 60 else "proton density" if te < 40 else None
    return "t1" if tr < 1500 and te <= 40 else None


def _other_image(parameters: Parameters) -> str:
    """What a series is that its header says to be no plain image of a brain."""
    if kinds := [NO_SCANS[kind] for kind in parameters.kind if kind in NO_SCANS]:
        return kinds[0]
    if any("MAP" in kind for kind in parameters.kind):
        return "a map"
    if parameters.b_value:
        return "diffusion"
    if "EP" in parameters.sequence:
        return "echo-planar: diffusion, perfusion or function"
    if parts := [part for part in OTHER_BODY if part in parameters.body]:
        return f"of another part of the body ({parts[0].lower()})"
    return ""


def _agreed(named: str | None, measured: Weighting | None, parameters: Parameters) -> str:
    """``t1``, ``t2`` or ``flair`` where name and measurement agree, else why not."""
    if named is None and measured is None:
        return "neither its name nor its parameters tell a contrast"
    if named is None or measured is None or named == measured:
        told = named or measured
        return str(told) if told in ONE_OF_FOUR else f"{told} weighting"
    if named == "flair" and measured == "t2" and not parameters.inversion_ms:
        return "flair"  # some scanners do not write the inversion time
    if named == "t1" and measured == "proton density" and "flair" in parameters.words:
        return "t1"  # T1 FLAIR, without its inversion time
    if named == "t2" and measured in ("flair", "T2*", "STIR", "proton density"):
        return str(measured) if measured == "flair" else f"{measured} weighting"
    return f"named {str(named).upper()}, measured like {measured.upper() if measured in ONE_OF_FOUR else measured}"


def _telling(parameters: Parameters, kind: str) -> str:
    return next(word for word in parameters.words if KIND.get(word) == kind)
