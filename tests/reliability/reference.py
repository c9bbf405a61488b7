"""What a NIfTI file says by the standard alone, by ``struct`` and numpy; nothing of braincli or nibabel."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
OFFSETS = {  # field -> (struct format, NIfTI-1 byte, NIfTI-2 format, byte)
    "dim": ("8h", 40, "8q", 16), "datatype": ("h", 70, "h", 12), "pixdim": ("8f", 76, "8d", 104),
    "vox_offset": ("f", 108, "q", 168), "slope": ("2f", 112, "2d", 176), "codes": ("2h", 252, "2i", 344),
    "quaternion": ("6f", 256, "6d", 352), "srow": ("12f", 280, "12d", 400),
}  # fmt: skip


class Said(NamedTuple):
    """``data`` (X, Y, Z) float64, scaled, ``affine`` (4, 4), and the byte where the voxels ``end``."""

    data: np.ndarray
    affine: np.ndarray
    end: int


def read(content: bytes) -> Said | None:
    """The single volume in uncompressed ``content``; None where it is none."""
    try:
        with np.errstate(all="ignore"):
            return _read(content)
    except (struct.error, KeyError, ValueError, OverflowError, MemoryError):
        return None


def _read(content: bytes) -> Said:
    order = "<" if content[:4] in (struct.pack("<i", 348), struct.pack("<i", 540)) else ">"
    second = struct.unpack(order + "i", content[:4])[0] == 540

    def field(name: str) -> tuple[float, ...]:
        kind, at = OFFSETS[name][2:] if second else OFFSETS[name][:2]
        return struct.unpack_from(order + kind, content, at)

    dims = [int(size) for size in field("dim")]
    shape = dims[1 : dims[0] + 1]
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise ValueError("not one volume")
    x, y, z = shape[:3]
    dtype = np.dtype(order + DTYPES[int(field("datatype")[0])])
    begin = int(field("vox_offset")[0])
    raw = np.frombuffer(content, dtype, x * y * z, begin).reshape((x, y, z), order="F")
    slope, intercept = field("slope")
    if slope == 0 or np.isnan(slope):
        slope, intercept = 1.0, 0.0
    data = raw.astype(np.float64) * slope + intercept
    return Said(np.where(np.isfinite(data), data, 0), _affine(field, (x, y, z)), begin + x * y * z * dtype.itemsize)


def _affine(field, shape: tuple[int, int, int]) -> np.ndarray:  # type: ignore[no-untyped-def]
    qform, sform = (code if code in (1, 2, 3, 4, 5) else 0 for code in field("codes"))
    pixdim = field("pixdim")
    affine = np.eye(4)
    if sform:
        affine[:3] = np.reshape(field("srow"), (3, 4))
    elif qform:
        b, c, d, *origin = field("quaternion")
        a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
        turn = [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
        sizes = [pixdim[1], pixdim[2], pixdim[3] * (-1 if pixdim[0] < 0 else 1)]
        affine[:3, :3], affine[:3, 3] = np.array(turn) @ np.diag(sizes), origin
    else:  # nibabel's and ITK's choice of the "method 1" of the standard: x runs to the left, the centre is 0
        affine = np.diag([-pixdim[1], pixdim[2], pixdim[3], 1.0])
        affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine
