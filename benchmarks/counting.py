"""Counts what PyTorch is asked to do, and how often the host asks for a number."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select")


class Calls(TorchDispatchMode):
    """Counts meanwhile.

    Attributes:
        number: operator calls, views included.
        reads: those whose result or shape the host takes from memory; a GPU would have to finish first.
        where: how many of each operator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number, self.reads = 0, 0
        self.where: dict[str, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function)
        self.number += 1
        self.where[name] = self.where.get(name, 0) + 1
        self.reads += any(read in name for read in READS) or _by_mask(name, args)
        return function(*args, **(kwargs or {}))


def _by_mask(name: str, args: Any) -> bool:
    """Indexing with bools, whose result is as long as they hold."""
    if not name.startswith(("aten.index.", "aten.index_put")):
        return False
    return any(index is not None and str(index.dtype) == "torch.bool" for index in args[1])
