"""Which scan goes where: contrasts to the reference, the reference to the atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from braincli.errors import UsageError
from braincli.imaging import volume
from braincli.imaging.cases import Contrast
from braincli.imaging.volume import Volume
from braincli.preprocessing import atlas, intensity, quality, register
from braincli.preprocessing.result import grid_only

if TYPE_CHECKING:
    from braincli.preprocessing.work import Work

REFERENCE_ORDER = (Contrast.T1, Contrast.T1CE, Contrast.T2, Contrast.FLAIR)
THICK = 1.5  # a scan whose largest voxel edge is this many times another's loses its place in the order
FIXED_MARGIN_MM = 15.0  # of head kept around the reference's brain when other contrasts are aligned to it
ATLAS_MARGIN_MM = 10.0
CHECK_MM = 4.0  # grid on which mutual information is reported
NECK_LIFTS = (0.0, 20.0, 40.0, -20.0)


def choose_reference(scans: dict[Contrast, Volume], wanted: Contrast | None) -> Contrast:
    """The contrast that the others are aligned to: T1, T1ce, T2, FLAIR in this order (the atlas is a T1).

    A scan whose largest voxel edge is more than 1.5 times that of another scan yields to the finer one.

    Raises:
        UsageError: ``wanted`` is not among the scans.
    """
    if wanted is not None and wanted not in scans:
        raise UsageError(f"The reference {wanted} is not among the scans.", f"There are: {', '.join(scans)}.")
    if wanted is not None:
        return wanted
    finest = min(max(scan.spacing) for scan in scans.values())
    return next(c for c in REFERENCE_ORDER if c in scans and max(scans[c].spacing) <= THICK * finest)


def to_atlas(work: Work) -> np.ndarray:
    """The transform (4, 4) from the atlas' world to the reference's: brain to brain, or head to head without a mask."""
    if work.config.space == "native" or "atlas" in work.config.skip:
        return np.eye(4)
    mask = work.native_mask()
    template, head = atlas.load_atlas(stripped=mask is not None), work.fixed
    if mask is not None:
        head = register.crop(head.with_data(intensity.positive(head.data, ~mask)), mask, ATLAS_MARGIN_MM)
        template = register.crop(template, template.data > 0, ATLAS_MARGIN_MM)
    here, there = register.coarse(template, register.WORK_MM), register.coarse(head, register.WORK_MM)
    starts = register.tilted_starts(here, there, lifts=NECK_LIFTS if mask is None else (0.0,))
    found = register.register(template, head, kind=work.config.transform, seed=work.config.seed, starts=starts)
    work.figures["affine_determinant"] = round(float(np.linalg.det(found[:3, :3])), 4)
    work.figures["affine_rotation_degrees"] = round(quality.rotation_degrees(found), 2)
    work.figures["atlas_mutual_information"] = round(register.mutual_information(here, there, found), 4)
    return found


def to_reference(work: Work, contrast: Contrast) -> np.ndarray:
    """The transform (4, 4) from the reference's world to that of ``contrast``; identity for the reference itself."""
    if contrast is work.reference:
        return np.eye(4)
    mask, moving = work.native_mask(), work.scans[contrast]
    fixed = work.fixed if mask is None else register.crop(work.fixed, mask, FIXED_MARGIN_MM)
    found = np.eye(4)
    if "coregister" not in work.config.skip:
        found = register.register(fixed, moving, kind="rigid", seed=work.config.seed)
        work.note("coregistration_rotation_degrees", contrast, quality.rotation_degrees(found))
    here, there = register.coarse(fixed, CHECK_MM), register.coarse(moving, CHECK_MM)
    work.note("coregistration_mutual_information", contrast, register.mutual_information(here, there, found))
    return found


def target_grid(work: Work) -> Volume:
    """The grid of the outputs."""
    return grid_only(atlas.load_atlas(stripped=False) if work.config.space == "sri24" else work.fixed)


def into_space(work: Work, image: Volume, contrast: Contrast, *, labels: bool = False) -> Volume:
    """``image``, in the native world of ``contrast``, interpolated once onto the output grid."""
    placed = Volume(image.data, np.linalg.inv(work.to_scan[contrast]) @ image.affine)
    return volume.resample(placed, target_grid(work), labels=labels)
