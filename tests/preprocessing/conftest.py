"""A small head with four contrasts, made from the atlas, each contrast on its own rotated grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from heads import turned

from braincli.imaging import volume
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.volume import Volume
from braincli.preprocessing import register
from braincli.preprocessing.atlas import load_atlas

MM = 5.0


@pytest.fixture(scope="session")
def heads() -> dict[str, Volume]:
    """The atlas at 5 mm, with skull and without."""
    return {name: register.coarse(load_atlas(name == "brain"), MM) for name in ("head", "brain")}


@pytest.fixture
def raw_case(tmp_path: Path, heads: dict[str, Volume]) -> Case:
    """T1 and FLAIR (another grid, 6 degrees turned), with a brain mask and a lesion on the T1 and FLAIR grids."""
    folder = tmp_path / "raw"
    head, brain = heads["head"], heads["brain"]
    t1 = Volume(head.data + 3.0, head.affine)
    flair_affine = turned(6.0, (3.0, -2.0, 4.0)) @ head.affine
    flair = Volume(np.where(head.data > 20, 250.0 - head.data * 0.6, 2.0).astype(np.float32), flair_affine)
    lesion = np.zeros(head.shape, np.uint8)
    lesion[16:20, 16:21, 14:18] = 1
    files = {
        "t1": t1, "flair": flair, "brainmask": Volume((brain.data > 0).astype(np.uint8), head.affine),
        "seg": Volume(lesion, flair_affine),
    }  # fmt: skip
    for name, content in files.items():
        volume.save(content, folder / f"P-01_{name}.nii.gz")
    images = {Contrast.T1: folder / "P-01_t1.nii.gz", Contrast.FLAIR: folder / "P-01_flair.nii.gz"}
    return Case("P-01", images, folder / "P-01_brainmask.nii.gz", folder / "P-01_seg.nii.gz")
