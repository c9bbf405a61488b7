"""The normal maps of a model on disk: ``normal.safetensors``, one for each set of contrasts (``t1+flair``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from braincli.errors import ModelError
from braincli.model.facts import Said
from braincli.runtime import files

NAME = "normal.safetensors"
GRID = (18, 22, 18)  # cells from bottom to top, front to back, left to right of the brain's box: about 8 mm each


def read(folder: Path, info: Said) -> dict[str, np.ndarray]:
    """By set of contrasts a map (GRID) float32 of log odds, see :mod:`braincli.detection.suspicion`; none: empty.

    Raises:
        ModelError: the file is missing, has another SHA-256 than ``info`` names, or holds no such maps.
    """
    if info.normal is None:
        return {}
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / NAME
    again = "Fit it again: braincli calibrate --normal."
    try:
        if files.sha256(path) != info.normal.sha256:
            raise ModelError(f"{NAME} of the model {info.name} is damaged (its SHA-256 differs).", again)
        maps = {name: values.astype(np.float32) for name, values in load(path.read_bytes()).items()}
    except OSError as error:
        raise ModelError(f"{NAME} of the model {info.name} cannot be read: {error.strerror}.", again) from None
    except SafetensorError as error:
        raise ModelError(f"{NAME} of the model {info.name} is damaged: {error}.", again) from None
    if any(values.shape != GRID or not np.isfinite(values).all() for values in maps.values()):
        raise ModelError(f"{NAME} of the model {info.name} holds no maps of {GRID} finite numbers.", again)
    return maps


def packed(maps: Mapping[str, np.ndarray]) -> bytes:
    """The file of ``maps``, in float16."""
    from safetensors.numpy import save

    return save({name: values.astype(np.float16) for name, values in maps.items()})


def write(folder: Path, maps: Mapping[str, np.ndarray]) -> None:
    """Write ``maps`` into ``folder``; none: nothing."""
    if maps:
        with files.atomic_path(folder / NAME) as temporary:
            temporary.write_bytes(packed(maps))
