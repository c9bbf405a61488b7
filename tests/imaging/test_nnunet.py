"""nnU-Net's layout: channels by number, dataset.json beside them or above, references in labelsTr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from phantoms import touch

from braincli.errors import InputError
from braincli.imaging.case import remarks
from braincli.imaging.cases import CONTRASTS, find_cases

T1, T1CE, T2, FLAIR = CONTRASTS


def describe(folder: Path, key: str = "channel_names", **names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({key: names, "labels": {"background": 0, "tumour": 1}}))
    return folder


def test_a_data_set_is_a_cohort_with_references(tmp_path: Path) -> None:
    root = describe(tmp_path / "Dataset001_X", **{"0": "T1-weighted", "1": "FLAIR", "2": "t1Gd", "3": "ADC"})
    touch(root, *(f"imagesTr/a_1_000{n}.nii.gz" for n in range(4)), "labelsTr/a_1.nii.gz")
    touch(root, *(f"imagesTs/b_000{n}.nii.gz" for n in range(3)))
    first, second = find_cases(root)
    assert (first.id, second.id) == ("a_1", "b") and first.problem is None and second.problem is None
    assert {c: p.name for c, p in first.images.items()} == {
        T1: "a_1_0000.nii.gz", T1CE: "a_1_0002.nii.gz", FLAIR: "a_1_0001.nii.gz",
    }  # fmt: skip
    assert first.lesion == root / "labelsTr" / "a_1.nii.gz" and second.lesion is None
    told = "Taken by their names: *_0000.nii.gz as t1, *_0002.nii.gz as t1ce, *_0001.nii.gz as flair (2 cases)."
    assert remarks([first, second]) == [told]


def test_version_1_calls_it_modality_and_it_may_lie_beside_the_scans(tmp_path: Path) -> None:
    touch(describe(tmp_path, "modality", **{"0": "T2"}), "p_0000.nii.gz")
    assert find_cases(tmp_path)[0].images == {T2: tmp_path / "p_0000.nii.gz"}


def test_without_dataset_json_the_error_says_how_to_tell(tmp_path: Path) -> None:
    touch(tmp_path, "p_0000.nii.gz", "p_0001.nii.gz")
    with pytest.raises(InputError, match=r"p_0000.nii.gz is a channel .* no dataset.json") as error:
        find_cases(tmp_path)
    assert '"channel_names": {"0": "T1"' in error.value.hint and "manifest" in error.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"channel_names": {"0": "MRI"}}', "calls channel 0 'MRI', which tells no contrast"),
        ('{"channel_names": {"1": "T1"}}', "names no channel 0"),
        ('{"labels": {}}', "does not say what the channels show"),
        ("[1, 2]", "does not say what the channels show"),
        ("{", "does not say what the channels show"),
    ],
)
def test_a_dataset_json_that_does_not_tell(tmp_path: Path, content: str, message: str) -> None:
    touch(tmp_path, "p_0000.nii.gz")
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InputError, match=message):
        find_cases(tmp_path)
