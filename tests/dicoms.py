"""Studies of DICOM for tests, made from arrays: any contrast, grid and series, of a patient to keep secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from phantoms import affine
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

SECRETS: dict[str, str] = {  # of the patient, the staff, the site and the day: nothing but a SEG may hold one
    "PatientName": "Zyxwvuts^Quirinalia", "PatientID": "PID8675309", "PatientBirthDate": "19410731",
    "PatientAddress": "Geheimweg 17", "OtherPatientIDs": "MRN4711774", "AccessionNumber": "ACC5550123",
    "InstitutionName": "Hospitalia Ignotissima", "InstitutionAddress": "Nirgendwostrasse 4",
    "ReferringPhysicianName": "Umbridgeworth^D", "OperatorsName": "Filchington^A", "StationName": "MRCSECRET9",
    "DeviceSerialNumber": "SN99887766", "StudyID": "STU771239", "StudyDate": "20170923", "SeriesDate": "20170923",
    "AcquisitionDate": "20170923", "ContentDate": "20170923", "StudyTime": "142857.123",
    "AcquisitionTime": "143344.987500", "StudyDescription": "Zyxwvuts Verlaufskontrolle",
    "ImageComments": "Quirinalia wackelte", "PatientComments": "secretcomment",
    "RequestedProcedureDescription": "secretproc",
}  # fmt: skip
SEQUENCES: dict[str, dict[str, Any]] = {
    "t1": {"SeriesDescription": "T1_SE_tra", "ScanningSequence": "SE", "RepetitionTime": 550, "EchoTime": 12},
    "t1ce": {
        "SeriesDescription": "T1_SE_tra_KM", "ScanningSequence": "SE", "RepetitionTime": 550, "EchoTime": 12,
        "ContrastBolusAgent": "Gadovist 7.5 ml",
    },
    "t2": {"SeriesDescription": "T2_TSE_tra", "ScanningSequence": "SE", "RepetitionTime": 4200, "EchoTime": 98},
    "flair": {
        "SeriesDescription": "tirm_dark-fluid", "ScanningSequence": ["SE", "IR"], "RepetitionTime": 9000,
        "EchoTime": 115, "InversionTime": 2500,
    },
    "mprage": {
        "SeriesDescription": "t1_mprage_sag", "ScanningSequence": ["GR", "IR"], "RepetitionTime": 2300, "EchoTime": 3,
        "InversionTime": 900, "FlipAngle": 9, "MRAcquisitionType": "3D",
    },
    "dwi": {
        "SeriesDescription": "ep2d_diff_tra", "ScanningSequence": "EP", "RepetitionTime": 5000, "EchoTime": 80,
        "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"],
    },
}  # fmt: skip
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
OBLIQUE = affine("LPS", (9.0, 9.0, 9.0), origin=(71.0, 80.0, -60.0), degrees=(9.0, 14.0))


def dataset(data: np.ndarray, sequence: Mapping[str, Any], uids: tuple[str, str, str], index: int) -> Dataset:
    """One image without its place, ``data`` (columns, rows)."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = MRImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = uids
    for name, value in SECRETS.items():
        setattr(image, name, value)
    image.Modality, image.Manufacturer, image.PatientSex = "MR", "SIEMENS", "O"
    image.PatientPosition, image.PositionReferenceIndicator, image.Laterality = "HFS", "", ""
    image.ImageType, image.MRAcquisitionType, image.SequenceVariant = ["ORIGINAL", "PRIMARY", "M"], "2D", "SK"
    image.InstanceNumber, image.BodyPartExamined, image.MagneticFieldStrength = index + 1, "BRAIN", 3
    for name, value in sequence.items():
        setattr(image, name, value)
    image.Columns, image.Rows = data.shape
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelData = np.ascontiguousarray(data.T).astype("<u2").tobytes()
    return image


