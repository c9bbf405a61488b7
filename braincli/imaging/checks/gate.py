"""All checks in their order: path, magic, header, size, stream to its end, geometry, voxels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from braincli.imaging.checks import header as headers
from braincli.imaging.checks import values
from braincli.imaging.checks.geometry import Geometry, decide
from braincli.imaging.checks.problem import Level, Problem, Refused
from braincli.imaging.checks.stream import BLOCK, Stream, check_content, check_path
from braincli.wording import counted

MAX_VOXELS = 512**3  # per volume: 0.5 GiB as float32; a whole head at 0.5 mm has half of that
DOUBTFUL = ("bitpix", "extension")  # codes of contradictions in the header that harm only if the voxels lie elsewhere
AGAIN = "Fetch or copy the file again."


@dataclass
class Reading:
    """What came of reading one file: ``data`` and ``geometry`` only where they could be read.

    Attributes:
        path: the file.
        problems: every finding, in the order of the checks; messages begin with the file's base name.
        sha256: of the file's bytes.
        head: the bytes before the voxels (header and extensions).
        data: (X, Y, Z) float32; labels keep an integer type of up to 32 bits, others become int32.
    """

    path: Path
    problems: list[Problem] = field(default_factory=list)
    sha256: str = ""
    head: bytes = b""
    header: headers.Header | None = None
    layout: headers.Layout | None = None
    geometry: Geometry | None = None
    data: np.ndarray | None = None

    @property
    def usable(self) -> bool:
        """Whether nothing found is an error."""
        return all(problem.level < Level.ERROR for problem in self.problems)

    def note(self, *problems: Problem) -> None:
        """Add findings, with the file's name before their message."""
        for problem in problems:
            self.problems.append(replace(problem, message=f"{self.path.name} {problem.message}"))


def inspect_file(
    path: Path,
    *,
    volume: int | None = None,
    prefer: str = "sform",
    labels: bool = False,
    max_voxels: int = MAX_VOXELS,
) -> list[Problem]:
    """Every finding about one NIfTI file, whatever is in it; options as in :func:`braincli.imaging.volume.load`."""
    return read(path, volume=volume, prefer=prefer, labels=labels, max_voxels=max_voxels).problems


def read(
    path: Path,
    *,
    volume: int | None = None,
    prefer: str = "sform",
    labels: bool = False,
    max_voxels: int = MAX_VOXELS,
) -> Reading:
    """Read and check one file to its end. Never raises for bad input: see :attr:`Reading.problems`."""
    reading = Reading(path)
    try:
        check_path(path)
        with path.open("rb") as handle:
            raw = _read_stream(reading, handle, volume, max_voxels)
        _judge_geometry(reading, prefer)
        _judge_values(reading, raw, labels)
    except Refused as refusal:
        reading.note(refusal.problem)
    except OSError as error:
        text = f"cannot be read ({error.strerror or error})."
        reading.note(Problem(Level.ERROR, "unreadable", text, "Check its permissions and the disk."))
    return reading


def _read_stream(reading: Reading, handle: BinaryIO, volume: int | None, max_voxels: int) -> np.ndarray:
    """The chosen volume's voxels (X, Y, Z) as stored."""
    stream = Stream(handle)
    _check_wrapping(reading, stream)
    block = _read_header(stream)
    reading.header, reading.head = headers.parse(block), block
    layout, problems = headers.plan(reading.header, volume, max_voxels)
    reading.layout = layout
    reading.head += stream.read(int(reading.header["vox_offset"]) - len(block))
    doubts = [*problems, *headers.check_extensions(reading.header, reading.head)]
    reading.note(*doubts)
    stream.skip(layout.offset - len(reading.head))
    buffer = np.empty(layout.nbytes, np.uint8)
    present = stream.fill(buffer.data)
    if stream.failure or present < layout.nbytes:
        raise _broken(stream, layout, present)
    rest = layout.total - layout.offset - layout.nbytes
    if stream.skip(rest) < rest:
        raise Refused("truncated", "is truncated after the chosen volume.", AGAIN)
    _check_end(reading, stream)
    reading.sha256 = stream.sha256()
    return buffer.view(layout.dtype).reshape(layout.shape, order="F")


