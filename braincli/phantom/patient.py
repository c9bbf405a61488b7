"""The generated patient: four raw scans with skull, as from a scanner, and the known tumour mask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from braincli.imaging import volume
from braincli.imaging.cases import Contrast
from braincli.runtime.progress import Reporter

CASE = "generated-patient"
MOTION = {  # degrees about x, y, z and mm along x, y, z: the head moves between acquisitions
    Contrast.T1: ((0, 0, 0), (0, 0, 0)),
    Contrast.T1CE: ((0.8, -0.5, 0.6), (0.6, -0.9, 0.7)),
    Contrast.T2: ((-1.2, 0.6, -0.7), (-0.8, 0.5, 1.1)),
    Contrast.FLAIR: ((1.0, 0.9, -1.0), (1.0, 0.8, -0.9)),
}


@dataclass(frozen=True)
class Patient:
    """Files of the generated patient.

    Attributes:
        folder: holds the four scans and nothing else.
        scans: int16, each on its own grid.
        lesion: reference mask on the grid of the FLAIR scan.
        lesion_sri24: reference mask on the atlas grid.
        volume_ml: volume of the tumour.
    """

    folder: Path
    scans: dict[Contrast, Path]
    lesion: Path
    lesion_sri24: Path
    volume_ml: float

    @property
    def flair(self) -> Path:
        """The scan that the reference mask lies on."""
        return self.scans[Contrast.FLAIR]


def generate(folder: Path, *, seed: int = 0, overwrite: bool = False, report: Reporter | None = None) -> Patient:
    """Write ``generated-patient/`` and ``reference/`` below ``folder``. The same seed gives the same files.

    Raises:
        UsageError: a file exists and ``overwrite`` is false.
        ResourceError: the folder cannot be written.
    """
    from braincli.phantom.anatomy import grow_head
    from braincli.phantom.scanner import PROTOCOLS, acquire, acquire_mask, rotation, signal
    from braincli.preprocessing.atlas import load_atlas

    rng = np.random.default_rng(seed)
    whole, brain = load_atlas(stripped=False), load_atlas(stripped=True)
    patient = plan(folder)
    with (report or Reporter()).step("generate a patient", total=6) as step:
        head = grow_head(whole.data, brain.data, rng)
        lesion = head.tumour.whole > 0.5
        step.advance()
        isocentre = np.eye(4)
        x, y, z = np.argwhere(brain.data > 0).mean(axis=0)
        isocentre[:3, 3] = -(brain.affine @ [x, y, z - 8, 1])[:3]
        pose = _rigid(rotation(4, -3, 5), (3, -6, 4)) @ isocentre @ brain.affine
        for contrast, protocol in PROTOCOLS.items():
            degrees, shift = MOTION[contrast]
            placed = _rigid(rotation(*degrees), shift) @ pose
            scan = acquire(signal(head, contrast, rng), placed, protocol, rng)
            volume.save(scan, patient.scans[contrast], overwrite=overwrite)
            if contrast is Contrast.FLAIR:
                volume.save(acquire_mask(lesion, placed, protocol), patient.lesion, overwrite=overwrite)
            step.advance()
        volume.save(brain.with_data(lesion), patient.lesion_sri24, overwrite=overwrite)
        step.advance()
    return replace(patient, volume_ml=round(float(lesion.sum() * brain.voxel_ml), 1))


def plan(folder: Path) -> Patient:
    """The files that :func:`generate` writes below ``folder``."""
    scans = {contrast: folder / CASE / f"{CASE}_{contrast}.nii.gz" for contrast in Contrast}
    reference = folder / "reference"
    lesion, lesion_sri24 = reference / f"{CASE}_seg.nii.gz", reference / f"{CASE}_space-SRI24_seg.nii.gz"
    return Patient(folder / CASE, scans, lesion, lesion_sri24, volume_ml=0.0)


def _rigid(turn: np.ndarray, shift: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, shift
    return matrix
