"""Which prediction belongs to which reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from phantoms import touch

from braincli.errors import InputError
from braincli.scoring.matching import Pair, case_id, is_map, match


def names(pairs: tuple[Pair, ...]) -> dict[str, list[str]]:
    return {pair.case: [path.name for path in pair.predictions] for pair in pairs}


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("BraTS2021_01478_seg.nii.gz", "BraTS2021_01478"),
        ("BraTS-GLI-00001-000-seg.nii", "BraTS-GLI-00001-000"),
        ("sub-01_ses-b_space-orig_label-L_desc-tsgm_mask.nii.gz", "sub-01_ses-b"),
        ("training01_02_mask1.nii.gz", "training01_02"),
        ("v1.2.case 7_lesion_mask.nii.gz", "v1.2.case 7"),
        ("Žluťák_seg.nii.gz", "Žluťák"),
        ("seg.nii.gz", "seg"),
    ],
)
def test_case_ids_come_from_names(name: str, case: str) -> None:
    assert case_id(Path(name)) == case


def test_cohort_against_one_folder_per_case(tmp_path: Path) -> None:
    cohort = touch(tmp_path / "cohort", *(f"p{i}/p{i}_{k}.nii.gz" for i in (1, 10) for k in ("t1", "flair", "seg")))
    run = touch(
        tmp_path / "run",
        *(f"p{i}/p{i}_{k}.nii.gz" for i in (1, 10) for k in ("label-L_desc-tsgm_mask", "desc-tsgmanomaly")),
        "p1/p1_desc-brain_mask.nii.gz",
        "p1/p1_desc-tsgm_flair.nii.gz",
    )
    found = match(run, cohort)
    assert names(found.pairs) == {f"p{i}": [f"p{i}_label-L_desc-tsgm_mask.nii.gz"] for i in (1, 10)}
    assert [pair.anomalies[0].name for pair in found.pairs] == [f"p{i}_desc-tsgmanomaly.nii.gz" for i in (1, 10)]
    assert found.unmatched == ()


def test_flat_folders_whatever_the_suffix(tmp_path: Path) -> None:
    references = touch(tmp_path / "r", "a.nii.gz", "a_2.nii.gz", "b.nii")
    run = touch(tmp_path / "p", "a_mask.nii.gz", "a_2_mask.nii.gz", "b.nii.gz", "c_mask.nii.gz", ".b_mask.nii.gz")
    found = match(run, references)
    assert names(found.pairs) == {"a": ["a_mask.nii.gz"], "a_2": ["a_2_mask.nii.gz"], "b": ["b.nii.gz"]}
    assert [path.name for path in found.unmatched] == ["c_mask.nii.gz"]


def test_folder_name_decides_where_the_file_name_does_not(tmp_path: Path) -> None:
    references = touch(tmp_path / "r", "case1_seg.nii.gz", "case2_seg.nii.gz")
    run = touch(tmp_path / "p", "case1/mask.nii.gz", "case2/mask.nii.gz", "case2/anomaly.nii.gz")
    first, second = match(run, references).pairs
    assert (first.predictions[0].parent.name, second.predictions[0].parent.name) == ("case1", "case2")
    assert second.anomalies[0].name == "anomaly.nii.gz"


def test_outputs_of_cases_with_spaces_in_their_names(tmp_path: Path) -> None:
    references = touch(tmp_path / "r", "case 7 (b)_seg.nii.gz", "case 7_seg.nii.gz")
    run = touch(tmp_path / "p", "case_7_b_/case_7_b__mask.nii.gz", "case_7/case_7_mask.nii.gz")
    assert names(match(run, references).pairs) == {
        "case 7": ["case_7_mask.nii.gz"],
        "case 7 (b)": ["case_7_b__mask.nii.gz"],
    }


def test_raw_cases_have_a_mask_per_grid(tmp_path: Path) -> None:
    references = touch(tmp_path / "r", "p_seg.nii.gz")
    kinds = (
        "space-SRI24_mask",
        "space-flair_mask",
        "space-SRI24_flair",
        "space-SRI24_restored-flair",
        "space-flair_anomaly",
    )
    run = touch(tmp_path / "p", *(f"p/p_{kind}.nii.gz" for kind in kinds))
    (pair,) = match(run, references).pairs
    assert [path.name for path in pair.predictions] == ["p_space-SRI24_mask.nii.gz", "p_space-flair_mask.nii.gz"]
    assert [path.name for path in pair.anomalies] == ["p_space-flair_anomaly.nii.gz"]


def test_a_reference_without_prediction_stays(tmp_path: Path) -> None:
    references = touch(tmp_path / "r", "a_seg.nii.gz", "b_seg.nii.gz")
    run = touch(tmp_path / "p", "a_mask.nii.gz")
    assert names(match(run, references).pairs) == {"a": ["a_mask.nii.gz"], "b": []}


def test_bids_layout(tmp_path: Path) -> None:
    references = touch(
        tmp_path / "r", "sub-01/anat/sub-01_FLAIR.nii.gz", "sub-01/anat/sub-01_label-L_mask.nii.gz",
        "sub-02/anat/sub-02_label-L_mask.nii.gz", "sub-02/anat/sub-02_desc-brain_mask.nii.gz",
    )  # fmt: skip
    run = touch(tmp_path / "p", "sub-01_space-orig_label-L_desc-tsgm_mask.nii.gz", "sub-02/sub-02_dseg.nii.gz")
    assert [len(pair.predictions) for pair in match(run, references).pairs] == [1, 1]
    assert [pair.case for pair in match(run, references).pairs] == ["sub-01", "sub-02"]


def test_two_files_belong_together(tmp_path: Path) -> None:
    touch(tmp_path, "x/pat7_mask.nii.gz", "x/pat7_anomaly.nii.gz", "x/pat8_anomaly.nii.gz", "gold.nii.gz")
    (pair,) = match(tmp_path / "x/pat7_mask.nii.gz", tmp_path / "gold.nii.gz").pairs
    assert pair.case == "gold"
    assert [path.name for path in pair.anomalies] == ["pat7_anomaly.nii.gz"]


def test_maps_and_brain_masks_elsewhere(tmp_path: Path) -> None:
    references = touch(tmp_path / "r", "a_seg.nii.gz")
    run = touch(tmp_path / "p", "a_mask.nii.gz", "a_anomaly.nii.gz")
    maps = touch(tmp_path / "m", "a.nii.gz")
    brains = touch(tmp_path / "b", "a_brain.nii.gz", "a_t1.nii.gz")
    (pair,) = match(run, references, anomaly=maps, brain=brains).pairs
    assert pair.anomalies == (maps / "a.nii.gz",)
    assert pair.brains == (brains / "a_brain.nii.gz",)
    (pair,) = match(run, references, brain=brains / "a_brain.nii.gz").pairs
    assert pair.brains == (brains / "a_brain.nii.gz",)


def test_anomaly_masks_are_masks() -> None:
    assert is_map(Path("a_desc-tsgmanomaly.nii.gz"))
    assert is_map(Path("a_probseg.nii.gz"))
    assert not is_map(Path("a_anomaly_mask.nii.gz"))


@pytest.mark.parametrize("case", ["brain_001", "seg01", "t1_study_003", "mask-7", "lesion 2"])
def test_a_case_may_be_called_so(case: str, tmp_path: Path) -> None:
    kinds = ("t1", "flair", "seg", "brain_mask")
    cohort = touch(tmp_path / "cohort", *(f"{case}/{case}_{kind}.nii.gz" for kind in kinds))
    run = touch(tmp_path / "run", *(f"{case}/{case}_{kind}.nii.gz" for kind in ("mask", "anomaly", "uncertainty")))
    (pair,) = match(run, cohort).pairs
    assert (pair.case, pair.reference.name) == (case, f"{case}_seg.nii.gz")
    assert [path.name for path in pair.predictions] == [f"{case}_mask.nii.gz"]


def test_outputs_beside_the_scans_are_predictions_and_no_references(tmp_path: Path) -> None:
    kinds = ("flair", "seg", "mask", "anomaly", "restored-flair")
    cohort = touch(tmp_path, *(f"{case}/{case}_{kind}.nii.gz" for case in ("p1", "p2") for kind in kinds))
    touch(tmp_path, "sub-p1/sub-p1_space-SRI24_label-L_mask.nii.gz")
    touch(tmp_path, "sub-p1/sub-p1_space-SRI24_desc-preproc_FLAIR.nii.gz")
    for case in ("p1", "p2"):
        (tmp_path / case / f"{case}_record.json").write_text('{"braincli": "1", "command": "detect"}')
    found = match(cohort, cohort)
    assert [(pair.case, pair.reference.name) for pair in found.pairs] == [
        ("p1", "p1_seg.nii.gz"), ("p2", "p2_seg.nii.gz"),
    ]  # fmt: skip
    assert [pair.predictions[0].name for pair in found.pairs] == ["p1_mask.nii.gz", "p2_mask.nii.gz"]
    assert [len(pair.predictions) for pair in found.pairs] == [1, 1]
    (pair,) = match(tmp_path / "p1", tmp_path / "p1" / "p1_seg.nii.gz").pairs
    assert [path.name for path in pair.predictions] == ["p1_mask.nii.gz"]


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    references = touch(tmp_path / "r", "a_seg.nii.gz")
    touch(tmp_path / "elsewhere", "a_mask.nii.gz")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "p" / "again").symlink_to(tmp_path / "p")
    assert names(match(tmp_path / "p", references).pairs) == {"a": ["a_mask.nii.gz"]}


def test_clear_messages(tmp_path: Path) -> None:
    two = touch(tmp_path / "two", "a_seg.nii.gz", "x/a_mask.nii.gz")
    scans = touch(tmp_path / "scans", "a_t1.nii.gz", "a_flair.nii.gz")
    empty = touch(tmp_path / "empty", "readme.txt")
    mask = tmp_path / "two/a_seg.nii.gz"
    for prediction, reference, text in (
        (two, two, "Two reference masks for case a"),
        (two, scans, "no reference mask"),
        (two, empty, "holds no NIfTI file"),
        (mask, two, "is a file but two is a folder"),
        (tmp_path / "nowhere", two, "nowhere does not exist"),
    ):
        with pytest.raises(InputError, match=text):
            match(prediction, reference)


def test_masks_of_a_derivative_belong_to_the_raw_case_they_were_made_from(tmp_path: Path) -> None:
    touch(tmp_path / "ref", "TCGA-1/TCGA-1_seg.nii.gz", "sub-02_ses-1/sub-02_ses-1_seg.nii.gz")
    kinds = ("label-L_desc-tsgm_mask", "desc-tsgm_dseg", "desc-tsgm_anomaly", "desc-tsgmrestored_FLAIR")
    for place, name in (("sub-TCGA1", "sub-TCGA1"), ("sub-02/ses-1", "sub-02_ses-1")):
        found = [f"anat/{name}_space-FLAIR_{kind}.nii.gz" for kind in kinds]
        beside = [f"anat/{name}_space-SRI24_{kind}.nii.gz" for kind in ("desc-preproc_FLAIR", "desc-brain_mask")]
        folder = touch(tmp_path / "out" / place, *found, *beside)
        content = {"braincli": "1", "command": "detect", "outputs": dict.fromkeys(found)}
        (folder / f"{name}_desc-tsgm_record.json").write_text(json.dumps(content))
    matching = match(tmp_path / "out", tmp_path / "ref")
    assert [pair.case for pair in matching.pairs] == ["TCGA-1", "sub-02_ses-1"]
    for pair, name in zip(matching.pairs, ("sub-TCGA1", "sub-02_ses-1"), strict=True):
        assert [path.name for path in pair.predictions] == [f"{name}_space-FLAIR_label-L_desc-tsgm_mask.nii.gz"]
        assert [path.name for path in pair.anomalies] == [f"{name}_space-FLAIR_desc-tsgm_anomaly.nii.gz"]
