"""Names that scanners and technicians give: what they say, where an id ends, and what stays untold."""

from __future__ import annotations

from pathlib import Path

import pytest

from braincli.imaging.names import CONTRASTS, read_name
from braincli.imaging.words import contrast_of, named_by_words, words_of

T1, T1CE, T2, FLAIR = CONTRASTS


@pytest.mark.parametrize(
    ("name", "id", "role"),
    [
        ("T1_MPRAGE", "", T1),
        ("T1MPRAGE", "", T1),
        ("t1_post", "", T1CE),
        ("t1_gd", "", T1CE),
        ("T1w_CE", "", T1CE),
        ("FLAIR_3D", "", FLAIR),
        ("dark_fluid", "", FLAIR),
        ("t2_spc_da-fl_iso", "", FLAIR),
        ("t2_tirm_tra_dark-fluid", "", FLAIR),
        ("T1_FLAIR", "", T1),
        ("AX_T1_POST_GD", "", T1CE),
        ("SAG_T1_C+", "", T1CE),
        ("AX_T1_WO_CONTRAST", "", T1),
        ("SAG_T2_CUBE", "", T2),
        ("AX_T2", "", T2),
        ("gd_t1", "", T1CE),
        ("p7_T1_MPRAGE_sag_p2_iso_KM_5", "p7", T1CE),
        ("p7_t1_mprage_20200101120000_5a", "p7", T1),
        ("head_01_T1_MPRAGE", "head_01", T1),
        ("sub-01_ses-tra_T1w", "sub-01_ses-tra", T1),
        ("sub-01_acq-mprage_T1w", "sub-01", T1),
        ("sub_ep2d_diff", "sub", "other"),
        ("p_T1_map", "p", "other"),
        ("p_T1_MPRAGE_seg", "p", "lesion"),
    ],
)
def test_names_of_scanners(name: str, id: str, role: str) -> None:
    named = read_name(Path(f"{name}.nii.gz"))
    assert named is not None and (named.id, named.role) == (id, role)


@pytest.mark.parametrize("name", ["t2_tirm", "p_pd_t2", "p_pd_tse", "T1_T2", "p_sag_3d", "p01_mpr", "case_0000"])
def test_words_that_do_not_tell_a_contrast(name: str) -> None:
    assert named_by_words(name) is None


def test_post_before_a_contrast_may_be_an_operation_and_is_no_agent() -> None:
    for name, id in (("p_post_t1", "p_post"), ("p_postop_t1_mprage", "p_postop"), ("POST_T1_MPRAGE", "POST")):
        named = read_name(Path(f"{name}.nii.gz"))
        assert named is not None and (named.id, named.role) == (id, T1)


def test_a_name_that_is_not_usual_says_so() -> None:
    usual = {name: read_name(Path(f"{name}.nii")).usual for name in ("x_t1ce", "sub-1_T1w", "AX_T1", "T1_MPRAGE")}  # type: ignore[union-attr]
    assert usual == {"x_t1ce": True, "sub-1_T1w": True, "AX_T1": False, "T1_MPRAGE": False}


def test_descriptions_say_more_than_names() -> None:
    assert contrast_of(words_of("AX T1 POST CONTRAST")) is T1CE and contrast_of(words_of("pre GD T1 axial")) is T1
    assert contrast_of(words_of("T1 post op tra")) is T1 and contrast_of(words_of("T2* GRE")) == "other"
    assert contrast_of(words_of("T1 BRAIN W/WO CONTRAST")) is T1  # nothing tells which of both
    assert contrast_of(words_of("T1 with and without gd")) is T1 and contrast_of(words_of("T1 with gd")) is T1CE
    assert contrast_of(words_of("ohne KM t1 tse")) is T1 and contrast_of(words_of("Brain routine")) is None


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("病人一_t1", "病人一"),
        ("病人一_T1_MPRAGE_sag", "病人一"),
        ("Иванов_t1_tse_tra", "Иванов"),
        ("Zoé É_t1", "Zoé É"),
        ("père_é_t1_sag", "père_é"),
        ("Κ_t1", "Κ"),
    ],
)
def test_letters_of_any_script_belong_to_the_case(name: str, id: str) -> None:
    """Else the scans of two patients become one case, T1 of the one and FLAIR of the other."""
    named = read_name(Path(f"{name}.nii.gz"))
    assert named is not None and (named.id, named.role) == (id, "t1")