def _check_wrapping(reading: Reading, stream: Stream) -> None:
    """Compression and name should agree."""
    named = reading.path.name.lower().endswith(".gz")
    if not stream.compressed:
        check_content(stream.start)
        if named and headers.header_size(stream.start):
            raise Refused("not-gzip", "is not compressed, though named .gz.", "Rename it to .nii.")
        if named:
            raise Refused("not-gzip", "is not a gzip file.", AGAIN)
    elif not named:
        text = "is compressed, though not named .gz; other tools will not read it."
        reading.note(Problem(Level.NOTE, "hidden-gzip", text, "Rename it to .nii.gz."))


def _read_header(stream: Stream) -> bytes:
    start = stream.read(348)
    if stream.failure.startswith("damaged"):
        raise Refused("damaged", f"is {stream.failure}.", AGAIN)
    check_content(start)
    size = headers.header_size(start)
    if not size and start and len(start) == 348:
        raise Refused("not-nifti", "is not NIfTI: no header at its beginning.", "Convert the scan to NIfTI.")
    block = start + stream.read(size - len(start)) if size else start
    if not size or len(block) < size:
        raise Refused("truncated", f"is truncated within its header ({counted(len(block), 'byte')}).", AGAIN)
    return block


def _broken(stream: Stream, layout: headers.Layout, present: int) -> Refused:
    """The refusal of a stream that ended before its voxels did."""
    depth = layout.shape[2]
    whole = present * depth // layout.nbytes
    if stream.failure.startswith("damaged"):
        return Refused("damaged", f"is {stream.failure} (after {whole} of {depth} slices).", AGAIN)
    return Refused("truncated", f"is truncated: {whole} of {depth} slices present.", AGAIN)


def _check_end(reading: Reading, stream: Stream) -> None:
    """Read on to the end of the stream, where CRC and length are checked; little may follow the voxels.

    A slice or more is no padding: a dimension, the data type or the offset is wrong. Where the header already
    contradicts itself, not a byte may follow.
    """
    assert reading.layout is not None
    doubtful = any(problem.code in DOUBTFUL for problem in reading.problems)
    allowed = 0 if doubtful else min(BLOCK, reading.layout.nbytes // reading.layout.shape[2] - 1)
    surplus = stream.skip(allowed + 1)
    if surplus > allowed and not stream.failure:
        text = "goes on after its voxels: it is larger than its header says."
        raise Refused("larger-than-header", text, "Its header is damaged, or it is no scan.")
    if stream.failure:
        code, _, why = stream.failure.partition(": ")
        text = why or "all slices are there, but the checksum at its end is missing"
        raise Refused(code, f"is {code}: {text}.", AGAIN)
    surplus += stream.trailing
    if surplus:
        text = f"has {counted(surplus, 'byte')} after its voxels; what follows is ignored."
        reading.note(Problem(Level.WARNING, "trailing-bytes", text))


def _judge_geometry(reading: Reading, prefer: str) -> None:
    """A refused geometry does not stop the look at the voxels."""
    assert reading.header is not None and reading.layout is not None
    try:
        with np.errstate(all="ignore"):  # whatever the header holds
            reading.geometry = decide(reading.header, reading.layout.shape, prefer)
        reading.note(*reading.geometry.problems)
    except Refused as refusal:
        reading.note(refusal.problem)


def _judge_values(reading: Reading, raw: np.ndarray, labels: bool) -> None:
    assert reading.header is not None
    slope, intercept, problems = headers.scaling(reading.header)
    reading.note(*problems)
    clean = values.clean_labels if labels else values.clean_image
    reading.data, problems = clean(raw, slope, intercept)
    reading.note(*problems)
