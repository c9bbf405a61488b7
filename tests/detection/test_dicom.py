"""A study of DICOM through detect and preprocess: masks, SEG, records; nothing tells who the patient is."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("highdicom")

from dicoms import SECRETS, write_series
from phantoms import affine, brain, lesion, write_case

from braincli import api
from braincli.config import DetectConfig, PreprocessConfig
from braincli.errors import InputError, UsageError
from braincli.imaging.cases import Case, find_cases
from braincli.imaging.contrast import Contrast
from braincli.imaging.dicom import opening
from braincli.imaging.dicom.opening import converted, opened
from braincli.imaging.dicom.segmentation import read_segmentation
from braincli.imaging.volume import load, view_onto
from braincli.preprocessing.chain import preprocess_case
from braincli.preprocessing.result import Preprocessed
from braincli.runtime.progress import Reporter

SHAPE = (20, 22, 16)


def centred(matrix: np.ndarray) -> np.ndarray:
    """The grid with its middle at 0, as two scans of one head lie."""
    moved = matrix.copy()
    moved[:3, 3] = -matrix[:3, :3] @ (np.array(SHAPE) - 1) / 2
    return moved


OBLIQUE = centred(affine("LPS", (9.0, 9.0, 9.0), degrees=(9.0, 14.0)))
FINE = centred(affine("PIL", (8.0, 9.0, 10.0), degrees=(-7.0, 5.0)))
NAME = "Zyxwvuts_PID8675309"


class Told(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is called after its patient, with T1 and FLAIR on two grids, a localiser and diffusion."""
    folder = tmp_path_factory.mktemp("pacs") / NAME
    spot = lesion(SHAPE) > 0
    uids = {"study": "1.2.3", "frame": "1.2.4"}
    for number, (name, matrix) in enumerate({"flair": OBLIQUE, "mprage": FINE, "dwi": OBLIQUE}.items(), 3):
        data = brain(SHAPE, number)
        data[spot] *= 1.7 if name == "flair" else 0.8
        write_series(folder / f"S{number}", np.round(data * 10), matrix, name, number=number, **uids)
    write_series(folder / "S1", brain(SHAPE)[:, :, 7:10], OBLIQUE, "t1", ImageType="LOCALIZER", **uids)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` but SEG, unpacked, by its path."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".dcm"]
    return {
        str(path.relative_to(folder)): gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in files
    }


def leaks(folder: Path, told: Told, printed: str = "") -> list[str]:
    """Where the patient, the staff, the site or the day is told; shorter words may occur by chance."""
    secrets = {part.lower() for value in SECRETS.values() for part in value.replace("^", " ").split() if len(part) > 7}
    places = {**{name: content.lower() for name, content in contents(folder).items()}, "screen": b""}
    places["screen"] = "\n".join([*told.lines, printed, *places]).lower().encode()
    return [f"{secret} in {name}" for name, text in places.items() for secret in secrets if secret.encode() in text]


def detect(models: Path, study: Path, out: Path, told: Reporter | None = None, **options: Any) -> Any:
    """With a chain that leaves out what takes time: registration to the atlas, and the bias field."""
    config = DetectConfig(
        model=str(models / "threshold"), device="cpu", threads=1, preprocess=True, already_stripped=True, threshold=0.7,
        **options,
    )  # fmt: skip
    quick = {"space": "native", "skip": frozenset({"atlas", "n4", "coregister"})}

    def chain(case: Case, out: Path, options: PreprocessConfig, reporter: Reporter) -> Preprocessed:
        return preprocess_case(case, out, options.model_copy(update=quick), reporter)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("braincli.preprocessing.chain.preprocess_case", chain)
        return api.detect(study, out, config, told)


@pytest.fixture(scope="module")
def found(models: Path, study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    """What detect leaves of the study, and says."""
    out, told = tmp_path_factory.mktemp("out"), Told()
    detect(models, study, out, told, dicom_seg=True, anomaly_map=True)
    return out, told


def test_detect_gives_a_mask_and_a_seg_on_every_series(study: Path, found: tuple[Path, Told]) -> None:
    out, told = found
    anat = out / "sub-studyc47f5b18" / "anat"
    spaces = {Contrast.T1: "T1w", Contrast.FLAIR: "FLAIR"}
    with opened(find_cases(study, dicom=True)[0]) as case:
        converted(case)
        assert case.study is not None
        for contrast in (Contrast.T1, Contrast.FLAIR):
            start = f"sub-studyc47f5b18_space-{spaces[contrast]}_label-L_desc-threshold"
            mask = load(anat / f"{start}_mask.nii.gz", labels=True)
            seg = read_segmentation(anat / f"{start}_seg.dcm", case.study.series[contrast])
            assert mask.data.any() and np.array_equal(view_onto(seg, mask).data, mask.data > 0)
            native = nib.load(case.images[contrast])
            assert mask.shape == native.shape and np.allclose(mask.affine, native.affine, atol=1e-4)
    record = json.loads((anat.parent / "sub-studyc47f5b18_desc-threshold_record.json").read_text())
    assert record["facts"]["dicom"] == {"t1": "4", "flair": "3"}
    written = {name.partition("_space-")[2] for name in record["outputs"]}
    assert {f"{space}_label-L_desc-threshold_seg.dcm" for space in spaces.values()} < written
    assert "DatasetLinks" not in json.loads((out / "dataset_description.json").read_text())  # the folder is called so
    assert any("t1 is series 4 (3D, 8.0 x 9.0 x 10.0 mm, 16 slices); flair is series 3" in line for line in told.lines)
    assert any("the folder's name tells the patient's name" in line for line in told.lines)


def test_nothing_but_the_seg_tells_who_it_is(found: tuple[Path, Told], capfd: pytest.CaptureFixture[str]) -> None:
    out, told = found
    assert contents(out) and leaks(out, told, str(capfd.readouterr())) == []
    (out / "leak.txt").write_text("born 19410731")  # what the test would say
    assert leaks(out, told) == ["19410731 in leak.txt"]
    (out / "leak.txt").unlink()


def test_resume_knows_the_study_again_and_converts_nothing(
    models: Path, study: Path, found: tuple[Path, Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = found
    asked: list[str] = []
    convert = opening.convert
    monkeypatch.setattr(opening, "convert", lambda one, *more: asked.append(one.label) or convert(one, *more))
    again = detect(models, study, out, dicom_seg=True, anomaly_map=True, resume=True)
    assert [case.status for case in again.cases] == ["skipped"] and asked == []
    copied, later = tmp_path / NAME, tmp_path / "out"
    shutil.copytree(study, copied)
    shutil.copytree(out, later)
    slice_ = next((copied / "S3").iterdir())
    slice_.write_bytes(slice_.read_bytes()[:-2] + b"\1\0")  # one pixel of the FLAIR
    with pytest.raises(UsageError, match="other inputs"):
        detect(models, copied, later, dicom_seg=True, anomaly_map=True, resume=True)


def test_preprocess_keeps_the_sequence_and_no_patient(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PreprocessConfig(
        already_stripped=True,
        skip=frozenset({"atlas", "n4", "coregister"}),
        space="native",
        keep_intermediates=True,
        device="cpu",
    )
    told = Told()
    (ready,) = api.preprocess(study, tmp_path, config, told)
    assert ready.folder.name == "sub-studyc47f5b18" and ready.case.images == {} and set(ready.images) == {"t1", "flair"}
    sidecar = json.loads(Path(str(ready.images[Contrast.FLAIR]).replace(".nii.gz", ".json")).read_text())
    assert sidecar["EchoTime"] == 0.115 and sidecar["InversionTime"] == 2.5
    assert len(contents(tmp_path)) > 8 and leaks(tmp_path, told) == []
    monkeypatch.setattr(opening, "convert", None)
    (again,) = api.preprocess(study, tmp_path, config.model_copy(update={"resume": True}), told)
    assert again.resumed and set(again.grids) == set(ready.grids)
    for contrast, grid in ready.grids.items():
        assert again.grids[contrast].shape == grid.shape and np.allclose(again.grids[contrast].affine, grid.affine)


def test_series_can_be_chosen(study: Path, tmp_path: Path) -> None:
    config = PreprocessConfig(
        already_stripped=True, skip=frozenset({"atlas", "n4", "coregister"}), space="native", device="cpu",
        series=["t2=3", "flair=none"],  # type: ignore[arg-type]
    )  # fmt: skip
    (ready,) = api.preprocess(study, tmp_path, config)
    assert set(ready.images) == {"t1", "t2"}


def test_what_a_study_needs_and_what_needs_a_study(models: Path, study: Path, tmp_path: Path) -> None:
    config = DetectConfig(model=str(models / "threshold"), device="cpu")
    with pytest.raises(InputError, match=r"is a study of DICOM, as it left the scanner.*\n.*Add --preprocess"):
        api.detect(study, tmp_path / "out", config)
    with pytest.raises(UsageError, match="--dicom-seg marks the series of a study"):
        api.detect(study, tmp_path / "out", config.model_copy(update={"dicom_seg": True}))
    with pytest.raises(UsageError, match="a DICOM SEG comes beside masks"):
        detect(models, study, tmp_path / "seg.dcm")
    with pytest.raises(UsageError, match="p01 is no study of DICOM"):
        detect(models, write_case(tmp_path / "p01"), tmp_path / "out", dicom_seg=True)
    with pytest.raises(InputError, match="is a study of DICOM"):
        api.train(study, tmp_path / "model")
