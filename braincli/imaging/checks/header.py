"""The NIfTI header's structure: magic, dimensions, data type, where the voxels begin. Size before data."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from braincli.imaging.checks.problem import Level, Problem, Refused
from braincli.wording import counted

Header = Any  # nib.Nifti1Header or nib.Nifti2Header, which are untyped
MAX_OFFSET = 1 << 28  # 256 MiB of extensions before the voxels is beyond any real file
DTYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
REFUSED_DTYPES = {
    1: "single bits", 32: "complex numbers", 128: "RGB colours", 1536: "128-bit floats",
    1792: "complex numbers", 2048: "complex numbers", 2304: "RGBA colours",
}  # fmt: skip
FINEST_SLOPE, STEEPEST_SLOPE = 1e-30, 1e30  # nothing is measured in such units; 32-bit floats end soon after
MAGIC_1, MAGIC_2 = b"n+1\0", b"n+2\0\r\n\x1a\n"


@dataclass(frozen=True)
class Layout:
    """Where the voxels of one volume lie: ``shape`` (X, Y, Z), its ``dtype``, and bytes in the stream."""

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int  # of the chosen volume
    total: int  # end of the last volume

    @property
    def nbytes(self) -> int:
        """Size of the chosen volume."""
        return math.prod(self.shape) * self.dtype.itemsize


def header_size(start: bytes) -> int:
    """348 for NIfTI-1, 540 for NIfTI-2 (either byte order), 0 for anything else."""
    if len(start) < 4:
        return 0
    sizes = {struct.unpack(order + "i", start[:4])[0] for order in "<>"}
    return next((size for size in (348, 540) if size in sizes), 0)


def parse(block: bytes) -> Header:
    """The header in ``block`` (348 or 540 bytes), unchecked.

    Raises:
        Refused: not NIfTI, or a pair whose voxels lie in another file.
    """
    import nibabel as nib

    if len(block) == 348 and block[344:348] != MAGIC_1:
        if block[344:348] == b"ni1\0":
            raise Refused("pair", "is the header of a NIfTI pair (.hdr/.img).", "Convert the pair to one .nii.gz file.")
        raise Refused("analyze", "has no NIfTI magic (an Analyze 7.5 header?).", "Convert it to NIfTI.")
    if len(block) == 540 and block[4:12] != MAGIC_2:
        raise Refused("magic", "has a damaged NIfTI-2 magic.", "Fetch or convert it again.")
    kind = nib.Nifti1Header if len(block) == 348 else nib.Nifti2Header
    order = "<" if struct.unpack("<i", block[:4])[0] == len(block) else ">"
    return kind(block, endianness=order, check=False)


def plan(header: Header, volume: int | None, max_voxels: int) -> tuple[Layout, list[Problem]]:
    """Where the voxels lie, and what is odd about it, before any of them is read.

    Raises:
        Refused: dimensions, data type or offset cannot be used, or the volume is larger than ``max_voxels``.
    """
    dims = [int(size) for size in header["dim"]]
    if not 1 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 1:
        raise Refused("dimensions", f"has impossible dimensions {dims}.", "Its header is damaged; convert it again.")
    shape = tuple(dims[1 : dims[0] + 1])
    if len(shape) < 3 or min(shape[:3]) < 2:
        text = " x ".join(map(str, shape))
        raise Refused("two-dimensional", f"is not a volume ({text} voxels).", "Give the whole three-dimensional scan.")
    if math.prod(shape[:3]) > max_voxels:
        text = " x ".join(map(str, shape))
        raise Refused(
            "too-large",
            f"claims {text} voxels, more than the limit of {max_voxels:,}.",
            "Its header may be damaged.",
        )
    index, problems = _volume_index(shape, volume)
    dtype, offset = _dtype(header), _offset(header)
    problems += _check_bitpix(header, dtype)
    size = math.prod(shape[:3]) * dtype.itemsize
    begin, end = offset + index * size, offset + math.prod(shape[3:]) * size
    return Layout((shape[0], shape[1], shape[2]), dtype, begin, end), problems


def _volume_index(shape: tuple[int, ...], volume: int | None) -> tuple[int, list[Problem]]:
    count = math.prod(shape[3:])
    if count > 1 and volume is None:
        raise Refused(
            "four-dimensional",
            f"holds {count} volumes ({len(shape)}-D).",
            f"Choose one with --volume N (0 to {count - 1}).",
        )
    index = volume or 0
    if not 0 <= index < count:
        raise Refused("volume-index", f"has no volume {index}; it holds {count}.", f"Use --volume 0 to {count - 1}.")
    if len(shape) > 3 and count == 1:
        return index, [Problem(Level.NOTE, "squeezed", f"is {len(shape)}-D with a single volume; read as 3-D.")]
    return index, []


def _dtype(header: Header) -> np.dtype:
    code = int(header["datatype"])
    if code not in DTYPES:
        what = REFUSED_DTYPES.get(code, f"an unknown data type ({code})")
        raise Refused("data-type", f"holds {what}.", "Give a scan with one real number per voxel.")
    return np.dtype(header.endianness + DTYPES[code])


def _offset(header: Header) -> int:
    offset, least = float(header["vox_offset"]), int(header["sizeof_hdr"]) + 4
    if not (math.isfinite(offset) and least <= offset <= MAX_OFFSET and offset.is_integer()):
        raise Refused("offset", f"says that its voxels begin at byte {offset:g}.", "Its header is damaged.")
    return int(offset)


def _check_bitpix(header: Header, dtype: np.dtype) -> list[Problem]:
    """The data type counts; a file that is longer than it says is refused later on."""
    stated, real = int(header["bitpix"]), 8 * dtype.itemsize
    if stated == real:
        return []
    text = f"states {stated} bits per voxel, but its data type has {real}; the data type is used."
    return [Problem(Level.WARNING, "bitpix", text, "One of them is damaged: look at the scan in a viewer.")]


def check_extensions(header: Header, head: bytes) -> list[Problem]:
    """Whether the extensions in ``head`` (all bytes before the voxels) fill what lies between header and voxels.

    Where they do not, either their sizes or ``vox_offset`` is damaged; a file that is longer than it says is
    refused later on.
    """
    position, end = int(header["sizeof_hdr"]) + 4, len(head)
    if head[position - 4 : position - 3] in (b"", b"\0"):
        return []
    while position + 8 <= end:
        size = struct.unpack(header.endianness + "i", head[position : position + 4])[0]
        if size < 8 or position + size > end:
            room = counted(end - position, "byte")
            text = f"has an extension of {counted(size, 'byte')}, but {room} before its voxels; it is ignored."
            return [Problem(Level.WARNING, "extension", text, "Look at the scan in a viewer: it may be shifted.")]
        position += size
    if end == int(header["sizeof_hdr"]) + 4:
        text = "announces extensions, but its voxels follow at once."
        return [Problem(Level.WARNING, "extension", text, "Look at the scan in a viewer: it may be shifted.")]
    return []


def scaling(header: Header) -> tuple[float, float, list[Problem]]:
    """``(slope, intercept)``; a slope of 0 or NaN means none, senseless values are ignored with a warning."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0, []
    if not FINEST_SLOPE <= abs(slope) <= STEEPEST_SLOPE or not abs(intercept) <= STEEPEST_SLOPE:
        text = f"has a damaged intensity scaling (slope {slope:g}, intercept {intercept:g}); it is ignored."
        return 1.0, 0.0, [Problem(Level.WARNING, "scaling", text)]
    return slope, intercept, []
