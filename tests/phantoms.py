"""Tiny NIfTI files for tests: a lopsided head on any grid, with any header, and cases made of them."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

ORIENTATIONS = tuple(  # all 48, e.g. "RAS", "LPI", "PIR"
    "".join(pair[flip] for pair, flip in zip(order, flips, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for flips in product((0, 1), repeat=3)
)
WORLD = {"R": (1, 0, 0), "A": (0, 1, 0), "S": (0, 0, 1), "L": (-1, 0, 0), "P": (0, -1, 0), "I": (0, 0, -1)}
SHAPE = (16, 18, 12)


def affine(
    axes: str = "RAS",
    spacing: Iterable[float] = (1.0, 1.0, 1.0),
    origin: Iterable[float] = (-7.0, 11.0, 3.0),
    degrees: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """(4, 4) voxel -> RAS mm: ``axes`` and ``spacing``, then turned by ``degrees`` about z and about x."""
    about_z, about_x = np.radians(degrees)
    turn_z = np.array([[np.cos(about_z), -np.sin(about_z), 0], [np.sin(about_z), np.cos(about_z), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(about_x), -np.sin(about_x)], [0, np.sin(about_x), np.cos(about_x)]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn_x @ turn_z @ np.array([WORLD[axis] for axis in axes], float).T @ np.diag(list(spacing))
    matrix[:3, 3] = list(origin)
    return matrix


def brain(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """(X, Y, Z) float32, a skull-stripped brain: background 0, tissue 60..140, no symmetry."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij"))
    inside = (grid[0] / 0.75) ** 2 + (grid[1] / 0.8) ** 2 + (grid[2] / 0.7) ** 2 < 1
    tissue = 100 + 20 * grid[0] + 15 * grid[1] * grid[2] + np.random.default_rng(seed).normal(0, 2, shape)
    return np.where(inside, tissue, 0).astype(np.float32)


def lesion(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """(X, Y, Z) uint8: a ball inside :func:`brain`, off centre."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij"))
    centre = np.array([0.3, -0.2, 0.1])[:, None, None, None]
    return (((grid - centre) ** 2).sum(0) < 0.3**2).astype(np.uint8)


def write(
    path: Path,
    data: np.ndarray | None = None,
    matrix: np.ndarray | None = None,
    *,
    qform: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 1),
    nifti2: bool = False,
    big_endian: bool = False,
    slope: tuple[float, float] | None = None,
    extension: bytes = b"",
    **fields: Any,
) -> Path:
    """Write a NIfTI file; ``codes`` are of qform and sform, ``fields`` go into the header as they are."""
    data = brain() if data is None else data
    matrix = affine() if matrix is None else matrix
    kind = nib.Nifti2Image if nifti2 else nib.Nifti1Image
    header = kind.header_class(endianness=">" if big_endian else "<")
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header.set_zooms((*np.linalg.norm(matrix[:3, :3], axis=0), *(1.0,) * (data.ndim - 3))[: data.ndim])
    header.set_qform(matrix if qform is None else qform, codes[0])
    header.set_sform(matrix, codes[1])
    header["xyzt_units"] = 2
    image = kind(data, None, header=header)
    if slope:
        image.header.set_slope_inter(*slope)
    if extension:
        image.header.extensions.append(nib.nifti1.Nifti1Extension(6, extension))
    path.parent.mkdir(parents=True, exist_ok=True)
    content = image.to_bytes()
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.name.endswith(".gz") else content)
    return patch(path, **fields) if fields else path


def patch(path: Path, **fields: Any) -> Path:
    """Set header fields of a NIfTI-1 file to whatever, sane or not; no other byte changes."""
    content = unpacked(path)
    order = "<" if content[:4] == b"\x5c\x01\0\0" else ">"
    header = nib.Nifti1Header(content[:348], endianness=order, check=False)
    for name, value in fields.items():
        header[name] = value
    return pack(path, header.binaryblock + content[348:])


def unpacked(path: Path) -> bytes:
    """The decompressed content of a file."""
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def pack(path: Path, content: bytes) -> Path:
    """Write ``content``, compressed if the name says so."""
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.name.endswith(".gz") else content)
    return path


def touch(folder: Path, *names: str) -> Path:
    """Empty files; cases are found by name alone."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def write_case(
    folder: Path,
    id: str = "p01",
    contrasts: Iterable[str] = ("t1", "t1ce", "t2", "flair"),
    *,
    shape: tuple[int, int, int] = SHAPE,
    matrix: np.ndarray | None = None,
    seg: bool = True,
) -> Path:
    """Fill ``folder`` with BraTS names: skull-stripped, on one grid, lesion bright in T2 and FLAIR."""
    spot = lesion(shape)
    for number, contrast in enumerate(contrasts):
        image = brain(shape, seed=number) * (1 + 0.1 * number)
        image[spot > 0] *= {"t1": 0.8, "t1ce": 1.1, "t2": 1.5, "flair": 1.7}[contrast]
        write(folder / f"{id}_{contrast}.nii.gz", image, matrix)
    if seg:
        write(folder / f"{id}_seg.nii.gz", spot, matrix)
    return folder
