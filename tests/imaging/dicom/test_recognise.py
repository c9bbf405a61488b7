"""Series by how they were measured and what they are called: protocols of four makers, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("pydicom")

from braincli.imaging.dicom.headers import Image, Parameters
from braincli.imaging.dicom.recognise import recognise, weighting
from braincli.imaging.dicom.series import Series
from braincli.imaging.words import words_of


def series(description: str = "", *, unfit: str = "", **parameters: Any) -> Series:
    told = Parameters("MR", 1, words=tuple(words_of(description)), **parameters)
    image = Image(None, 0, "", "", "", "", "", "", 1, 64, 64, False, told, None, None, None, 0)  # type: ignore[arg-type]
    return Series("1", (image,), unfit=unfit)


def times(tr: float, te: float, ti: float | None = None) -> dict[str, Any]:
    return {"repetition_ms": tr, "echo_ms": te, "inversion_ms": ti}


SE, GR, IR = ("SE",), ("GR",), ("SE", "IR")


@pytest.mark.parametrize(
    ("description", "parameters", "contrast"),
    [
        ("t1_mprage_sag_p2_iso", {"sequence": ("GR", "IR"), "flip": 9, **times(2300, 2.98, 900)}, "t1"),
        ("", {"sequence": GR, "variant": ("MP",), "flip": 8, **times(8.1, 3.7)}, "t1"),  # Philips, anonymised
        ("Ax 3D T1 BRAVO +C", {"sequence": GR, "variant": ("SS", "SP", "SK"), "flip": 12, **times(8.2, 3.2)}, "t1ce"),
        ("Sag T1 FLAIR", {"sequence": IR, **times(2500, 22, 860)}, "t1"),
        ("Sag T1 FLAIR", {"sequence": SE, **times(2500, 22)}, "t1"),  # without its inversion time
        ("t1_se_tra", {"sequence": SE, "agent": True, **times(550, 12)}, "t1ce"),
        ("t1_se_tra pre GD", {"sequence": SE, "agent": True, **times(550, 12)}, "t1"),
        ("t1_spc_sag", {"sequence": SE, **times(700, 11)}, "t1"),
        ("t2_tse_tra", {"sequence": SE, **times(5000, 95)}, "t2"),
        ("", {"sequence": SE, **times(3200, 410)}, "t2"),  # SPACE
        ("", {"sequence": IR, **times(9000, 120, 2500)}, "flair"),
        ("t2_tirm_tra", {"sequence": IR, **times(9000, 85, 2500)}, "flair"),
        ("t2_tse_tra", {"sequence": IR, **times(9000, 85, 2500)}, "flair"),  # the scanner's time is believed
        ("Sag CUBE FLAIR", {"sequence": SE, **times(6000, 130)}, "flair"),  # TI not written
        ("FLAIR post GD", {"sequence": IR, "agent": True, **times(9000, 120, 2500)}, "flair"),
        ("3D FLAIR", {}, "flair"),  # nothing but a name
    ],
)
def test_contrasts(description: str, parameters: dict[str, Any], contrast: str) -> None:
    assert recognise(series(description, **parameters)).contrast == contrast


@pytest.mark.parametrize(
    ("description", "parameters", "reason"),
    [
        ("localizer", {"kind": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "a localiser"),
        ("", {"unfit": "a localiser or single images: 3 of one orientation"}, "a localiser or single images"),
        ("ADC", {"kind": ("DERIVED", "PRIMARY", "DIFFUSION", "ADC")}, "diffusion"),
        ("T1 images", {"kind": ("DERIVED", "PRIMARY", "M", "T1 MAP")}, "a map"),
        ("t2_tse", {"sequence": ("EP", "SE"), **times(4000, 90)}, "echo-planar"),
        ("t2_tse", {"b_value": 1000.0}, "diffusion"),
        ("t1 sub", {"kind": ("DERIVED", "SECONDARY", "SUBTRACTION")}, "a subtraction"),
        ("t2_swi3d_tra", {}, "named swi"),
        ("TOF_3D", {}, "named tof"),
        ("", {"sequence": GR, "flip": 20, **times(650, 20)}, "T2* weighting"),
        ("Ax T2 GRE", {"sequence": GR, "flip": 20, **times(650, 20)}, "T2* weighting"),
        ("t2_tirm_cor", {"sequence": IR, **times(4000, 60, 160)}, "STIR weighting"),
        ("pd+t2_tse", {"sequence": SE, **times(3000, 12)}, "proton density weighting"),
        ("T1 axial", {"sequence": SE, **times(5000, 100)}, "named T1, measured like T2"),
        ("ciss", {"sequence": GR, "variant": ("SS",), **times(6, 2.7)}, "named ciss"),
        ("routine", {}, "neither its name nor its parameters"),
        ("t2_tse_sag", {"body": "LSPINE", "sequence": SE, **times(3500, 100)}, "another part of the body (spine)"),
    ],
)
def test_what_is_left_out_and_why(description: str, parameters: dict[str, Any], reason: str) -> None:
    verdict = recognise(series(description, **parameters))
    assert verdict.contrast is None and reason in verdict.reason


def test_what_is_preferred_is_told_apart() -> None:
    reformatted = recognise(series("t1_mpr_tra", kind=("DERIVED", "SECONDARY", "MPR"), sequence=GR, **times(2300, 3)))
    assert reformatted.contrast == "t1" and reformatted.derived
    twin = recognise(series("t1", kind=("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"), sequence=GR, **times(2300, 3)))
    assert twin.corrected and not twin.derived


def test_weighting_needs_times() -> None:
    assert weighting(Parameters("MR", 1, sequence=SE)) is None
    assert weighting(Parameters("MR", 1, sequence=SE, **times(1650, 30))) is None  # between all of them
