"""A mask -> a DICOM SEG on the images of its series, by highdicom.

Segmentation IOD: DICOM PS3.3, A.51 and C.8.20. highdicom: Bridge et al. 2022, J Digit Imaging 35:1719.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.errors import InputError
from braincli.imaging.dicom.convert import grid_of
from braincli.imaging.dicom.headers import read_header
from braincli.imaging.dicom.series import Series
from braincli.imaging.volume import Volume, view_onto
from braincli.runtime import files

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

SERIES_NUMBER = 9000  # and that of the series: beyond what a scanner gives
WITHIN = 2**31 - 1  # what Series Number may be


def refuse_series(series: Series, study: str) -> None:
    """Raise where no segmentation can refer to ``series``.

    Raises:
        InputError: its images have no frame of reference, or are some of the frames of one file.
    """
    if not series.images[0].reference_frame:
        raise InputError(
            f"{study}: series {series.label} has no Frame of Reference UID, and a DICOM SEG needs one.",
            "Do without --dicom-seg: the masks in NIfTI lie on the same grid.",
        )
    for path in {image.path for image in series.images if image.frame}:
        frames = int(read_header(path, ["NumberOfFrames"]).get("NumberOfFrames", 1))
        if frames != len(series.images):
            raise InputError(
                f"{study}: series {series.label} is a part of the frames of its file; a DICOM SEG needs all.",
                "Do without --dicom-seg: the masks in NIfTI lie on the same grid.",
            )


def write_segmentation(mask: Volume, series: Series, path: Path, *, model: str, weights: str, study: str = "") -> None:
    """Write ``mask`` as one binary segment, ``Lesion``, in the frame of reference of ``series``; empty ones, too.

    The patient and the study are those of the series, as DICOM demands: this file alone tells who it is.

    Args:
        mask: (X, Y, Z) bool, on the grid of the series in any order and direction of the axes.
        model, weights: what made it, and what identifies that.

    Raises:
        InputError: see :func:`refuse_series`; the mask lies on another grid, or the headers lack what a SEG needs.
    """
    refuse_series(series, study)
    voxels = view_onto(mask, grid_of(series)).data > 0  # columns, rows, slices
    with files.atomic_path(path) as temporary:
        _segmentation(voxels, series, model, weights, study).save_as(temporary)


def _segmentation(voxels: np.ndarray, series: Series, model: str, weights: str, study: str) -> Segmentation:
    import warnings

    import highdicom
    from pydicom import config

    paths = dict.fromkeys(image.path for image in series.images)
    frames = sorted(range(len(series.images)), key=lambda index: series.images[index].frame)
    order = frames if len(paths) == 1 else range(len(series.images))  # of a multi-frame file, that of its frames
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")  # of headers that are not quite as the standard wants
        try:
            return highdicom.seg.Segmentation(
                source_images=[read_header(path) for path in paths],
                pixel_array=np.ascontiguousarray(voxels.transpose(2, 1, 0)[list(order)]).astype(np.uint8),
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=[_segment(model)],
                series_instance_uid=highdicom.UID(),
                series_number=(SERIES_NUMBER + series.parameters.number) % WITHIN,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="braincli",
                manufacturer_model_name=model,
                software_versions=__version__,
                device_serial_number=weights[:16] or "none",
                series_description=f"Lesions by braincli {model}"[:64],
                content_description=RESEARCH_USE_ONLY[:64],
                content_label="LESIONS",
                omit_empty_frames=bool(voxels.any()),
            )
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{study}: the headers of series {series.label} lack what a DICOM SEG needs ({type(error).__name__}).",
                "Do without --dicom-seg: the masks in NIfTI lie on the same grid.",
            ) from error


def _segment(model: str) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        segment_number=1,
        segment_label="Lesion",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=f"braincli {model}", version=__version__, family=codes.DCM.ArtificialIntelligence, source="braincli",
        ),
        anatomic_regions=[codes.SCT.Brain],
    )  # fmt: skip


def read_segmentation(path: Path, series: Series) -> Volume:
    """The segment of a SEG as a mask (columns, rows, slices) on the grid of ``series``, by the places of its frames.

    Raises:
        InputError: it is no SEG, or a frame lies where the series has no slice.
    """
    import highdicom

    grid = grid_of(series)
    try:
        segmentation = highdicom.seg.segread(path)
        frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
        groups = segmentation.PerFrameFunctionalGroupsSequence
        places = [group.PlanePositionSequence[0].ImagePositionPatient for group in groups]
    except Exception as error:
        raise InputError(f"{path.name} is no DICOM SEG that can be read ({type(error).__name__}).") from None
    mask = np.zeros(grid.shape, dtype=bool)
    to_voxel = np.linalg.inv(grid.affine)
    for frame, place in zip(frames, places, strict=True):
        voxel = to_voxel @ [-float(place[0]), -float(place[1]), float(place[2]), 1]
        index = int(np.rint(voxel[2]))
        if np.abs(voxel[:3] - [0, 0, index]).max() > 0.05 or not 0 <= index < grid.shape[2]:
            raise InputError(f"{path.name}: a frame lies where series {series.label} has no slice.")
        mask[:, :, index] |= frame.T > 0
    return grid.with_data(mask)
