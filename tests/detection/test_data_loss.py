"""detect never takes what is the user's, and never says "done" of what is not: resume, kills, two at once."""

from __future__ import annotations

import json
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kills import content, dies
from phantoms import affine, write, write_case

from braincli import api
from braincli.config import DetectConfig
from braincli.detection.report import CaseResult
from braincli.errors import InputError, QualityError, UsageError
from braincli.imaging.cases import Contrast
from braincli.imaging.volume import load
from braincli.layout.found import Flat
from braincli.runtime.progress import Reporter

SHAPE = (40, 48, 16)
GRID = affine("LPS", (3.0, 3.0, 4.0))


class Ear(Reporter):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, text: str) -> None:
        self.heard.append(text)

    def warn(self, text: str) -> None:
        self.heard.append(text)


def detect(
    models: Path, inputs: Any, output: Path, model: str = "threshold", reporter: Reporter | None = None, **options: Any
) -> CaseResult:
    config = DetectConfig(
        model=str(models / model), device="cpu", **{"figure": False, "report": False, "threads": 1, **options}
    )
    return api.detect(inputs, output, config=config, reporter=reporter).cases[0]


def record(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


# resume


@pytest.mark.parametrize("one_name", [False, True])
def test_swapped_contrasts_are_not_skipped(models: Path, case: Path, tmp_path: Path, one_name: bool) -> None:
    paths = {c: case / f"p01_{c}.nii.gz" for c in (Contrast.T2, Contrast.FLAIR)}
    if one_name:
        for contrast, path in paths.items():
            (tmp_path / contrast).mkdir()
            paths[contrast] = Path(shutil.copy(path, tmp_path / contrast / "scan.nii.gz"))
    out = tmp_path / "out" / "mask.nii.gz"
    assert detect(models, paths, out).status == "done"
    assert detect(models, paths, out, resume=True).status == "skipped"
    swapped = {Contrast.T2: paths[Contrast.FLAIR], Contrast.FLAIR: paths[Contrast.T2]}
    with pytest.raises(UsageError, match="other inputs"):
        detect(models, swapped, out, resume=True)


def test_another_number_of_threads_is_another_run(models: Path, case: Path, tmp_path: Path) -> None:
    detect(models, case, tmp_path, threads=1)
    with pytest.raises(UsageError, match="other inputs, options"):
        detect(models, case, tmp_path, threads=2, resume=True)


def test_a_damaged_record_is_not_believed(models: Path, case: Path, tmp_path: Path) -> None:
    detect(models, case, tmp_path)
    path = tmp_path / "p01" / "p01_record.json"
    path.write_text(path.read_text().replace('"lesions"', '"lesionz"'))
    with pytest.raises(UsageError, match="No record says"):
        detect(models, case, tmp_path, resume=True)
    assert detect(models, case, tmp_path, resume=True, overwrite=True).status == "done"


def test_a_case_with_too_long_a_name_is_refused(models: Path, case: Path, tmp_path: Path) -> None:
    scan = Path(shutil.copy(case / "p01_flair.nii.gz", tmp_path / f"{'p' * 241}_flair.nii.gz"))
    with pytest.raises(UsageError, match="too long"):
        detect(models, scan, tmp_path / "out", restored=True)


def test_a_damaged_or_lost_uncertainty_file_is_made_again(models: Path, case: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"samples": 2, "uncertainty": tmp_path / "elsewhere" / "u.nii.gz"}
    detect(models, case, tmp_path / "out", "tsgm", **options)
    path, good = options["uncertainty"], options["uncertainty"].read_bytes()
    assert detect(models, case, tmp_path / "out", "tsgm", resume=True, **options).status == "skipped"
    for spoil in (lambda: path.write_bytes(good[:-9]), path.unlink):
        spoil()
        assert detect(models, case, tmp_path / "out", "tsgm", resume=True, **options).status == "done"
        assert path.read_bytes() == good


def test_resume_does_not_touch_a_mask_or_uncertainty_file_of_the_users(
    models: Path, case: Path, tmp_path: Path
) -> None:
    mask, uncertainty = tmp_path / "mask.nii.gz", tmp_path / "u.nii.gz"
    for path in (mask, uncertainty):
        path.write_bytes(b"mine")
        with pytest.raises(UsageError, match=rf"{path.name} exists\. No record says"):
            detect(models, case, mask, "tsgm", resume=True, samples=2, uncertainty=uncertainty)
        assert path.read_bytes() == b"mine"
        path.unlink()


def test_resume_does_not_touch_a_mask_that_was_corrected_by_hand(models: Path, case: Path, tmp_path: Path) -> None:
    detect(models, case, tmp_path)
    mask = tmp_path / "p01" / "p01_mask.nii.gz"
    write(mask, np.ones(SHAPE, np.uint8), GRID)
    corrected = mask.read_bytes()
    with pytest.raises(UsageError, match=r"p01_mask\.nii\.gz was changed since it was written"):
        detect(models, case, tmp_path, resume=True)
    assert mask.read_bytes() == corrected


def test_the_sidecar_of_a_scan_is_no_place_for_a_record(models: Path, case: Path, tmp_path: Path) -> None:
    scan, sidecar = case / "p01_flair.nii.gz", case / "p01_flair.json"
    sidecar.write_text('{"EchoTime": 0.1}')
    with pytest.raises(InputError, match=r"p01_flair\.json is an input"):
        detect(models, scan, case / "p01_flair.nii", overwrite=True)
    other = tmp_path / "mask.json"
    other.write_text("{}")
    with pytest.raises(UsageError, match=r"mask\.json, where the record goes, was not written by braincli detect"):
        detect(models, scan, tmp_path / "mask.nii.gz", overwrite=True)
    assert "EchoTime" in sidecar.read_text() and other.read_text() == "{}"


def test_maps_of_the_run_before_do_not_stay_beside_the_new_mask(models: Path, case: Path, tmp_path: Path) -> None:
    detect(models, case, tmp_path, anomaly_map=True)
    drawn = tmp_path / "p01" / "p01_drawn_mask.nii.gz"
    drawn.write_bytes(b"mine")
    detect(models, case, tmp_path, overwrite=True, threshold=0.8)
    assert not (tmp_path / "p01" / "p01_anomaly.nii.gz").exists() and drawn.read_bytes() == b"mine"


# kills


def test_a_first_run_killed_at_any_moment_is_done_again(models: Path, tmp_path: Path) -> None:
    case = write_case(tmp_path / "in" / "p", "p", ("flair",), shape=SHAPE, matrix=GRID, seg=False)
    detect(models, case, tmp_path / "whole", anomaly_map=True)
    whole = content(tmp_path / "whole")
    for moment in count():
        out = tmp_path / str(moment)
        if not dies(lambda out=out: detect(models, case, out, anomaly_map=True), moment):  # type: ignore[misc]
            break
        complete = (out / "p" / "p_record.json").exists() and record(out / "p" / "p_record.json")["status"] == "done"
        assert not complete or content(out) == whole
        again = detect(models, case, out, anomaly_map=True, resume=True)
        assert again.status == ("skipped" if complete else "done") and content(out) == whole
    assert moment > 10


def test_a_rerun_killed_at_any_moment_leaves_the_old_state_or_an_incomplete_one(models: Path, tmp_path: Path) -> None:
    case = write_case(tmp_path / "in" / "p", "p", ("flair",), shape=SHAPE, matrix=GRID, seg=False)
    old, new = {"anomaly_map": True}, {"threshold": 0.8}
    states = {}
    for name, options in (("old", old), ("new", new)):
        detect(models, case, tmp_path / name, **options)
        states[name] = content(tmp_path / name)
    kept = 0
    for moment in count():
        out = tmp_path / str(moment)
        shutil.copytree(tmp_path / "old", out)
        if not dies(lambda out=out: detect(models, case, out, overwrite=True, **new), moment):  # type: ignore[misc]
            break
        if record(out / "p" / "p_record.json")["status"] == "done" and content(out) == states["old"]:
            kept += 1
            assert detect(models, case, out, resume=True, **old).status == "skipped"
            continue
        assert detect(models, case, out, resume=True, **new).status in ("done", "skipped")
        assert content(out) == states["new"]
    assert kept >= 2 and moment - kept > 8


def test_what_a_dead_run_left_hidden_is_swept(models: Path, case: Path, tmp_path: Path) -> None:
    from braincli.runtime import files

    (tmp_path / "p01").mkdir()
    left = tmp_path / "p01" / f".braincli-{files._machine()}-{2**22 + 1}-0123abcd.tmp.nii.gz"
    left.write_bytes(b"half")
    detect(models, case, tmp_path)
    assert not left.exists()


# two at once


def test_a_second_run_on_one_case_is_refused_and_spoils_nothing(
    models: Path, case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from braincli.detection import detector

    real, refused = detector.search, []

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(detector, "search", real)
        with pytest.raises(UsageError, match="Another braincli is writing to") as caught:
            detect(models, case, out, overwrite=True)
        refused.append(caught.value.exit_code)
        if names.single:  # another mask in the same folder is another matter
            assert detect(models, case, tmp_path / "other.nii.gz").status == "done"
        return real(*arguments, **options)

    for out in (tmp_path / "out", tmp_path / "mask.nii.gz"):
        names = Flat.of("p01", out)
        monkeypatch.setattr(detector, "search", meanwhile)
        assert detect(models, case, out).status == "done"
        assert detect(models, case, out, resume=True).status == "skipped"
    assert refused == [2, 2]
    assert not list(tmp_path.rglob(".*"))


# what is said


def test_warnings_of_the_gatekeeper_reach_screen_and_record(models: Path, case: Path, tmp_path: Path) -> None:
    import nibabel as nib

    for name in ("p01_flair", "mask"):
        shifted = GRID.copy()
        shifted[0, 3] += 12
        data = load(case / "p01_flair.nii.gz").data
        image = nib.Nifti1Image(data if name == "p01_flair" else (data > 0).astype(np.uint8), GRID)
        image.set_sform(GRID, 1)
        image.set_qform(shifted, 1)
        nib.save(image, tmp_path / f"{name}.nii.gz")
    ear = Ear()
    config = DetectConfig(model=str(models / "threshold"), device="cpu", figure=False, report=False)
    api.detect(
        tmp_path / "p01_flair.nii.gz",
        tmp_path / "out",
        brain_mask=tmp_path / "mask.nii.gz",
        config=config,
        reporter=ear,
    )
    written = record(tmp_path / "out" / "p01" / "p01_record.json")["warnings"]
    for name in ("p01_flair.nii.gz", "mask.nii.gz"):
        assert any(name in text and "12" in text for text in written), written
        assert sum(name in text and "12" in text for text in ear.heard) == 1


def test_the_smallest_lesion_is_said_once_and_kept_in_every_record(models: Path, tmp_path: Path) -> None:
    for name in "ab":
        write_case(tmp_path / "in" / name, name, ("flair",), shape=SHAPE, matrix=GRID, seg=False)
    info = models / "threshold" / "model.json"
    copy = tmp_path / "model"
    shutil.copytree(models / "threshold", copy)
    facts = json.loads(info.read_text())
    facts["subsets"]["flair"]["min_lesion_mm3"] = 2000.0
    (copy / "model.json").write_text(json.dumps(facts))
    ear = Ear()
    detect(copy.parent, tmp_path / "in", tmp_path / "out", "model", ear)
    text = "Regions under 2000 mm3 (a sphere of 16 mm) are not reported"
    assert sum(heard.startswith(text) for heard in ear.heard) == 1
    for name in "ab":
        assert record(tmp_path / "out" / name / f"{name}_record.json")["facts"]["smallest_lesion"].startswith(text)
    ear = Ear()
    detect(copy.parent, tmp_path / "in" / "a", tmp_path / "own", "model", ear, min_lesion_mm3=100)
    assert not any("sphere" in heard for heard in ear.heard)


def test_more_than_half_of_the_brain_is_no_finding(models: Path, case: Path, tmp_path: Path) -> None:
    detect(models, case, tmp_path, threshold=0.9)
    with pytest.raises(QualityError, match=r"\d\d% of the brain would be marked; that is no finding") as caught:
        detect(models, case, tmp_path, threshold=0.1, overwrite=True)
    assert caught.value.exit_code == 7
    assert {path.name for path in (tmp_path / "p01").iterdir()} == {"p01_anomaly.nii.gz", "p01_record.json"}
    written = record(tmp_path / "p01" / "p01_record.json")
    assert written["status"] == "failed" and "no finding" in written["error"] and written["exit_code"] == 7
    assert set(written["outputs"]) == {"p01_anomaly.nii.gz"}
    with pytest.raises(QualityError):
        detect(models, case, tmp_path, threshold=0.1, resume=True)
    out = tmp_path / "one" / "mask.nii.gz"
    with pytest.raises(QualityError):
        detect(models, case, out, threshold=0.1)
    assert {path.name for path in out.parent.iterdir()} == {"mask_anomaly.nii.gz", "mask.json"}
    assert detect(models, case, out, threshold=0.9).status == "done"


def test_a_file_name_that_is_no_text_runs(models: Path, case: Path, tmp_path: Path) -> None:
    scan = Path(str(tmp_path), "caf\udce9_flair.nii.gz")
    shutil.copy(case / "p01_flair.nii.gz", scan)
    assert detect(models, scan, tmp_path / "out", figure=True, anomaly_map=True).status == "done"
    assert detect(models, scan, tmp_path / "out", figure=True, anomaly_map=True, resume=True).status == "skipped"


def test_masks_are_told_from_maps_whatever_the_case_is_called(models: Path, case: Path, tmp_path: Path) -> None:
    scan = Path(shutil.copy(case / "p01_flair.nii.gz", tmp_path / "mask_space-1_flair.nii.gz"))
    first = detect(models, scan, tmp_path / "out", anomaly_map=True)
    again = detect(models, scan, tmp_path / "out", anomaly_map=True, resume=True)
    assert again.status == "skipped" and again.masks == first.masks
