"""What braincli left beside the scans is never taken for one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from phantoms import touch

from braincli.errors import InputError
from braincli.imaging.cases import Contrast, find_cases
from braincli.imaging.own import folders_below, own_outputs

FLAIR = Contrast.FLAIR


def record(folder: Path, name: str, **content: object) -> None:
    (folder / name).write_text(json.dumps({"braincli": "1", **content}))


def test_own_outputs_beside_the_scans_are_known(tmp_path: Path) -> None:
    kinds = ("mask", "anomaly", "restored-flair", "residual-flair", "uncertainty", "labels", "space-SRI24_flair")
    touch(tmp_path, "p/p_flair.nii.gz", "p/p_seg.nii.gz", *(f"p/p_{kind}.nii.gz" for kind in kinds))
    with pytest.raises(InputError, match="cannot tell what p_labels"):
        find_cases(tmp_path / "p")  # nothing says whose they are
    record(tmp_path / "p", "p_record.json", command="detect", case="p")
    touch(tmp_path, "q/q_flair.nii.gz", "q/found.nii.gz", "q/found_anomaly.nii.gz")
    record(tmp_path / "q", "found.json", command="detect", case="q")
    p, q = find_cases(tmp_path)
    assert p.problem is None and list(p.images) == [FLAIR] and p.lesion is not None and p.lesion.name == "p_seg.nii.gz"
    assert q.problem is None and list(q.images) == [FLAIR]
    record(tmp_path / "q", "found.json", Modality="MR")  # a sidecar of somebody else's
    assert find_cases(tmp_path)[1].problem is not None


@pytest.mark.parametrize("raw", ["p_1/p_1_flair.nii.gz", "sub-p1/anat/sub-p1_FLAIR.nii.gz"])
def test_own_derivatives_beside_raw_cases_are_known(raw: str, tmp_path: Path) -> None:
    touch(tmp_path, raw, "q/q_flair.nii.gz", "sub-p1/sub-p1_space-SRI24_desc-preproc_FLAIR.nii.gz")
    touch(tmp_path, "sub-p1/sub-p1_space-SRI24_desc-brain_mask.nii.gz", "dataset_description.json")
    cases = find_cases(tmp_path)
    assert {case.images[FLAIR] for case in cases} == {tmp_path / raw, tmp_path / "q" / "q_flair.nii.gz"}
    (tmp_path / raw).unlink()
    assert [case.id for case in find_cases(tmp_path)] == ["q", "sub-p1"]


def test_what_models_found_among_derivatives_is_known(tmp_path: Path) -> None:
    prepared = "sub-p1/ses-1/anat/sub-p1_ses-1_space-SRI24"
    found = [f"{prepared}_{kind}.nii.gz" for kind in ("label-L_desc-x_mask", "desc-x_dseg", "desc-xrestored_FLAIR")]
    touch(tmp_path, "dataset_description.json", f"{prepared}_desc-preproc_FLAIR.nii.gz", *found)
    listed = {path.removeprefix("sub-p1/ses-1/"): None for path in found}
    record(tmp_path / "sub-p1" / "ses-1", "sub-p1_ses-1_desc-x_record.json", command="detect", outputs=listed)
    (case,) = find_cases(tmp_path)
    assert case.id == "sub-p1_ses-1" and list(case.images) == [FLAIR] and case.lesion is None and case.problem is None
    assert own_outputs(tmp_path / "sub-p1" / "ses-1" / "anat") == {tmp_path / path for path in found}


def test_derivatives_in_the_folder_of_raw_cases_are_known_wherever_they_lie(tmp_path: Path) -> None:
    for place, name in (("sub-p1/anat", "sub-p1"), ("sub-p2/ses-1/anat", "sub-p2_ses-1")):
        touch(tmp_path, f"{place}/{name}_space-SRI24_desc-preproc_FLAIR.nii.gz")
    touch(tmp_path, "dataset_description.json", "p_1/p_1_flair.nii.gz", "q/q_flair.nii.gz")
    assert [case.id for case in find_cases(tmp_path)] == ["p_1", "q", "sub-p2_ses-1"]


def test_folders_below_follow_links_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/x.txt", ".hidden/x.txt")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in folders_below(tmp_path)] == [".", "a", "a/b"]


def test_maps_of_translate_and_explain_are_known_and_translations_are_scans(tmp_path: Path) -> None:
    for command in ("translate", "explain"):
        content = {"braincli": "1", "command": command, "status": "done"}
        (tmp_path / f"p_{command}_record.json").write_text(json.dumps(content), encoding="utf-8")
    mine = ["p_to-0.5_difference.nii.gz", "p_saliency.nii.gz", "p_cam.nii.gz"]
    touch(tmp_path, *mine, "p_to-0.5_flair.nii.gz", "p_flair.nii.gz", "q_cam.nii.gz")
    assert {path.name for path in own_outputs(tmp_path)} == set(mine)