def write_series(
    folder: Path,
    data: np.ndarray,
    matrix: np.ndarray,
    sequence: str | Mapping[str, Any] = "flair",
    *,
    number: int = 1,
    study: str = "",
    frame: str = "",
    **more: Any,
) -> list[Path]:
    """Write ``data`` (X, Y, Z), whose axes become columns, rows and slices, on the grid ``matrix`` (voxel -> RAS mm).

    Args:
        sequence: one of SEQUENCES, or elements by keyword. more: elements besides.
        study: the folder's name makes the study's UID by default. frame: UID of the frame of reference.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study = study or generate_uid(entropy_srcs=[str(folder)])
    uids = study, generate_uid(), frame or generate_uid(entropy_srcs=[study])
    told = {**(SEQUENCES[sequence] if isinstance(sequence, str) else sequence), "SeriesNumber": number, **more}
    lps = RAS_TO_LPS @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    paths = []
    for index in range(data.shape[2]):
        image = dataset(data[:, :, index], told, uids, index)
        image.PixelSpacing = [f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"]
        image.SliceThickness = image.SpacingBetweenSlices = f"{spacing[2]:.8g}"
        image.ImageOrientationPatient = [f"{part:.10f}" for axis in (0, 1) for part in lps[:3, axis] / spacing[axis]]
        image.ImagePositionPatient = [f"{part:.9g}" for part in lps[:3] @ [0, 0, index, 1]]
        paths.append(folder / f"IM{number:03d}{index:04d}")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def rewrite(path: Path, **elements: Any) -> None:
    """Set elements of one file; None removes one."""
    from pydicom import dcmread

    image = dcmread(path)
    for name, value in elements.items():
        if value is None:
            delattr(image, name)
        else:
            setattr(image, name, value)
    image.save_as(path)


def set_syntax(path: Path, syntax: str) -> None:
    """Say that the pixels of one file are stored otherwise than they are."""
    from pydicom import dcmread
    from pydicom.encaps import encapsulate

    image = dcmread(path)
    image.PixelData = encapsulate([image.PixelData])
    image["PixelData"].VR = "OB"
    image.file_meta.TransferSyntaxUID = UID(syntax)
    image.save_as(path, enforce_file_format=True)


def write_enhanced(path: Path, data: np.ndarray, matrix: np.ndarray, sequence: str = "flair", **more: Any) -> Path:
    """The same as one multi-frame file (Enhanced MR Image Storage), its times in functional groups."""
    told = dict(SEQUENCES[sequence])
    times = {name: told.pop(name) for name in ("RepetitionTime", "EchoTime", "InversionTime") if name in told}
    told.pop("ScanningSequence")
    study = generate_uid(entropy_srcs=[str(path)])
    image = dataset(data[:, :, 0], {**told, "SeriesNumber": 1, **more}, (study, generate_uid(), generate_uid()), 0)
    for name in ("ScanningSequence", "SequenceVariant"):
        image.pop(name, None)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = EnhancedMRImageStorage
    image.NumberOfFrames, image.EchoPulseSequence = data.shape[2], "SPIN"
    image.PixelData = np.ascontiguousarray(data.transpose(2, 1, 0)).astype("<u2").tobytes()
    lps = RAS_TO_LPS @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    shared = group(
        PixelMeasuresSequence=group(
            PixelSpacing=[f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"], SliceThickness=f"{spacing[2]:.8g}",
            SpacingBetweenSlices=f"{spacing[2]:.8g}",
        ),
        PlaneOrientationSequence=group(
            ImageOrientationPatient=[f"{part:.10f}" for axis in (0, 1) for part in lps[:3, axis] / spacing[axis]]
        ),
        MRTimingAndRelatedParametersSequence=group(RepetitionTime=times["RepetitionTime"], FlipAngle=90),
        MREchoSequence=group(EffectiveEchoTime=times["EchoTime"]),
        MRModifierSequence=group(InversionRecovery="YES", InversionTimes=[times.get("InversionTime", 0)]),
    )  # fmt: skip
    image.SharedFunctionalGroupsSequence = [shared]
    dimension = group(DimensionIndexPointer=0x00209057, FunctionalGroupPointer=0x00209111)
    image.DimensionIndexSequence = [dimension]
    image.PerFrameFunctionalGroupsSequence = [
        group(
            FrameContentSequence=group(
                StackID="1", InStackPositionNumber=index + 1, DimensionIndexValues=[index + 1], TemporalPositionIndex=1
            ),
            PlanePositionSequence=group(ImagePositionPatient=[f"{part:.9g}" for part in lps[:3] @ [0, 0, index, 1]]),
        )
        for index in range(data.shape[2])
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path


def group(**elements: Any) -> Dataset:
    """Elements by keyword; one that is itself such a group is a sequence of one."""
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, [value] if isinstance(value, Dataset) else value)
    return made
