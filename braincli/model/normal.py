"""The normal maps of a model on disk, one for each set of contrasts (``t1+flair``): ``normal-0a1b2c3d.safetensors``.

The name tells the beginning of the file's SHA-256. So new maps never replace those that ``model.json`` names until it
names the new ones: killed in between, a model is as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from braincli.errors import ModelError
from braincli.model.facts import Said
from braincli.runtime import files

NAME = "normal-{}.safetensors"
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

    path = folder / file_of(info.normal.sha256)
    again = 'Get the model again; or set "normal" to null in its model.json, then braincli calibrate --normal.'
    try:
        if files.sha256(path) != info.normal.sha256:
            raise ModelError(f"{path.name} of the model {info.name} is damaged (its SHA-256 differs).", again)
        maps = {name: values.astype(np.float32) for name, values in load(path.read_bytes()).items()}
    except OSError as error:
        raise ModelError(f"{path.name} of the model {info.name} cannot be read: {error.strerror}.", again) from None
    except SafetensorError as error:
        raise ModelError(f"{path.name} of the model {info.name} is damaged: {error}.", again) from None
    if any(values.shape != GRID or not np.isfinite(values).all() for values in maps.values()):
        raise ModelError(f"{path.name} of the model {info.name} holds no maps of {GRID} finite numbers.", again)
    return maps


def file_of(sha256: str) -> str:
    """The name of the maps with this SHA-256."""
    return NAME.format(sha256[:8])


def packed(maps: Mapping[str, np.ndarray]) -> bytes:
    """The file of ``maps``, in float16."""
    from safetensors.numpy import save

    return save({name: values.astype(np.float16) for name, values in maps.items()})


def write(folder: Path, maps: Mapping[str, np.ndarray]) -> None:
    """Write ``maps`` into ``folder``, beside those that are there; none: nothing."""
    if maps:
        content = packed(maps)
        with files.atomic_path(folder / file_of(hashlib.sha256(content).hexdigest())) as temporary:
            temporary.write_bytes(content)


def sweep(folder: Path, info: Said) -> None:
    """Remove the maps in ``folder`` that ``info`` does not name."""
    named = file_of(info.normal.sha256) if info.normal else ""
    for path in folder.glob(NAME.format("?" * 8)):
        if path.name != named:
            path.unlink(missing_ok=True)
