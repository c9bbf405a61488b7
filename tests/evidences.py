"""Evidence for tests: FLAIR shows the lesion, T1 is noise that would only harm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import phantoms

from braincli.calibration.evidence import Evidence
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.slices import from_volumes
from braincli.imaging.volume import Volume
from braincli.spec import SliceSpec

SHAPE = (40, 48, 16)
SPEC = SliceSpec(size=(32, 24), pixel_mm=2.0)


def evidence(case_id: str, seed: int = 0) -> Evidence:
    """FLAIR residual 0.4 on the lesion and 0.1 elsewhere; T1 residual is noise that would only harm."""
    rng = np.random.default_rng(seed)
    ras = Volume(phantoms.brain(SHAPE, seed), phantoms.affine("RAS", (1.0, 1.0, 2.0)))
    slices = from_volumes({Contrast.T1: ras, Contrast.FLAIR: ras}, SPEC)
    reference = (phantoms.lesion(SHAPE) > 0) & (ras.data > 0)
    lesion = slices.to_canvas(reference, SPEC) > 0.5
    maps = np.zeros((4, *lesion.shape), np.float32)
    inside = slices.brain[:, 0]
    maps[0] = rng.random(lesion.shape) * inside
    maps[3] = np.where(lesion, 0.4, 0.1) * inside
    return Evidence(Case(case_id), slices, maps, lesion, reference)


def healthy(case_id: str, peak: float) -> Evidence:
    """Nobody's lesion: residuals of 0.1, and of ``peak`` where others have one."""
    e = evidence(case_id)
    maps = np.zeros_like(e.maps)
    maps[3] = np.where(e.lesion, peak, 0.1) * e.slices.brain[:, 0]
    return replace(
        e, maps=maps, lesion=np.zeros_like(e.lesion), reference=np.zeros_like(e.reference), curves={}
    )  # fmt: skip
