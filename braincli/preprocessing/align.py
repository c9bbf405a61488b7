"""Which scan goes where: contrasts to the reference, the reference to the atlas."""

from __future__ import annotations

import numpy as np

from braincli.config import PreprocessConfig
from braincli.errors import UsageError
from braincli.imaging.cases import Contrast
from braincli.imaging.volume import Volume
from braincli.preprocessing import intensity, quality, register, spaces
from braincli.preprocessing.result import grid_only
from braincli.preprocessing.work import Report, Scans

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


def to_atlas(scans: Scans, config: PreprocessConfig, report: Report) -> np.ndarray:
    """The transform (4, 4) from the atlas' world to the reference's: brain to brain, or head to head without a mask."""
    known = spaces.template_of(config.space)
    if known is None or "atlas" in config.skip:
        return np.eye(4)
    mask = scans.brain_mask()
    template, head = known.load_atlas(stripped=mask is not None), scans.fixed
    if mask is not None:
        head = register.crop(head.with_data(intensity.positive(head.data, ~mask)), mask, ATLAS_MARGIN_MM)
        template = register.crop(template, template.data > 0, ATLAS_MARGIN_MM)
    here, there = register.coarse(template, register.WORK_MM), register.coarse(head, register.WORK_MM)
    starts = register.tilted_starts(here, there, lifts=NECK_LIFTS if mask is None else (0.0,))
    transform = register.register(template, head, kind=config.transform, seed=config.seed, starts=starts)
    report.figures["affine_determinant"] = round(float(np.linalg.det(transform[:3, :3])), 4)
    report.figures["affine_rotation_degrees"] = round(quality.rotation_degrees(transform), 2)
    report.figures["atlas_mutual_information"] = round(register.mutual_information(here, there, transform), 4)
    return transform


def to_reference(scans: Scans, contrast: Contrast, config: PreprocessConfig, report: Report) -> np.ndarray:
    """The transform (4, 4) from the reference's world to that of ``contrast``; identity for the reference itself."""
    if contrast is scans.reference:
        return np.eye(4)
    mask, moving = scans.brain_mask(), scans.images[contrast]
    fixed = scans.fixed if mask is None else register.crop(scans.fixed, mask, FIXED_MARGIN_MM)
    transform = np.eye(4)
    if "coregister" not in config.skip:
        transform = register.register(fixed, moving, kind="rigid", seed=config.seed)
        report.note("coregistration_rotation_degrees", contrast, quality.rotation_degrees(transform))
    here, there = register.coarse(fixed, CHECK_MM), register.coarse(moving, CHECK_MM)
    report.note("coregistration_mutual_information", contrast, register.mutual_information(here, there, transform))
    return transform


def target_grid(scans: Scans, config: PreprocessConfig) -> Volume:
    """The grid of the outputs."""
    template = spaces.template_of(config.space)
    return grid_only(scans.fixed if template is None else template.load_atlas(stripped=True))
