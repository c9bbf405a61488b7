"""What names mean, and that nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from braincli.imaging.names import CONTRASTS, is_nifti, read_name, stem

T1, T1CE, T2, FLAIR = CONTRASTS


@pytest.mark.parametrize(
    ("name", "id", "role"),
    [
        ("BraTS2021_00001_t1ce.nii.gz", "BraTS2021_00001", T1CE),
        ("BraTS-GLI-00001-000-t1c.nii.gz", "BraTS-GLI-00001-000", T1CE),
        ("BraTS-GLI-00001-000-t1n.nii.gz", "BraTS-GLI-00001-000", T1),
        ("BraTS-GLI-00001-000-t2f.nii.gz", "BraTS-GLI-00001-000", FLAIR),
        ("BraTS-GLI-00001-000-t2w.nii.gz", "BraTS-GLI-00001-000", T2),
        ("BraTS-GLI-00001-000-seg.nii.gz", "BraTS-GLI-00001-000", "lesion"),
        ("brats_2013_pat0001_1_t1.nii.gz", "brats_2013_pat0001_1", T1),
        ("UPENN-GBM-00001_11_T1GD.nii.gz", "UPENN-GBM-00001_11", T1CE),
        ("p_t1Gd.nii", "p", T1CE),
        ("p_t1_ce.nii", "p", T1CE),
        ("p_fla.nii.gz", "p", FLAIR),
        ("p_t2_flair.nii.gz", "p", FLAIR),
        ("p_T1w.nii.gz", "p", T1),
        ("FLAIR.nii.gz", "", FLAIR),
        ("1.2.840.113_T2.nii.gz", "1.2.840.113", T2),
        ("zwei wörter t2.nii.gz", "zwei wörter", T2),
        ("sub-01_T1w.nii.gz", "sub-01", T1),
        ("sub-01_ses-a_acq-mprage_ce-gd_run-1_T1w.nii.gz", "sub-01_ses-a", T1CE),
        ("sub-01_space-SRI24_desc-preproc_FLAIR.nii.gz", "sub-01", FLAIR),
        ("sub-01_space-SRI24_desc-brain_mask.nii.gz", "sub-01", "brain"),
        ("sub-01_space-SRI24_label-L_mask.nii.gz", "sub-01", "lesion"),
        ("sub-r01_ses-1_space-MNI_label-L_desc-T1lesion_mask.nii.gz", "sub-r01_ses-1", "lesion"),
        ("sub-01_label-L_desc-tsgm_mask.nii.gz", "sub-01", "other"),
        ("sub-01_desc-restored_FLAIR.nii.gz", "sub-01", "other"),
        ("sub-01_PDw.nii.gz", "sub-01", "other"),
        ("p_lesion.nii.gz", "p", "lesion"),
        ("p_brain_mask.nii.gz", "p", "brain"),
        ("p_t1_bet_mask.nii.gz", "p", "brain"),
        ("p_t1_pve_2.nii.gz", "p", "wm"),
        ("p_t1_mixeltype.nii.gz", "p", "other"),
        ("p_restored-flair.nii.gz", "p", "other"),
        ("p_space-t1_anomaly.nii.gz", "p", "other"),
        ("p_run2_t1.nii.gz", "p_run2", T1),
        ("p_t1_run2.nii.gz", "p", T1),
    ],
)
def test_names(name: str, id: str, role: str) -> None:
    named = read_name(Path(name))
    assert named is not None and (named.id, named.role) == (id, role)


@pytest.mark.parametrize("name", ["p_mask.nii.gz", "p_brain.nii.gz", "scan.nii.gz", "p_t1brain.nii.gz", "port1.nii"])
def test_names_that_tell_nothing(name: str) -> None:
    assert read_name(Path(name)) is None


def test_only_the_nifti_ending_is_taken_off() -> None:
    assert stem(Path("a.b.c.nii.gz")) == "a.b.c" and stem(Path("A.NII")) == "A"
    assert is_nifti(Path("A.NII.GZ")) and not is_nifti(Path("a.nii.gz.json"))
