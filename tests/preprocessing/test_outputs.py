"""preprocess never takes what is the user's, and never says "done" of what is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import turned
from kills import content, dies

from braincli.config import PreprocessConfig
from braincli.errors import InputError, QualityError, UsageError
from braincli.imaging import volume
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.volume import Volume
from braincli.preprocessing import chain
from braincli.preprocessing.chain import preprocess_case
from braincli.preprocessing.result import Preprocessed
from braincli.reporting import board
from braincli.runtime.progress import Reporter

QUICK = frozenset({"n4", "coregister"})


def run(case: Case, out: Path, reporter: Reporter | None = None, **options: Any) -> Preprocessed:
    return preprocess_case(
        case, out, PreprocessConfig(**{"space": "native", "skip": QUICK, "threads": 1, **options}), reporter
    )


def test_a_label_drawn_by_hand_stays(raw_case: Case, tmp_path: Path) -> None:
    plain = replace(raw_case, lesion=None)
    done = run(plain, tmp_path)
    drawn = done.folder / "anat" / "sub-P01_space-orig_label-L_mask.nii.gz"
    shutil.copy(raw_case.lesion, drawn)
    before = drawn.read_bytes()
    run(plain, tmp_path, overwrite=True)
    assert drawn.read_bytes() == before
    with pytest.raises(UsageError, match=r"label-L_mask\.nii\.gz was not written by braincli preprocess"):
        run(raw_case, tmp_path, overwrite=True)
    assert drawn.read_bytes() == before


def test_what_the_run_before_left_goes_by_its_list(raw_case: Case, tmp_path: Path) -> None:
    done = run(raw_case, tmp_path, keep_intermediates=True)
    heads = list((done.folder / "anat").glob("*_desc-head_*.nii.gz"))
    assert len(heads) == 2 and done.lesion.exists()
    heads[0].unlink()  # the user may
    assert run(raw_case, tmp_path, keep_intermediates=True, resume=True).resumed
    run(replace(raw_case, lesion=None), tmp_path, overwrite=True)
    assert not done.lesion.exists() and not any(head.exists() for head in heads), "they show the face"


def test_a_lesion_corrected_by_hand_is_neither_removed_nor_taken_for_the_new_runs(
    raw_case: Case, tmp_path: Path
) -> None:
    done = run(raw_case, tmp_path)
    lesion = volume.load(done.lesion, labels=True)
    volume.save(replace(lesion, data=1 - lesion.data, source=None), done.lesion, overwrite=True)
    corrected = done.lesion.read_bytes()
    for options in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(UsageError):
            run(replace(raw_case, lesion=None), tmp_path, **options)
    with pytest.raises(UsageError, match="was changed since it was written"):
        run(raw_case, tmp_path, resume=True)
    assert done.lesion.read_bytes() == corrected


def test_swapped_contrasts_are_not_taken_for_done(raw_case: Case, tmp_path: Path) -> None:
    run(raw_case, tmp_path)
    t1, flair = (raw_case.images[contrast] for contrast in (Contrast.T1, Contrast.FLAIR))
    swapped = replace(raw_case, images={Contrast.T1: flair, Contrast.FLAIR: t1}, brain=None, lesion=None)
    with pytest.raises(UsageError, match="other inputs"):
        run(swapped, tmp_path, resume=True, already_stripped=True)


def test_an_input_that_bears_an_outputs_name_stays(raw_case: Case, tmp_path: Path) -> None:
    done = run(raw_case, tmp_path)
    scan = done.images[Contrast.T1]
    before = scan.read_bytes()
    with pytest.raises(InputError, match="is an input"):
        run(Case("P-01", {Contrast.T1: scan}), tmp_path, overwrite=True, already_stripped=True)
    assert scan.read_bytes() == before


@pytest.mark.slow
def test_a_run_killed_at_any_moment_leaves_the_old_state_or_an_incomplete_one(
    raw_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is computed is kept from the first run: only what is written matters here."""
    real, made = chain._process, {}

    def process(scans: Any, case: Case, config: PreprocessConfig, report: Any) -> Any:
        if case.lesion not in made:
            made[case.lesion] = (real(scans, case, config, report), report.figures)
        images, report.figures = made[case.lesion][0], dict(made[case.lesion][1])
        return images

    monkeypatch.setattr(chain, "_process", process)
    monkeypatch.setattr(board, "paint", painted_once(board.paint))
    plain = replace(raw_case, lesion=None)
    states = {case.lesion: content(run(case, tmp_path / name).folder.parent) for name, case in
              (("old", raw_case), ("new", plain))}  # fmt: skip
    kept = 0
    for moment in count():
        out = tmp_path / str(moment)
        shutil.copytree(tmp_path / "old", out)
        if not dies(lambda out=out: run(plain, out, overwrite=True), moment):  # type: ignore[misc]
            break
        if content(out) == states[raw_case.lesion] and _status(out) == "done":
            kept += 1
            assert run(raw_case, out, resume=True).resumed
            continue
        done = _status(out) == "done"
        assert not done or content(out) == states[None]
        assert run(plain, out, resume=True).resumed == done
        assert content(out) == states[None]
        shutil.rmtree(out)
    assert kept >= 2 and moment - kept > 20


