"""Trainings that take a second: one step of a tiny U-Net on two small cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import phantoms

from braincli import api
from braincli.config import TrainConfig
from braincli.model.info import ModelInfo

SHAPE = (40, 48, 10)
OPTIONS = {"method": "unet", "preset": "tiny", "steps": {"main": 1}, "device": "cpu", "threads": 1, "batch": 2}


def write_case(folder: Path, seed: int = 0) -> Path:
    """A case with a bright ball on FLAIR, and its outline."""
    matrix = phantoms.affine("LPS", (3.5, 3.5, 8.0))
    folder.mkdir(parents=True, exist_ok=True)
    data, sick = phantoms.brain(SHAPE, seed), phantoms.lesion(SHAPE) > 0
    phantoms.write(folder / f"{folder.name}_flair.nii.gz", np.where(sick, 190, data).astype(np.float32), matrix)
    phantoms.write(folder / f"{folder.name}_seg.nii.gz", sick.astype(np.uint8), matrix)
    return folder


def write_cases(folder: Path) -> Path:
    """Cases ``a`` and ``b`` below ``folder``."""
    for seed, name in enumerate(("a", "b")):
        write_case(folder / name, seed)
    return folder


def train(data: Path, out: Path, **options: Any) -> ModelInfo | None:
    return api.train([data], out, TrainConfig(**{**OPTIONS, **options}))
