"""Checkpoints that others published, read without running anything that they hold, and checked for what they are."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]
NNUNET_CONTENTS = {"network_weights": dict, "init_args": dict, "trainer_name": str}


def read_state(path: Path, expected: Shapes | None = None) -> dict[str, Tensor]:
    """Parameters by name, on the CPU, without subnormal numbers.

    Args:
        path: a file of ``torch.save``.
        expected: shapes of some parameters that tell this network from others.

    Raises:
        ModelError: it holds anything else, or a number that is not finite.
    """
    return _state(_read(path), path.name, expected or {})


def read_nnunet(path: Path) -> dict[str, Any]:
    """A checkpoint of nnU-Net: ``network_weights`` (as :func:`read_state`), ``init_args``, ``trainer_name`` ...

    Raises:
        ModelError: it holds anything else.
    """
    stored = _read(path)
    for key, kind in NNUNET_CONTENTS.items():
        if not isinstance(stored, dict) or not isinstance(stored.get(key), kind):
            raise ModelError(f"{path.name} is no checkpoint of nnU-Net: it has no {key}.", "Fetch it again.")
    if "configuration" not in stored["init_args"]:
        raise ModelError(f"{path.name} is no checkpoint of nnU-Net: it names no configuration.", "Fetch it again.")
    return {**stored, "network_weights": _state(stored["network_weights"], path.name, {})}


def read_description(path: Path, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON object that has ``keys``.

    Raises:
        ModelError: it is anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}.", "Fetch it again.") from None
    if not isinstance(content, dict) or (missing := [key for key in keys if key not in content]):
        what = missing[0] if isinstance(content, dict) else "object"
        raise ModelError(f"{path.name} is no description of this network: it has no {what}.", "Fetch it again.")
    return content


def _read(path: Path) -> Any:
    import torch

    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            return torch.load(path, map_location="cpu", weights_only=True)
    # what a file of garbage raises depends on its first bytes
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError, OSError):
        raise ModelError(f"{path.name} holds no weights.", "Fetch or install them again.") from None


def _state(stored: Any, name: str, expected: Shapes) -> dict[str, Tensor]:
    import torch

    from braincli.networks.subnormal import flush

    if not isinstance(stored, dict) or not stored:
        raise ModelError(f"{name} holds no weights.", "Fetch or install them again.")
    for key, value in stored.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ModelError(f"{name} holds more than weights ({key}).", "Fetch or install them again.")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelError(f"The weights of {name} are not finite ({key}).", "Fetch or install them again.")
    for key, shape in expected.items():
        if key not in stored or tuple(stored[key].shape) != shape:
            raise ModelError(f"{name} holds the weights of another network ({key}).", "Fetch or install them again.")
    return flush(stored)


def _numpy_scalars() -> list[Any]:
    """What nnU-Net checkpoints hold beside tensors: plain numbers of NumPy in their log."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    names = ["numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"]
    return [np.dtype, *kinds, *((scalar, name) for name in names)]
