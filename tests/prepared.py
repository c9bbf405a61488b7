"""Stands in for the chain of ``preprocess``, which has tests of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from phantoms import affine, brain

from braincli.config import PreprocessConfig
from braincli.imaging.cases import Case
from braincli.imaging.volume import Volume, load, save
from braincli.preprocessing.result import Preprocessed, grid_only
from braincli.runtime.progress import Reporter

SHAPE = (40, 48, 16)
GRID = affine("LPS", (3.0, 3.0, 4.0))


def fake_preprocess(
    case: Case, out: Path, config: PreprocessConfig | None = None, reporter: Reporter | None = None
) -> Preprocessed:
    """Move every scan 5 mm along x into a common grid: what the real chain returns, without its work."""
    transforms, grids, images = {}, {}, {}
    shift = np.eye(4)
    shift[0, 3] = -5.0
    out = out / "prepared" / case.id
    out.mkdir(parents=True, exist_ok=True)
    for contrast, path in case.images.items():
        native = load(path)
        transforms[contrast], grids[contrast] = shift, grid_only(native)
        images[contrast] = out / path.name
        save(Volume(brain(SHAPE), np.linalg.inv(shift) @ GRID), images[contrast], overwrite=True)
    return Preprocessed(
        case, out, "SRI24", next(iter(images)), images, None, None, transforms, grids, {"atlas_dsc": 0.9}, ["tilted"]
    )
