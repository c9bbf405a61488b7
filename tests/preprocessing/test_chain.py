"""The chain on a small head: grids, way back, resume, refusals. Brain masks are given, so that no network runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from braincli.config import PreprocessConfig
from braincli.errors import CohortError, InputError, QualityError, UsageError
from braincli.imaging import volume
from braincli.imaging.cases import Case, Contrast, find_cases
from braincli.imaging.volume import Volume
from braincli.preprocessing import atlas
from braincli.preprocessing.chain import preprocess_case
from braincli.preprocessing.cohort import preprocess_cases
from braincli.runtime.progress import Reporter

NATIVE = PreprocessConfig(space="native", skip=frozenset({"n4"}), threads=2)


def test_native_space_is_the_references_grid(raw_case: Case, tmp_path: Path) -> None:
    done = preprocess_case(raw_case, tmp_path / "out", NATIVE)
    t1, seg = volume.load(raw_case.images[Contrast.T1]), volume.load(raw_case.lesion, labels=True)
    images = {contrast: volume.load(path) for contrast, path in done.images.items()}
    for image in images.values():
        assert volume.same_grid(image, t1) is None
        assert image.data.min() == 0 and image.data.max() == 1
    brain = volume.load(done.brain, labels=True).data > 0
    assert not images[Contrast.FLAIR].data[~brain].any()
    # aligned: dark T1 is bright FLAIR
    assert np.corrcoef(images[Contrast.T1].data[brain], images[Contrast.FLAIR].data[brain])[0, 1] < -0.8
    # the lesion, drawn on the turned FLAIR, comes back where it was
    lesion = volume.load(done.lesion, labels=True)
    back = done.to_native(lesion, Contrast.FLAIR)
    assert volume.same_grid(back, seg) is None and back.data.dtype.kind in "iu"
    overlap = 2 * ((back.data > 0) & (seg.data > 0)).sum() / ((back.data > 0).sum() + (seg.data > 0).sum())
    assert overlap > 0.8
    with pytest.raises(UsageError, match="has no t2"):
        done.to_native(lesion, Contrast.T2)


def test_outputs_are_found_again_and_resumed(raw_case: Case, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = preprocess_case(raw_case, out, NATIVE)
    (found,) = find_cases(done.folder)
    assert set(found.images) == set(raw_case.images) and found.brain and found.lesion
    record = json.loads(next(done.folder.glob("*_record.json")).read_text())
    assert record["case"] == "P-01" and str(tmp_path) not in json.dumps(record)
    stamp = done.brain.stat().st_mtime_ns
    again = preprocess_case(raw_case, out, NATIVE.model_copy(update={"resume": True}))
    assert again.resumed and done.brain.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(again.transforms[Contrast.FLAIR], done.transforms[Contrast.FLAIR])
    with pytest.raises(UsageError, match="earlier run"):
        preprocess_case(raw_case, out, NATIVE)
    done.brain.write_bytes(b"damaged")
    redone = preprocess_case(raw_case, out, NATIVE.model_copy(update={"resume": True, "overwrite": True}))
    assert not redone.resumed and volume.load(redone.brain, labels=True).data.any()


def test_repeated_runs_are_bit_identical_whatever_the_threads(raw_case: Case, tmp_path: Path) -> None:
    one, two = (
        preprocess_case(raw_case, tmp_path / str(n), PreprocessConfig(space="native", threads=n)) for n in (1, 2)
    )
    for contrast in one.images:
        assert one.images[contrast].read_bytes() == two.images[contrast].read_bytes()
        assert one.transforms[contrast].tobytes() == two.transforms[contrast].tobytes()


@pytest.mark.slow
def test_atlas_space_has_the_brats_grid(raw_case: Case, tmp_path: Path) -> None:
    config = PreprocessConfig(skip=frozenset({"n4"}), threads=2)
    done = preprocess_case(replace(raw_case, lesion=None), tmp_path / "out", config)
    template = atlas.load_atlas(stripped=True)
    for path in (*done.images.values(), done.brain):
        image = volume.load(path)
        assert image.shape == template.shape
        np.testing.assert_array_equal(image.affine, template.affine)
    assert done.qc["atlas_dsc"] > 0.94 and done.qc["affine_determinant"] == pytest.approx(1, abs=0.05)
    side = json.loads((done.folder / "anat" / "sub-P01_space-SRI24_desc-preproc_T1w.json").read_text())
    assert side["SkullStripped"] is True and atlas.SHA256["sri24_t1.nii.gz"] in side["SpatialReference"]


def test_wrong_input_is_told(raw_case: Case, tmp_path: Path, heads: dict[str, Volume]) -> None:
    out = tmp_path / "out"
    twice = replace(raw_case, images=dict.fromkeys((Contrast.T1, Contrast.T2), raw_case.images[Contrast.T1]))
    with pytest.raises(InputError, match="the same image"):
        preprocess_case(twice, out, NATIVE)
    other = tmp_path / "small.nii.gz"
    volume.save(Volume(np.ones((9, 9, 9), np.uint8), np.eye(4)), other)
    with pytest.raises(InputError, match="different sizes"):
        preprocess_case(raw_case, out, NATIVE.model_copy(update={"brain_mask": other}))
    with pytest.raises(UsageError, match="reference t2 is not among"):
        preprocess_case(raw_case, out, NATIVE.model_copy(update={"reference": Contrast.T2}))
    assert not list(out.rglob("*.nii.gz"))


def test_one_failed_case_stops_no_other(raw_case: Case, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"nothing")
    cases = [Case("A", {Contrast.T1: broken}), replace(raw_case, lesion=None)]
    with pytest.raises(CohortError, match=r"1 of 2 cases failed:\n  A\t"):
        preprocess_cases(cases, tmp_path / "out", NATIVE, Reporter())
    assert list((tmp_path / "out" / "sub-P01").glob("*_record.json"))
    assert json.loads((tmp_path / "out" / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    with pytest.raises(UsageError, match="would all be written to sub-A1"):
        preprocess_cases([Case("A-1"), Case("A1")], tmp_path / "out", NATIVE, Reporter())


def test_strict_quality(raw_case: Case, tmp_path: Path) -> None:
    mask = volume.load(raw_case.brain, labels=True)
    small = np.zeros_like(mask.data)
    small[20:28, 20:28, 12:20] = 1
    path = tmp_path / "small.nii.gz"
    volume.save(Volume(small, mask.affine), path)
    config = NATIVE.model_copy(update={"brain_mask": path, "strict_qc": True})
    with pytest.raises(QualityError, match="64 ml"):
        preprocess_case(raw_case, tmp_path / "out", config)
    assert list((tmp_path / "out").rglob("*_record.json"))  # written all the same


def test_a_brain_without_skull_is_recognised(heads: dict[str, Volume], tmp_path: Path) -> None:
    path = tmp_path / "raw" / "S_t1.nii.gz"
    volume.save(heads["brain"], path)
    done = preprocess_case(Case("S", {Contrast.T1: path}), tmp_path / "out", NATIVE)
    assert any("no skull" in said for said in done.warnings)
    found = volume.load(done.brain, labels=True).data > 0
    assert (found != (heads["brain"].data > 0)).mean() < 0.01
