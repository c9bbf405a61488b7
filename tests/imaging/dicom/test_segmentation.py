"""A DICOM SEG, read back by the places of its frames: voxel by voxel the mask that went in, on any grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom")

from dicoms import OBLIQUE, SECRETS, rewrite, write_enhanced, write_series
from phantoms import affine, brain, lesion
from pydicom import dcmread

from braincli.errors import InputError
from braincli.imaging.dicom.headers import read_images
from braincli.imaging.dicom.segmentation import read_segmentation, write_segmentation
from braincli.imaging.dicom.series import Series, series_of
from braincli.imaging.volume import Volume, reorient, view_onto

SHAPE = (20, 22, 16)
GRIDS = {
    "oblique": OBLIQUE,
    "sagittal": affine("PIL", (8.0, 9.0, 10.0), origin=(-60.0, 90.0, 80.0), degrees=(-7.0, 5.0)),
    "coronal, slices to the back": affine("RIP", (8.0, 9.0, 10.0)),
    "slices downwards": affine("LPI", (9.0, 9.0, 8.0), degrees=(3.0, 0.0)),
}


def series_in(folder: Path) -> Series:
    (series,) = series_of(read_images(sorted(folder.iterdir()))[0])
    return series


@pytest.mark.parametrize("grid", GRIDS)
def test_the_mask_comes_back_voxel_by_voxel(tmp_path: Path, grid: str) -> None:
    paths = write_series(tmp_path / "p", np.round(brain(SHAPE) * 10), GRIDS[grid], number=4)
    series = series_in(tmp_path / "p")
    mask = reorient(Volume(lesion(SHAPE) > 0, GRIDS[grid]), "RAS")  # as a NIfTI file may lie
    write_segmentation(mask, series, tmp_path / "seg.dcm", model="tsgm", weights="0" * 64)
    again = view_onto(read_segmentation(tmp_path / "seg.dcm", series), mask)
    assert mask.data.any() and np.array_equal(again.data, mask.data)
    # and as a viewer reads it, by the image that each frame refers to
    frames = dcmread(tmp_path / "seg.dcm")
    pixels = dict(zip(referred(frames), frames.pixel_array.reshape(-1, SHAPE[1], SHAPE[0]), strict=True))
    for index, path in enumerate(paths):
        expected = (lesion(SHAPE)[:, :, index] > 0).T
        found = pixels.get(dcmread(path).SOPInstanceUID, np.zeros_like(expected))
        assert np.array_equal(found > 0, expected)


def referred(segmentation: object) -> list[str]:
    groups = segmentation.PerFrameFunctionalGroupsSequence  # type: ignore[attr-defined]
    return [group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID for group in groups]


def test_a_mask_on_a_multi_frame_file(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "p" / "one.dcm", brain(SHAPE) * 10, GRIDS["slices downwards"])
    series = series_in(tmp_path / "p")
    mask = Volume(lesion(SHAPE) > 0, GRIDS["slices downwards"])
    write_segmentation(mask, series, tmp_path / "seg.dcm", model="tsgm", weights="")
    again = view_onto(read_segmentation(tmp_path / "seg.dcm", series), mask)
    assert np.array_equal(again.data, mask.data)


def test_it_says_what_it_is_and_whose(tmp_path: Path) -> None:
    (source, *_) = write_series(tmp_path / "p", brain(SHAPE), OBLIQUE, number=4)
    series = series_in(tmp_path / "p")
    mask = Volume(lesion(SHAPE) > 0, OBLIQUE)
    write_segmentation(mask, series, tmp_path / "seg.dcm", model="tsgm", weights="ab" * 32)
    seg, image = dcmread(tmp_path / "seg.dcm"), dcmread(source)
    for tag in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber"):
        assert seg[tag].value == image[tag].value
    assert seg.PatientID == SECRETS["PatientID"] and seg.SeriesInstanceUID != image.SeriesInstanceUID
    assert (seg.Modality, seg.SegmentationType, seg.SeriesNumber) == ("SEG", "BINARY", 9004)
    assert seg.SeriesDescription == "Lesions by braincli tsgm" and "Research use only" in seg.ContentDescription
    (segment,) = seg.SegmentSequence
    codes = [
        (part[0].CodeValue, part[0].CodingSchemeDesignator, part[0].CodeMeaning)
        for part in (
            segment.SegmentedPropertyCategoryCodeSequence, segment.SegmentedPropertyTypeCodeSequence,
            segment.AnatomicRegionSequence,
        )
    ]  # fmt: skip
    assert codes == [
        ("49755003", "SCT", "Morphologically Abnormal Structure"), ("52988006", "SCT", "Lesion"),
        ("12738006", "SCT", "Brain"),
    ]  # fmt: skip
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "braincli tsgm"
    assert seg.DeviceSerialNumber == "ab" * 8


def test_an_empty_mask_is_a_segmentation_without_voxels(tmp_path: Path) -> None:
    write_series(tmp_path / "p", brain(SHAPE), OBLIQUE)
    series = series_in(tmp_path / "p")
    write_segmentation(Volume(np.zeros(SHAPE, bool), OBLIQUE), series, tmp_path / "seg.dcm", model="tsgm", weights="")
    assert not read_segmentation(tmp_path / "seg.dcm", series).data.any()


def test_what_cannot_be_written_or_read(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "p", brain(SHAPE), OBLIQUE)
    series = series_in(tmp_path / "p")
    elsewhere = Volume(lesion(SHAPE) > 0, affine("LPS", (9.0, 9.0, 9.0)))
    with pytest.raises(InputError, match="corners lie"):
        write_segmentation(elsewhere, series, tmp_path / "seg.dcm", model="m", weights="")
    with pytest.raises(InputError, match=r"IM0010000 is no DICOM SEG that can be read"):
        read_segmentation(paths[0], series)
    for path in paths:
        rewrite(path, FrameOfReferenceUID=None)
    with pytest.raises(InputError, match="p: series 1 has no Frame of Reference UID"):
        write_segmentation(
            Volume(lesion(SHAPE) > 0, OBLIQUE), series_in(tmp_path / "p"), tmp_path / "seg.dcm", model="m", weights="",
            study="p",
        )  # fmt: skip
    assert not (tmp_path / "seg.dcm").exists()
