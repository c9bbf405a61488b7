"""Finding cases: what names mean, and that nothing is guessed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from phantoms import brain, touch, write, write_case

from braincli.errors import InputError, UsageError
from braincli.imaging.case import remarks
from braincli.imaging.cases import CONTRASTS, Contrast, find_cases, gather_cases, sound
from braincli.imaging.checks import Level
from braincli.imaging.checks.survey import check_set
from braincli.imaging.reading import load_images

T1, T1CE, T2, FLAIR = CONTRASTS


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


ODD = {
    "two runs": (["x_run-1_FLAIR.nii.gz", "x_run-2_FLAIR.nii.gz"], "x_run-1_FLAIR.nii.gz, x_run-2_FLAIR.nii.gz"),
    "a run beside the scan": (["x_t1.nii.gz", "x_run2_t1.nii.gz"], "two files for t1: x_run2_t1.nii.gz, x_t1.nii.gz"),
    "a run at the end": (["x_t1.nii.gz", "x_t1_run2.nii.gz"], "two files for t1: x_t1.nii.gz, x_t1_run2.nii.gz"),
    "unknown file": (["x_flair.nii.gz", "x_flair_final.nii.gz"], "cannot tell what x_flair_final.nii.gz shows"),
    "unknown mask": (["x_flair.nii.gz", "x_mask.nii.gz"], "cannot tell what x_mask.nii.gz shows"),
    "no scan but what was made of it": (["x_t1_brain.nii.gz"], "cannot tell what x_t1_brain.nii.gz shows"),
    "lesion or tissue": (["x_t1.nii.gz", "x_t1_seg.nii.gz"], "cannot tell what x_t1_seg.nii.gz shows"),
    "two names": (["x_t1.nii.gz", "y_flair.nii.gz"], "begin differently (x, y)"),
    "scans in and below": (["x_t1.nii.gz", "coreg/x_t1.nii.gz"], "holds scans itself and in folders (coreg)"),
    "two spaces": (["x_t1.nii.gz", "x_space-MNI_FLAIR.nii.gz"], "several spaces (native, MNI)"),
}


@pytest.mark.parametrize("names, message", ODD.values(), ids=ODD)
def test_an_odd_subject_is_a_problem_of_its_own(names: list[str], message: str, tmp_path: Path) -> None:
    touch(tmp_path, *(f"x/{name}" for name in names), "a/a_flair.nii.gz", "z/z_flair.nii.gz", "z/z_t1.nii.gz")
    a, x, z = find_cases(tmp_path)
    assert (a.id, x.id, z.id) == ("a", "x", "z") and a.problem is None and z.problem is None
    assert x.problem is not None and message in x.problem.message and x.problem.hint
    with pytest.raises(InputError, match=re.escape(message)):  # where it is the only one
        find_cases(tmp_path / "x")
    with pytest.raises(InputError, match=re.escape(message)):  # where all are needed
        sound([a, x, z])


@pytest.mark.parametrize(("run", "chosen"), [("first", "1"), ("1", "1"), ("last", "3"), ("2", "2")])
def test_runs_are_chosen_by_rule(run: str, chosen: str, tmp_path: Path) -> None:
    touch(tmp_path, *(f"sub-1_run-{n}_FLAIR.nii.gz" for n in "123"), "sub-1_T1w.nii.gz")
    [case] = find_cases(tmp_path, run=run)
    assert case.images[FLAIR].name == f"sub-1_run-{chosen}_FLAIR.nii.gz" and case.images[T1].name == "sub-1_T1w.nii.gz"


def test_a_run_that_is_not_there_and_files_that_are_no_runs(tmp_path: Path) -> None:
    touch(tmp_path / "x", "x_t1.nii.gz", "x_run2_t1.nii.gz", "x_flair.nii.gz")
    with pytest.raises(InputError, match="none is run 4"):
        find_cases(tmp_path / "x", run="4")
    assert [find_cases(tmp_path / "x", run=run)[0].images[T1].name for run in ("1", "2", "first", "last")] == [
        "x_t1.nii.gz", "x_run2_t1.nii.gz", "x_t1.nii.gz", "x_run2_t1.nii.gz",
    ]  # fmt: skip
    with pytest.raises(InputError) as raised:
        find_cases(tmp_path / "x")
    assert "--run last" in raised.value.hint
    touch(tmp_path / "y", "y_acq-a_T1w.nii.gz", "y_acq-b_T1w.nii.gz")
    with pytest.raises(InputError, match="two files for t1") as raised:
        find_cases(tmp_path / "y", run="last")
    assert "--run" not in raised.value.hint


def test_one_run_alone_keeps_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "a_run2/a_run2_t1.nii.gz", "a_run2/a_run2_seg.nii.gz")
    [case] = find_cases(tmp_path)
    assert case.id == "a_run2" and case.lesion is not None


FAST = ("pve_0", "pve_1", "pve_2", "pveseg", "mixeltype", "seg", "bias", "restore", "seg_0", "prob_1")


def test_what_fast_leaves_is_tissue_and_no_lesion(tmp_path: Path) -> None:
    touch(tmp_path / "x", "x_t1.nii.gz", "x_flair.nii.gz", *(f"x_t1_{kind}.nii.gz" for kind in FAST))
    touch(tmp_path / "y", "y_t1.nii.gz", *(f"y_{kind}.nii.gz" for kind in FAST))
    touch(tmp_path / "z", "z_t1.nii.gz", "z_t1_pve_0.nii.gz", "z_t1_seg.nii.gz", "z_seg.nii.gz")
    x, y, z = find_cases(tmp_path)
    assert [case.problem for case in (x, y, z)] == [None] * 3
    assert x.lesion is None and y.lesion is None and z.lesion is not None and z.lesion.name == "z_seg.nii.gz"
    assert set(x.tissue) == set(y.tissue) == {"gm", "wm", "csf"} and list(x.images) == [T1, FLAIR]


def test_what_was_made_from_a_scan_is_set_aside(tmp_path: Path) -> None:
    touch(tmp_path, "x_flair.nii.gz", "x_roi.nii.gz", "x_segm.nii.gz", "x_flair_brain.nii.gz", "x_seg.nii.gz")
    [case] = find_cases(tmp_path)
    assert case.lesion is not None and list(case.images) == [FLAIR]
    assert [path.name for path in case.aside] == ["x_flair_brain.nii.gz", "x_roi.nii.gz", "x_segm.nii.gz"]


def test_unreadable_folders_and_links_to_nothing_stay_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/a_t1.nii.gz", "b/b_t1.nii.gz", "c/readme.txt", "d/readme.txt")
    (tmp_path / "c" / "c_t1.nii.gz").symlink_to("../.git/annex/objects/xx/SHA256E-s9--1.nii.gz")
    (tmp_path / "d" / "d_t1.nii.gz").symlink_to("gone.nii.gz")
    listed = Path.iterdir

    def refuse(path: Path):  # type: ignore[no-untyped-def]
        if path.name == "b":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    a, b, c, d = find_cases(tmp_path)
    assert a.problem is None and b.problem is not None and c.problem is not None and d.problem is not None
    assert b.problem.message == "b: cannot be read (Permission denied)."
    assert "c_t1.nii.gz is a link to content that is not here" in c.problem.message
    assert c.problem.hint == "Fetch it: datalad get c_t1.nii.gz" and "Mend the link" in d.problem.hint
    with pytest.raises(InputError, match="content that is not here"):
        find_cases(tmp_path / "c" / "c_t1.nii.gz")


def test_linked_folders_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    touch(tmp_path, "store/p1/p1_t1.nii.gz", "store/p2/p2_t1.nii.gz")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "one").symlink_to(tmp_path / "store" / "p1")
    (tmp_path / "set" / "two").symlink_to(tmp_path / "store" / "p2")
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "same").symlink_to(tmp_path / "store" / "p2")
    assert [case.id for case in find_cases(tmp_path / "set")] == ["p1", "p2"]


@pytest.mark.parametrize("id", ["brain_001", "seg01", "t1_study_003", "mask-7", "lesion_1_b", "flair_run", "run_2"])
def test_a_case_may_be_called_so(id: str, tmp_path: Path) -> None:
    touch(tmp_path, *(f"{id}/{id}_{kind}.nii.gz" for kind in ("t1", "flair", "seg", "brainmask")), "b/b_t1.nii.gz")
    case = next(case for case in find_cases(tmp_path) if case.id != "b")
    assert (case.id, list(case.images), case.problem) == (id, [T1, FLAIR], None)
    assert case.lesion is not None and case.brain is not None


def test_derivatives_hold_no_cases_unless_they_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "p1/p1_t1.nii.gz", "derivatives/tool/p1/p1_t1.nii.gz", "sourcedata/p1/t1.nii.gz")
    assert [case.id for case in find_cases(tmp_path)] == ["p1"]
    assert [case.id for case in find_cases(tmp_path / "derivatives")] == ["p1"]


def test_several_paths_of_which_one_gives_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "a/a_t1.nii.gz", "b/notes.txt")
    a, b, gone = gather_cases([tmp_path / "a", tmp_path / "b", tmp_path / "gone"])
    assert a.problem is None and b.id == "b" and b.problem is not None and "holds no .nii" in b.problem.message
    assert gone.id == "gone" and gone.problem is not None and "no such file" in gone.problem.message
    with pytest.raises(InputError, match="no such file"):
        gather_cases([tmp_path / "gone"])


def test_contrasts_of_a_file_with_four_dimensions(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/B_1.nii.gz", "imagesTr/B_2.nii.gz", "imagesTr/._B_2.nii.gz", "labelsTr/B_1.nii.gz")
    order = (FLAIR, T1, T1CE, T2)
    [case] = find_cases(tmp_path / "imagesTr" / "B_1.nii.gz", contrast=order)
    assert case.id == "B_1" and list(case.images) == list(CONTRASTS) and len(set(case.images.values())) == 1
    assert case.volumes == {FLAIR: 0, T1: 1, T1CE: 2, T2: 3} and case.lesion == tmp_path / "labelsTr" / "B_1.nii.gz"
    assert [case.id for case in find_cases(tmp_path / "imagesTr", contrast=order)] == ["B_1", "B_2"]
    [single] = find_cases(tmp_path / "imagesTr" / "B_1.nii.gz", contrast=(T2,))
    assert list(single.images) == [T2] and not single.volumes
    with pytest.raises(UsageError, match="named twice"):
        find_cases(tmp_path / "imagesTr" / "B_1.nii.gz", contrast=(T2, T2))


def test_volumes_of_a_file_are_read_by_contrast(tmp_path: Path) -> None:
    scans = np.stack([brain(seed=0), brain(seed=1)], -1)
    [case] = find_cases(write(tmp_path / "x.nii.gz", scans), contrast=(FLAIR, T1))
    images = load_images(case)
    assert np.array_equal(images[FLAIR].data, scans[..., 0]) and np.array_equal(images[T1].data, scans[..., 1])
    assert not [problem for problem in check_set(images) if problem.level >= Level.WARNING]
    [case] = find_cases(tmp_path / "x.nii.gz", contrast=FLAIR)
    assert np.array_equal(load_images(case, volume=1)[FLAIR].data, scans[..., 1])
    with pytest.raises(InputError, match="holds 2 volumes"):
        load_images(case)


def test_bytes_that_are_no_text_in_names(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    try:
        touch(folder, os.fsdecode(b"M\xfcller_flair.nii.gz"), "t1.nii.gz")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with pytest.raises(InputError) as raised:
        find_cases(tmp_path)
    raised.value.message.encode()
    (folder / "t1.nii.gz").unlink()
    assert [case.id for case in find_cases(tmp_path)] == ["Müller"]


def test_real_folders(shared_data: Path) -> None:
    assert [len(find_cases(shared_data / name)) for name in ("tumour/train", "tumour/val", "tumour/unlabelled")] == [
        9,
        4,
        8,
    ]
    [case] = find_cases(shared_data / "partial")
    assert list(case.images) == [T1CE, FLAIR] and case.lesion is not None
    assert len({case.id for case in find_cases(shared_data)}) == 28


def test_other_cases_beside_sub_folders_are_not_left_out(tmp_path: Path) -> None:
    """Only a data set that says it is BIDS holds its cases in ``sub-*`` alone."""
    for folder, name in (("sub-01/anat", "sub-01_FLAIR"), ("p02", "p02_flair"), ("code", "x_flair")):
        write(tmp_path / folder / f"{name}.nii.gz")
    assert [case.id for case in find_cases(tmp_path)] == ["p02", "sub-01"]
    (tmp_path / "dataset_description.json").write_text("{}")
    assert [case.id for case in find_cases(tmp_path)] == ["sub-01"]


def test_names_of_scanners_make_a_case_and_one_line_says_how_they_were_taken(tmp_path: Path) -> None:
    touch(tmp_path / "p1", "T1_MPRAGE.nii.gz", "SAG_T1_MPRAGE_KM.nii.gz", "dark_fluid.nii.gz", "t2.nii.gz", "DWI.nii")
    (case,) = find_cases(tmp_path / "p1")
    names = {str(contrast): path.name for contrast, path in case.images.items()}
    assert case.id == "p1" and names == {
        "t1": "T1_MPRAGE.nii.gz", "t1ce": "SAG_T1_MPRAGE_KM.nii.gz", "t2": "t2.nii.gz", "flair": "dark_fluid.nii.gz",
    }  # fmt: skip
    (line,) = remarks([case])
    assert line == (
        "Taken by their names: T1_MPRAGE.nii.gz as t1, SAG_T1_MPRAGE_KM.nii.gz as t1ce, dark_fluid.nii.gz as flair."
    )
    touch(tmp_path / "p2", "p2_t1.nii.gz", "p2_flair.nii.gz")
    assert remarks(find_cases(tmp_path / "p2")) == []
    assert remarks(find_cases(touch(tmp_path / "p3", "x_FLAIR_3D.nii") / "x_FLAIR_3D.nii")) == [
        "Taken by their names: *_FLAIR_3D.nii as flair."
    ]
