"""Published weights that training begins with, read from files whose hashes were checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from braincli.weights import inventory as weights
from braincli.weights.checkpoints import read_state

if TYPE_CHECKING:
    from torch import Tensor


def load(name: str, given: Path | None = None) -> dict[str, Tensor]:
    """All parameters of a network as it was published (subnormal numbers as 0), by name, on the CPU.

    Args:
        name: what :attr:`braincli.methods.base.Method.pretrained` asks for.
        given: ``--weights-dir``.

    Raises:
        ModelError: they are not on this machine, or damaged.
    """
    return read_state(weights.imagenet(name, given))
