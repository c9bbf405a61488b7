"""The headers of DICOM files -> the images that they hold, one per slice, classic or multi-frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braincli.errors import InputError
from braincli.imaging.names import legible
from braincli.imaging.words import words_of

if TYPE_CHECKING:
    from pydicom import Dataset

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")  # of multi-frame files
TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID",
    "Modality", "SeriesNumber", "InstanceNumber", "SeriesDescription", "ProtocolName", "SequenceName",
    "PulseSequenceName", "ImageType", "BodyPartExamined", "ContrastBolusAgent", "ContrastBolusAgentSequence",
    "ScanningSequence", "SequenceVariant", "MRAcquisitionType", "EchoPulseSequence", "RepetitionTime", "EchoTime",
    "InversionTime", "FlipAngle", "DiffusionBValue", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "ImagesInAcquisition", *GROUPS,
]  # fmt: skip
FRAGMENT, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"  # of compressed pixels
NO_AGENT = ("", "NO", "NONE", "N", "NOT", "OHNE", "NATIVE", "NATIV", "0")
BODY = ("HEAD", "BRAIN", "SKULL", "NEURO", "KOPF", "SCHAEDEL", "SCHÄDEL", "CRANE", "CEREBRAL", "CRANIUM")


@dataclass(frozen=True)
class Parameters:
    """How a series was measured; times in milliseconds, None where the header does not say.

    Attributes:
        sequence: of SE, IR, GR, EP, RM. variant: SK, SS, SP, MP ...
        words: of its description, else of the protocol, as :func:`braincli.imaging.words.words_of` gives them.
        agent: a contrast agent is named.
        body: the part of the body that is named, empty where that is the head or nothing.
    """

    modality: str
    number: int
    kind: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    sequence: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()
    acquisition: str = ""
    repetition_ms: float | None = None
    echo_ms: float | None = None
    inversion_ms: float | None = None
    flip: float | None = None
    b_value: float | None = None
    agent: bool = False
    body: str = ""


@dataclass(frozen=True)
class Image:
    """One slice.

    Attributes:
        frame: in its file, from 0.
        position, orientation: of its first pixel and of rows and columns, LPS mm; None where the header does not say.
        spacing: mm between rows and between columns.
        short: bytes that the file lacks, where they can be counted; else 1.
    """

    path: Path
    frame: int
    uid: str
    series_uid: str
    study_uid: str
    patient: str
    reference_frame: str
    syntax: str
    instance: int
    rows: int
    columns: int
    colour: bool
    parameters: Parameters
    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    short: int


def read_images(paths: Iterable[Path]) -> tuple[list[Image], list[Path]]:
    """The images in DICOM files, and the files that are damaged in their header."""
    images: list[Image] = []
    damaged: list[Path] = []
    for path in paths:
        try:
            images += _images_in(path)
        except InputError:
            damaged.append(path)
    return images, damaged


def read_header(path: Path, tags: list[str] | None = None) -> Dataset:
    """The header of a file, without pixels; all of it, or some tags.

    Raises:
        InputError: it cannot be read.
    """
    return _read(path, tags)[0]


def is_cut(header: Dataset) -> bool:
    """Whether a header ends before it tells the size of its image."""
    from pydicom.uid import UID

    return "Rows" not in header and UID(header.get("SOPClassUID", "")).name.endswith("Image Storage")


def _read(path: Path, tags: list[str] | None) -> tuple[Dataset, int]:
    """The header, and how many bytes of the file come after it."""
    import warnings

    from pydicom import config, dcmread

    try:
        with path.open("rb") as handle, warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            header = dcmread(handle, stop_before_pixels=True, specific_tags=tags)  # type: ignore[arg-type]
            return header, os.fstat(handle.fileno()).st_size - handle.tell()
    except Exception as error:  # whatever a damaged file makes of the parser
        name = legible(path.name)
        raise InputError(
            f"{name}: its DICOM header cannot be read ({type(error).__name__}).", "Copy it again."
        ) from None


def _images_in(path: Path) -> Iterator[Image]:
    from pydicom.uid import UID

    header, rest = _read(path, TAGS)
    if "SOPInstanceUID" not in header or "SeriesInstanceUID" not in header:
        if header.get("SOPClassUID") is None and "MediaStorageSOPClassUID" in header.file_meta:
            return  # a DICOMDIR, or another index
        raise InputError(f"{legible(path.name)} lacks its identity.", "Copy it again.")
    if is_cut(header):
        raise InputError(f"{legible(path.name)} ends in its header.", "Copy it again.")
    if "Rows" not in header:
        return  # a report, a presentation state ...: no image
    frames = int(header.get("NumberOfFrames") or 1)
    syntax = UID(header.file_meta.get("TransferSyntaxUID", ""))
    if syntax.is_transfer_syntax and (syntax.is_encapsulated or syntax.is_deflated):
        short = int(syntax.is_encapsulated and _is_open(path, rest))
    else:
        short = max(0, _size(header, frames) - rest)
    for frame in range(frames):
        places = [header, *(_group(header, name, frame, frames) for name in GROUPS)]
        yield Image(
            path, frame, str(header.SOPInstanceUID), str(header.SeriesInstanceUID),
            str(header.get("StudyInstanceUID", "")), str(header.get("PatientID", "")),
            str(header.get("FrameOfReferenceUID", "")), str(header.file_meta.get("TransferSyntaxUID", "")),
            _whole(_find(places, "InstanceNumber")), int(header.Rows), int(header.Columns),
            int(header.get("SamplesPerPixel", 1)) > 1, _parameters(header, places),
            _numbers(_find(places, "ImagePositionPatient"), 3),  # type: ignore[arg-type]
            _numbers(_find(places, "ImageOrientationPatient"), 6),
            _numbers(_find(places, "PixelSpacing"), 2), short,  # type: ignore[arg-type]
        )  # fmt: skip


def _parameters(header: Dataset, places: list[Any]) -> Parameters:
    # the protocol may be that of the whole examination, "with and without contrast"
    told = str(header.get("SeriesDescription", "")).strip() or str(header.get("ProtocolName", ""))
    echo_pulse = str(_find(places, "EchoPulseSequence") or "").upper()
    pulses = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("GR", "SE")}.get(echo_pulse, ())
    body = str(header.get("BodyPartExamined", "")).upper()
    agent = str(header.get("ContrastBolusAgent", "")).strip().upper()
    acquisition = _find(places, "MRAcquisitionType")
    first = [_number(_find(places, tag)) for tag in ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle")]
    return Parameters(
        str(header.get("Modality", "")), _whole(header.get("SeriesNumber")), _texts(_find(places, "ImageType")),
        tuple(words_of(told.replace("_", " "))), _texts(_find(places, "ScanningSequence")) or pulses,
        _texts(_find(places, "SequenceVariant")), acquisition if acquisition in ("1D", "2D", "3D") else "",
        first[0], first[1] if first[1] is not None else _number(_find(places, "EffectiveEchoTime")),
        (first[2] if first[2] is not None else _number(_find(places, "InversionTimes"))) or None, first[3],
        _number(_find(places, "DiffusionBValue")),
        agent not in NO_AGENT or bool(header.get("ContrastBolusAgentSequence")),
        "" if any(part in body for part in BODY) else body.strip(),
    )  # fmt: skip


def _group(header: Dataset, name: str, frame: int, frames: int) -> Any:
    groups = header.get(name)
    if not groups:
        return None
    return groups[frame if len(groups) == frames else 0]


def _find(places: Iterable[Any], tag: str) -> Any:
    """The value of ``tag`` in the first place that has it, at any depth of its sequences."""
    for place in places:
        if place is None:
            continue
        if tag in place:
            return place[tag].value
        if place is not places[0]:  # type: ignore[index]
            for element in place:
                if element.VR == "SQ" and element.value and (found := _find([None, element.value[0]], tag)) is not None:
                    return found
    return None


def _size(header: Dataset, frames: int) -> int:
    """Bytes of the pixels, where they are not compressed."""
    bits = int(header.get("BitsAllocated", 16))
    return int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel", 1)) * frames * bits // 8


def _is_open(path: Path, rest: int) -> bool:
    """Whether compressed pixels, the last ``rest`` bytes of a file, end before their last fragment (PS3.5, A.4)."""
    with path.open("rb") as handle:
        handle.seek(-rest, os.SEEK_END)
        handle.seek(len(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"), os.SEEK_CUR)
        while len(head := handle.read(8)) == 8 and head[:4] == FRAGMENT:
            handle.seek(int.from_bytes(head[4:], "little"), os.SEEK_CUR)
        return head[:4] != END


def _texts(value: Any) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    return (str(value).upper(),) if isinstance(value, str) else tuple(str(part).upper() for part in value)


def _number(value: Any) -> float | None:
    """A number, the first of several; None where it is none."""
    try:
        return float(value if isinstance(value, str | int | float) else value[0] if _is_list(value) else value)
    except (TypeError, ValueError, IndexError):
        return None


def _is_list(value: Any) -> bool:
    return hasattr(value, "__getitem__") and not isinstance(value, str)


def _whole(value: Any) -> int:
    number = _number(value)
    return 0 if number is None else int(number)


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(part) for part in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count else None
