"""Studies on disk: found, opened, converted onto the grid that was written; and everything that can be wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("dcm2niix")

from dicoms import OBLIQUE, SECRETS, rewrite, set_syntax, write_enhanced, write_series
from phantoms import affine, brain, touch, write
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless, RLELossless

from braincli import api
from braincli.errors import InputError
from braincli.imaging.case import Case, remarks
from braincli.imaging.cases import find_cases, gather_cases
from braincli.imaging.checks import Level
from braincli.imaging.contrast import Contrast
from braincli.imaging.dicom import study as studies
from braincli.imaging.dicom.opening import converted, opened, read_series
from braincli.imaging.given import Scratch, given_cases
from braincli.imaging.volume import Volume, load, view_onto
from braincli.runtime.progress import Reporter

SHAPE = (20, 22, 16)


def scan(seed: int = 0) -> np.ndarray:
    return np.round(brain(SHAPE, seed) * 10)


def the_case(folder: Path) -> Case:
    (case,) = find_cases(folder, dicom=True)
    return case


class Said(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")


def error_of(folder: Path, **wanted: str) -> InputError:
    series = {Contrast(contrast): label for contrast, label in wanted.items()}
    with pytest.raises(InputError) as error, opened(the_case(folder), series) as ready:
        converted(ready)
    assert not any(secret in str(error.value) for secret in SECRETS.values())
    return error.value


def test_a_study_becomes_scans_on_the_grids_that_were_written(tmp_path: Path) -> None:
    folder = tmp_path / "case7"
    sagittal = affine("PIL", (8.0, 9.0, 10.0), origin=(-60.0, 90.0, 80.0), degrees=(-7.0, 5.0))
    written = {"flair": (scan(1), OBLIQUE), "t1": (scan(2), sagittal), "t1ce": (scan(3), OBLIQUE)}
    sequences = {"flair": "flair", "t1": "mprage", "t1ce": "t1ce"}
    for number, (contrast, (data, matrix)) in enumerate(written.items(), 2):
        write_series(folder / f"SE{number}", data, matrix, sequences[contrast], number=number, study="1.2.3")
    write_series(folder / "SE1", scan()[:, :, :3], OBLIQUE, "t2", number=1, study="1.2.3")
    write_series(folder / "SE9", scan(), OBLIQUE, "dwi", number=9, study="1.2.3")
    (folder / "notes.txt").write_text("no image")
    case, said = the_case(folder), Said()
    assert case.id == "case7" and not case.images
    with opened(case, reporter=said) as ready:
        converted(ready)
        assert list(ready.images) == ["t1", "t1ce", "flair"] and ready.study is not None
        for contrast, (data, matrix) in written.items():
            path = ready.images[Contrast(contrast)]
            assert np.array_equal(view_onto(load(path), Volume(data, matrix)).data, data)  # the same place, too
            assert path.with_suffix(".json").is_file()
        assert ready.study.labels == {"flair": "2", "t1": "3", "t1ce": "4"}
        work = ready.images[Contrast.T1].parent
    assert not work.exists()
    (line,) = said.lines
    assert "t1 is series 3 (3D, 8.0 x 9.0 x 10.0 mm, 16 slices)" in line
    assert "Left out: 1 (a localiser or single images: 3 of one orientation); 9 (diffusion)" in line


def test_a_multi_frame_file_is_a_series(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "p" / "one.dcm", scan(), OBLIQUE)
    case = the_case(tmp_path / "p")
    with opened(case) as ready:
        converted(ready)
        assert list(ready.images) == ["flair"]
        assert np.array_equal(view_onto(load(ready.images[Contrast.FLAIR]), Volume(scan(), OBLIQUE)).data, scan())
    path = tmp_path / "p" / "one.dcm"
    path.write_bytes(path.read_bytes()[:-500])
    assert error_of(tmp_path / "p").message == "p: series 1 (flair): its file is cut off."


def test_slices_in_any_order_and_twice_are_one_scan(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "p", scan(), OBLIQUE)
    for number, path in enumerate(sorted(paths, key=lambda path: path.name[::-1])):
        path.rename(path.with_name(f"1.2.840.{number}"))
    (tmp_path / "p" / "copy.dcm").write_bytes((tmp_path / "p" / "1.2.840.3").read_bytes())
    with opened(the_case(tmp_path / "p")) as ready:
        converted(ready)
        assert nib.load(ready.images[Contrast.FLAIR]).shape == SHAPE


def test_a_cohort_of_studies_in_any_tree_beside_cases_of_nifti(tmp_path: Path) -> None:
    for name in ("a/DICOM/S1", "a/DICOM/S2", "b"):
        write_series(tmp_path / name, scan(), OBLIQUE, study="1.2.1" if name[0] == "a" else "1.2.2")
    write(tmp_path / "c" / "c_flair.nii.gz")
    write_series(tmp_path / "c" / "dicom", scan(), OBLIQUE, study="1.2.3")  # the same case, converted already
    write_series(tmp_path / "sourcedata" / "d", scan(), OBLIQUE, study="1.2.4")
    cases = find_cases(tmp_path, dicom=True)
    assert [(case.id, case.study is not None) for case in cases] == [("a", True), ("b", True), ("c", False)]
    assert cases[0].study is not None and len(cases[0].study.folders) == 2
    refused = {case.id: case.problem for case in gather_cases([tmp_path])}
    assert "study of DICOM" in str(refused["a"]) and "braincli preprocess" in str(refused["a"])
    assert refused["c"] is None


def test_own_outputs_inside_a_study_are_no_case(tmp_path: Path) -> None:
    folder = tmp_path / "case7"
    write_series(folder / "S1", scan(), OBLIQUE, study="1.2.3")
    write_series(folder / "out", scan(), OBLIQUE, study="1.2.3", Modality="SEG")
    touch(folder, "prepared/sub-case7/sub-case7_space-SRI24_desc-preproc_FLAIR.nii.gz")
    (case,) = find_cases(folder, dicom=True)
    assert case.id == "case7" and case.study is not None and case.study.folders == (folder / "S1",)


def test_a_study_in_a_zip_is_one_in_a_folder(tmp_path: Path) -> None:
    for number, name in enumerate(("flair", "mprage"), 1):
        write_series(
            tmp_path / "export" / "ST0" / f"SE{number}", scan(number), OBLIQUE, name, number=number, study="1.2.3"
        )
    shutil.make_archive(str(tmp_path / "case7"), "zip", tmp_path / "export")
    (report,) = api.check(tmp_path / "case7.zip").cases
    assert report.id == "case7" and "flair is series 1" in report.problems[0].message
    with Scratch() as scratch, opened(given_cases(tmp_path / "case7.zip", scratch, dicom=True)[0]) as ready:
        assert set(converted(ready).images) == {"t1", "flair"}
        data = view_onto(load(ready.images[Contrast.FLAIR]), Volume(scan(1), OBLIQUE)).data
        assert np.array_equal(data, scan(1))


def test_check_says_what_a_study_shows(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "p", scan(), OBLIQUE, number=4)
    (case,) = api.check(tmp_path / "p").cases
    assert case.id == "p" and [problem.code for problem in case.problems] == ["dicom"]
    assert "flair is series 4" in case.problems[0].message and case.problems[0].level is Level.NOTE
    paths[3].unlink()
    (problem,) = api.check(tmp_path / "p").errors
    assert "1 of 16 slices are missing" in problem.message and "--series flair=none" in problem.hint


@pytest.mark.parametrize(
    "name", ["Zyxwvuts_Quirinalia", "pid-8675309", "2017-09-23", "x_MRN4711774", "quirinalia 1941"]
)
def test_a_folder_named_after_the_patient_names_no_output(tmp_path: Path, name: str) -> None:
    write_series(tmp_path / name, scan(), OBLIQUE, study="1.2.3")
    case = the_case(tmp_path / name)
    assert case.id == "study-c47f5b18"  # of the study, the same each time
    (remark,) = remarks([case])
    assert "study-c47f5b18" in remark and name not in remark


def test_pseudonyms_of_a_study_without_identity_stay(tmp_path: Path) -> None:
    write_series(tmp_path / "PID8675309", scan(), OBLIQUE, PatientIdentityRemoved="YES")
    case = the_case(tmp_path / "PID8675309")
    assert case.id == "PID8675309" and remarks([case]) == []


# what can be wrong


def test_missing_slices(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "p", scan(), OBLIQUE)
    for path in paths[5:7]:
        path.unlink()
    error = error_of(tmp_path / "p")
    assert error.message == "p: series 1 (flair): 2 of 16 slices are missing."


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "p", scan(), OBLIQUE)
    paths[4].write_bytes(paths[4].read_bytes()[:-100])
    assert error_of(tmp_path / "p").message == "p: series 1 (flair): 1 of 16 files are cut off."


def test_headers_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "p", scan(), OBLIQUE)
    paths[4].write_bytes(paths[4].read_bytes()[:700])
    case, said = the_case(tmp_path / "p"), Said()
    assert case.study is not None
    (series,) = read_series(case, case.study, said)
    assert series.flaw == "1 of 16 slices are missing"
    assert said.lines == ["warning: p: the headers of 1 of 16 files cannot be read (no. 5)."]
    for path in paths:
        path.write_bytes(path.read_bytes()[:700])
    assert error_of(tmp_path / "p").message == "p: none of its 16 files can be read."


def test_echoes_of_one_series_are_scans_of_their_own(tmp_path: Path) -> None:
    for name, echo in (("e2", 98), ("e1", 12)):
        for path in write_series(
            tmp_path / name, scan(echo), OBLIQUE, "t2", number=4, EchoTime=echo, study="1.2.3", frame="1.2.4",
            SeriesInstanceUID="1.2.5",
        ):  # fmt: skip
            (tmp_path / "p").mkdir(exist_ok=True)
            path.rename(tmp_path / "p" / f"{name}_{path.name}.dcm")
    said = Said()
    with opened(the_case(tmp_path / "p"), reporter=said) as ready:
        converted(ready)
        assert ready.images[Contrast.T2].name == "series4b_t2.nii"
        assert load(ready.images[Contrast.T2]).data.sum() == scan(98).sum()
    assert "4a (proton density weighting)" in said.lines[0]


def test_a_series_over_time_is_no_scan(tmp_path: Path) -> None:
    write_series(tmp_path / "p", scan(), OBLIQUE, study="1.2.3", SeriesInstanceUID="1.2.5")
    for path in write_series(tmp_path / "q", scan(), OBLIQUE, study="1.2.3", SeriesInstanceUID="1.2.5"):
        path.rename(tmp_path / "p" / f"later_{path.name}.dcm")
    error = error_of(tmp_path / "p")
    assert "no scan of a brain among its 1 series" in error.message and "several images at one place" in error.message


def test_no_mr_no_brain_no_place(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", scan(), OBLIQUE, Modality="CT")
    assert "1 (no MR (CT))" in error_of(tmp_path / "ct").message
    write_series(tmp_path / "knee", scan(), OBLIQUE, BodyPartExamined="KNEE")
    assert "another part of the body (knee)" in error_of(tmp_path / "knee").message
    for path in write_series(tmp_path / "shot", scan(), OBLIQUE):
        rewrite(path, ImagePositionPatient=None)
    assert "without a place in the patient" in error_of(tmp_path / "shot").message
    write_series(tmp_path / "slab", scan(), affine("LPS", (9.0, 9.0, 2.0)))
    assert "shows 32 mm of the head only" in error_of(tmp_path / "slab").message


def test_uneven_and_shifted_slices(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "p", scan(), affine("LPS", (9.0, 9.0, 9.0)))
    step = np.array([0.0, 0.0, 9.0])
    rewrite(paths[-1], ImagePositionPatient=[*(np.array([7.0, -11.0, 3.0]) + 15.4 * step)])
    assert "slices are 9.00 to 12.60 mm apart" in error_of(tmp_path / "p").message
    rewrite(paths[-1], ImagePositionPatient=[*(np.array([11.0, -11.0, 3.0]) + 15 * step)])
    assert "do not lie above each other" in error_of(tmp_path / "p").message


def test_several_patients_or_studies_in_one_folder(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "p", scan(), OBLIQUE)
    rewrite(paths[3], PatientID="another")
    assert "several patients lie in one folder" in error_of(tmp_path / "p").message
    rewrite(paths[3], PatientID=SECRETS["PatientID"], StudyInstanceUID="1.2.9")
    assert "several studies lie in one folder" in error_of(tmp_path / "p").message


def test_a_syntax_that_dcm2niix_cannot_read_is_named(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "p", scan(), OBLIQUE):
        set_syntax(path, "1.2.840.10008.1.2.4.102")
    error = error_of(tmp_path / "p")
    assert "compressed as MPEG-4 AVC/H.264 High Profile" in error.message and "gdcmconv" in error.hint


def test_compressed_studies_are_read_and_missing_ends_are_seen(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "p", scan(), OBLIQUE)
    for path in paths:
        image = dcmread(path)
        image.compress(RLELossless)
        image.save_as(path)
    with opened(the_case(tmp_path / "p")) as ready:
        converted(ready)
        assert np.array_equal(view_onto(load(ready.images[Contrast.FLAIR]), Volume(scan(), OBLIQUE)).data, scan())
    paths[4].write_bytes(paths[4].read_bytes()[:-60])
    assert error_of(tmp_path / "p").message == "p: series 1 (flair): 1 of 16 files are cut off."


def test_damaged_pixels_in_a_compressed_study(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "p", scan(), OBLIQUE):
        set_syntax(path, JPEGLSLossless)
    assert "series 1" in error_of(tmp_path / "p").message


def test_an_index_stands_for_its_folder(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    index = tmp_path / "p" / "DICOMDIR"
    index.write_bytes(bytes(128) + b"DICM" + bytes(40))
    with pytest.raises(InputError, match="DICOMDIR is an index, and the images that it lists are not beside it"):
        find_cases(index, dicom=True)
    with pytest.raises(InputError, match="scan, and no DICOM"):
        find_cases(tmp_path / "p", dicom=True)
    paths = write_series(tmp_path / "p" / "IMAGES", scan(), OBLIQUE)
    assert find_cases(index, dicom=True)[0].id == "p"
    with pytest.raises(InputError, match="is one file of DICOM"):
        find_cases(paths[0], dicom=True)


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "p", scan(), OBLIQUE)
    monkeypatch.setattr(studies, "PACKAGES", ("pydicom", "no_such_package"))
    with pytest.raises(InputError, match="DICOM needs no_such_package") as error:
        find_cases(tmp_path / "p", dicom=True)
    assert 'pip install "braincli[dicom]"' in error.value.hint
