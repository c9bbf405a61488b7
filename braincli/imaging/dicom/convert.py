"""One series -> a NIfTI file, by dcm2niix, on exactly the grid that the headers tell.

dcm2niix: Li, Morgan, Ashburner, Smith, Rorden 2016, J Neurosci Methods 264:47.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from braincli.errors import InputError
from braincli.imaging.dicom.series import Series
from braincli.imaging.volume import Volume, view_onto

TIMEOUT_S = 600
OPTIONS = (  # one file for all images, not packed, nothing cropped, a sidecar that names nobody
    "-z", "n", "-b", "y", "-ba", "y", "-x", "n", "-m", "y", "-w", "1", "-l", "o", "-f", "converted",
)  # fmt: skip


def grid_of(series: Series) -> Volume:
    """The grid of a series (columns, rows, slices), without voxels."""
    assert series.affine is not None
    return Volume(np.broadcast_to(np.float32(0), series.shape), series.affine)


def convert(series: Series, target: Path, study: str) -> Path:
    """Write ``series`` to ``target`` (``.nii``), its sidecar beside it; both are for the work only.

    Raises:
        InputError: dcm2niix cannot read it, or makes something else of it.
    """
    links, made = target.with_suffix(".dicom"), target.with_suffix(".made")
    for folder in (links, made):
        folder.mkdir(parents=True)
    for number, path in enumerate(dict.fromkeys(image.path for image in series.images)):
        (links / f"{number:06d}.dcm").symlink_to(path.resolve())
    code = _run_dcm2niix(links, made)
    found = [path for path in sorted(made.glob("*.nii")) if _lies_on(path, series)]
    if len(found) != 1:
        raise _not_converted(series, study, code, made.glob("*.nii"))
    found[0].replace(target)
    sidecar = found[0].with_suffix(".json")
    if sidecar.is_file():
        sidecar.replace(target.with_suffix(".json"))
    return target


def _run_dcm2niix(source: Path, target: Path) -> int:
    """The exit code of dcm2niix; -1 where it takes too long. What it says may name the patient, and is not kept."""
    import dcm2niix

    command = [str(dcm2niix.bin), *OPTIONS, "-o", str(target), str(source)]
    try:
        return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, env=_quiet(), check=False).returncode
    except subprocess.TimeoutExpired:
        return -1


def _quiet() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}


def _lies_on(path: Path, series: Series) -> bool:
    """Whether a NIfTI file has the grid of the series, whatever the order and direction of its axes."""
    import nibabel as nib

    image = nib.load(path)
    if len(image.shape) != 3 or image.affine is None:  # type: ignore[attr-defined]
        return False
    made = Volume(np.broadcast_to(np.float32(0), image.shape), image.affine)  # type: ignore[attr-defined]
    try:
        view_onto(made, grid_of(series))
    except InputError:
        return False
    return True


def _not_converted(series: Series, study: str, code: int, made: Iterable[Path]) -> InputError:
    from pydicom.uid import UID

    syntax = UID(series.images[0].syntax)
    where = f"{study}: series {series.label}"
    if code == -1:
        return InputError(f"{where} took dcm2niix more than {TIMEOUT_S} s.", "Is the disk slow? Copy it first.")
    if any(made):
        return InputError(
            f"{where}: dcm2niix gives another grid than its {len(series.images)} headers tell.",
            "The images may be of several scans, or damaged: export it again.",
        )
    if not syntax.is_transfer_syntax or syntax.is_encapsulated or syntax.is_deflated:
        return InputError(
            f"{where} is compressed as {syntax.name}, and dcm2niix cannot read it.",
            "Decompress it first, e.g. with gdcmconv --raw, dcmdjpeg or dcmdjpls.",
        )
    return InputError(f"{where}: dcm2niix cannot convert it (exit code {code}).", "Export it again.")
