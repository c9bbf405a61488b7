"""Finding cases: what names mean, and that nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
from phantoms import write_case

from braincli.errors import InputError
from braincli.imaging.cases import CONTRASTS, Contrast, find_cases, is_nifti, read_name, stem

T1, T1CE, T2, FLAIR = CONTRASTS


def touch(folder: Path, *names: str) -> Path:
    """Empty files; cases are found by name alone."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


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


def test_folder_of_brats_names_with_its_masks(tmp_path: Path) -> None:
    names = [f"p.1_{c}.nii.gz" for c in CONTRASTS]
    touch(
        tmp_path / "p", *names, "p.1_seg.nii.gz", "p.1_brainmask.nii.gz", "p.1.json", "q.png", ".p_t1.nii.gz", "x.tsv"
    )
    [case] = find_cases(tmp_path / "p")
    assert case.id == "p.1" and list(case.images) == list(CONTRASTS)
    assert [path.name for path in case.images.values()] == names
    assert case.lesion == tmp_path / "p" / "p.1_seg.nii.gz" and case.brain == tmp_path / "p" / "p.1_brainmask.nii.gz"
    assert case.group is None


def test_names_without_an_id_take_the_folder(tmp_path: Path) -> None:
    assert [case.id for case in find_cases(touch(tmp_path / "patient 7", "t1.nii.gz", "FLAIR.nii"))] == ["patient 7"]


def test_cohort_of_folders_is_sorted_and_skips_the_empty(tmp_path: Path) -> None:
    for id in ("b", "a", "c"):
        write_case(tmp_path / "set" / id, id, ["flair"])
    touch(tmp_path, "set/notes/readme.txt", "set/.hidden/x_t1.nii.gz")
    cases = find_cases(tmp_path)
    assert [case.id for case in cases] == ["a", "b", "c"] and all(case.lesion for case in cases)


def test_flat_cohort_in_one_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a_t1.nii.gz", "a_t2.nii.gz", "b_t1.nii.gz", "b_seg.nii.gz")
    a, b = find_cases(tmp_path)
    assert (a.id, set(a.images), b.id, set(b.images)) == ("a", {T1, T2}, "b", {T1})
    assert a.lesion is None and b.lesion is not None


def test_bids_dataset_with_sessions_reads_anat_only(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"sub-01/ses-{s}/anat/sub-01_ses-{s}_{c}.nii.gz" for s in (1, 2) for c in ("T1w", "ce-gd_T1w", "FLAIR")),
        "sub-01/ses-1/dwi/sub-01_ses-1_dwi.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz", "sub-02/anat/sub-02_T2w.json",
        "sub-02/anat/sub-02_PDw.nii.gz", "derivatives/other/sub-02/anat/sub-02_T2w.nii.gz", "participants.tsv",
    )  # fmt: skip
    cases = find_cases(tmp_path)
    assert [case.id for case in cases] == ["sub-01_ses-1", "sub-01_ses-2", "sub-02"]
    assert [list(case.images) for case in cases] == [[T1, T1CE, FLAIR]] * 2 + [[T2]]
    assert [case.id for case in find_cases(tmp_path / "sub-01" / "ses-2")] == ["sub-01_ses-2"]


def test_own_derivatives_are_read_in_the_space_of_the_images(tmp_path: Path) -> None:
    prefix = "sub-01_space-SRI24"
    touch(
        tmp_path,
        f"{prefix}_desc-preproc_T1w.nii.gz", f"{prefix}_ce-gd_desc-preproc_T1w.nii.gz",
        f"{prefix}_desc-brain_mask.nii.gz", f"{prefix}_label-L_mask.nii.gz",
        "sub-01_space-orig_label-L_mask.nii.gz", f"{prefix}_label-L_desc-tsgm_mask.nii.gz",
        "figures/sub-01_qc.png", "sub-01_from-T1w_to-SRI24_mode-image_xfm.mat",
    )  # fmt: skip
    [case] = find_cases(tmp_path)
    assert case.id == "sub-01" and list(case.images) == [T1, T1CE]
    assert case.brain is not None and case.brain.name == f"{prefix}_desc-brain_mask.nii.gz"
    assert case.lesion is not None and case.lesion.name == f"{prefix}_label-L_mask.nii.gz"