def painted_once(paint: Callable[..., Any]) -> Callable[..., Any]:
    """``board.paint`` that paints once what bears the same words; the picture is written each time."""
    pictures: dict[Any, Any] = {}

    def painted(rows: Any, words: Any) -> Any:
        if words not in pictures:
            pictures[words] = paint(rows, words)
        return pictures[words]

    return painted


def _status(out: Path) -> str:
    return str(json.loads(next(out.rglob("sub-*_record.json")).read_text())["status"])


def test_a_second_run_on_one_case_is_refused(raw_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = chain._process

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(chain, "_process", real)
        with pytest.raises(UsageError, match="Another braincli is writing to"):
            run(raw_case, tmp_path / "out", overwrite=True)
        return real(*arguments)

    monkeypatch.setattr(chain, "_process", meanwhile)
    run(raw_case, tmp_path / "out")
    assert run(raw_case, tmp_path / "out", resume=True).resumed
    assert [path.name for path in (tmp_path / "out").rglob(".*")] == [".bidsignore"]


def test_a_resumed_case_is_judged_as_strictly(raw_case: Case, tmp_path: Path) -> None:
    mask = volume.load(raw_case.brain, labels=True)
    small = np.zeros_like(mask.data)
    small[20:28, 20:28, 12:20] = 1
    path = tmp_path / "small.nii.gz"
    volume.save(Volume(small, mask.affine), path)
    run(raw_case, tmp_path / "out", brain_mask=path)
    with pytest.raises(QualityError, match="64 ml"):
        run(raw_case, tmp_path / "out", brain_mask=path, strict_qc=True, resume=True)


def test_warnings_of_the_gatekeeper_about_masks_reach_the_record(raw_case: Case, tmp_path: Path) -> None:
    import nibabel as nib

    for path in (raw_case.images[Contrast.T1], raw_case.brain, raw_case.lesion):
        image = nib.load(path)
        data, affine = np.asarray(image.dataobj), image.affine
        fresh = nib.Nifti1Image(data, affine)
        fresh.set_sform(affine, 1)
        fresh.set_qform(turned(0.0, (12.0, 0.0, 0.0)) @ affine, 1)
        nib.save(fresh, path)
    done = run(raw_case, tmp_path / "out")
    for path in (raw_case.images[Contrast.T1], raw_case.brain, raw_case.lesion):
        assert any(path.name in text and "12" in text for text in done.warnings), done.warnings


def test_a_session_has_a_folder_of_its_own_and_transforms_say_where_they_lead(raw_case: Case, tmp_path: Path) -> None:
    done = run(replace(raw_case, id="sub-01_ses-2"), tmp_path / "out")
    assert done.place == "sub-01/ses-2" and done.folder == tmp_path / "out" / "sub-01" / "ses-2"
    assert done.as_dict()["folder"] == "sub-01/ses-2"
    assert {path.parent for path in (*done.images.values(), done.brain, done.lesion)} == {done.folder / "anat"}
    name = "sub-01_ses-2_from-FLAIR_to-orig_mode-image_xfm"
    told = json.loads((done.folder / "anat" / f"{name}.json").read_text())
    assert (told["From"], told["To"]) == ("FLAIR", "orig") and (done.folder / "anat" / f"{name}.mat").is_file()
    assert told["Spaces"] == {"FLAIR": "bids:raw:P-01_flair.nii.gz", "orig": "bids:raw:P-01_t1.nii.gz"}
    assert "points of orig to points of FLAIR" in told["Description"]


def test_outputs_never_lie_among_the_raw_scans(raw_case: Case, tmp_path: Path) -> None:
    anat = tmp_path / "data" / "sub-01" / "anat"
    anat.mkdir(parents=True)
    scan = Path(shutil.copy(raw_case.images[Contrast.T1], anat / "sub-01_T1w.nii.gz"))
    with pytest.raises(UsageError, match="The scans of sub-01 lie in sub-01/anat, where its outputs go"):
        run(Case("sub-01", {Contrast.T1: scan}), tmp_path / "data", already_stripped=True)
    assert [path.name for path in (tmp_path / "data").rglob("*") if path.is_file()] == ["sub-01_T1w.nii.gz"]
