"""Published weights that training begins with, read from files whose hashes were checked."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

from braincli.errors import ModelError
from braincli.weights import inventory as weights

if TYPE_CHECKING:
    from torch import Tensor


def load(name: str, given: Path | None = None) -> dict[str, Tensor]:
    """All parameters of a network as it was published, by name, on the CPU.

    Args:
        name: what :attr:`braincli.methods.base.Method.pretrained` asks for.
        given: ``--weights-dir``.

    Raises:
        ModelError: they are not on this machine, or damaged.
    """
    import torch

    path = weights.imagenet(name, given)
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        raise ModelError(f"{path.name} holds no weights.", "Fetch or install them again.") from None
    return state