def test_same_id_in_several_folders_gets_the_folder_in_front(tmp_path: Path) -> None:
    touch(tmp_path, "anna/visit1/t1.nii.gz", "ben/visit1/t1.nii.gz", "carl/visit2/t1.nii.gz")
    assert [case.id for case in find_cases(tmp_path)] == ["anna_visit1", "ben_visit1", "visit2"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["p_t1.nii.gz", "p_T1w.nii"], "two files for t1: p_T1w.nii, p_t1.nii.gz"),
        (["p_t1.nii.gz", "p_seg.nii.gz", "p_lesion.nii.gz"], "two files for lesion"),
        (["p_t1.nii.gz", "p_scan.nii.gz"], "cannot tell what p_scan.nii.gz shows"),
        (["p_t1.nii.gz", "p_mask.nii.gz"], "cannot tell what p_mask.nii.gz shows"),
        (["a_t1.nii.gz", "b_flair.nii.gz"], "begin differently (a, b)"),
        (["p_t1.nii.gz", "sub/q_t1.nii.gz"], "holds scans itself and in folders (sub)"),
        (["sub-1_run-1_T1w.nii.gz", "sub-1_run-2_T1w.nii.gz"], "two files for t1"),
        (["sub-1_T1w.nii.gz", "sub-1_space-SRI24_desc-preproc_FLAIR.nii.gz"], "several spaces (native, SRI24)"),
        (["notes.txt"], "holds no .nii or .nii.gz scan"),
        (["p_seg.nii.gz"], "holds no .nii or .nii.gz scan"),
    ],
)
def test_what_cannot_be_placed_is_an_error_naming_it(names: list[str], message: str, tmp_path: Path) -> None:
    touch(tmp_path / "case", *names)
    with pytest.raises(InputError) as raised:
        find_cases(tmp_path / "case")
    assert message in raised.value.message and raised.value.hint


def test_single_file(tmp_path: Path) -> None:
    touch(tmp_path, "p1_flair.nii.gz", "scan.nii.gz", "-x t2.nii", "p_seg.nii.gz", "readme.txt")
    [case] = find_cases(tmp_path / "p1_flair.nii.gz")
    assert (case.id, case.images, case.lesion) == ("p1", {FLAIR: tmp_path / "p1_flair.nii.gz"}, None)
    assert find_cases(tmp_path / "-x t2.nii")[0].images == {T2: tmp_path / "-x t2.nii"}
    [case] = find_cases(tmp_path / "scan.nii.gz", contrast=Contrast.T1CE)
    assert (case.id, list(case.images)) == ("scan", [T1CE])
    for name, message in {
        "scan.nii.gz": "does not tell its contrast", "p_seg.nii.gz": "named like a mask",
        "readme.txt": "neither a .nii", "absent.nii.gz": "no such file or folder",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=message):
            find_cases(tmp_path / name)
    with pytest.raises(InputError, match="is a folder"):
        find_cases(tmp_path, contrast=Contrast.T1)
    with pytest.raises(InputError) as raised:
        find_cases(tmp_path / "scan.nii.gz")
    assert "--contrast flair" in raised.value.hint


def test_unreadable_paths_are_input_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match="cannot be read \\(Permission denied\\)"):
        find_cases(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        find_cases(tmp_path / ("x" * 5000))


def manifest(folder: Path, *rows: str) -> Path:
    touch(folder, "img/a.nii.gz", "img/b.nii.gz", "img/m.nii.gz")
    path = folder / "cohort.tsv"
    path.write_text("\n".join(rows), encoding="utf-8-sig")
    return path


def test_manifest_with_paths_relative_to_it(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "id\tflair\tt1\tlesion\tbrain\tgroup",
        "zoë\timg/b.nii.gz\tn/a\timg/m.nii.gz\t\tdiseased",
        "anna\t\timg/a.nii.gz",
    )
    anna, zoe = find_cases(path)
    assert (anna.id, anna.images, anna.group) == ("anna", {T1: tmp_path / "img/a.nii.gz"}, None)
    assert (zoe.images, zoe.lesion, zoe.brain) == ({FLAIR: tmp_path / "img/b.nii.gz"}, tmp_path / "img/m.nii.gz", None)
    assert zoe.group == "diseased"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["id\tT1w", "a\timg/a.nii.gz"], "unknown column 'T1w'"),
        (["t1", "img/a.nii.gz"], "no column id"),
        (["id\tt1"], "has no rows"),
        (["id\tt1", "a\timg/gone.nii.gz"], "line 2: no such file: gone.nii.gz"),
        (["id\tt1", "a\t"], "line 2: no scan"),
        (["id\tt1", "\timg/a.nii.gz"], "line 2: no id"),
        (["id\tt1", "a\timg/a.nii.gz", "a\timg/b.nii.gz"], "the id a occurs twice"),
        (["id\tt1\tgroup", "a\timg/a.nii.gz\till"], "group is 'ill'"),
    ],
)
def test_manifest_mistakes(rows: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        find_cases(manifest(tmp_path, *rows))
    assert message in raised.value.message and raised.value.hint


def test_manifest_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(b"\xff\xfe\x00id")
    with pytest.raises(InputError, match="no table in UTF-8 text"):
        find_cases(tmp_path / "x.tsv")


@pytest.mark.real
def test_real_folders(shared_data: Path) -> None:
    assert [len(find_cases(shared_data / name)) for name in ("tumour/train", "tumour/val", "tumour/unlabelled")] == [
        9,
        4,
        8,
    ]
    [case] = find_cases(shared_data / "partial")
    assert list(case.images) == [T1CE, FLAIR] and case.lesion is not None
    assert len({case.id for case in find_cases(shared_data)}) == 28
