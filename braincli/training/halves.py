"""Weights of 16 bits for a GPU, made all at once.

Autocast makes one of each weight by a kernel of its own, and as many again for the gradients: a quarter of all kernels
of a small network, whose steps cost a GPU little more than their number. Here few kernels make all of either. The
numbers are autocast's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)  # which autocast computes in 16 bits


class Halves:
    """Copies of 16 bits of the float32 weights of ``module``'s plain convolutions and dense layers."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        self.made: dict[Tensor, nn.Parameter] = {}
        self.places: list[tuple[nn.Module, str, nn.Parameter]] = []
        for layer in module.modules():
            if type(layer) not in LAYERS:  # others do more with their weights than to multiply by them
                continue
            for name, whole in layer.named_parameters(recurse=False):
                if whole.dtype == torch.float32:
                    self.places.append((layer, name, whole))
                    self.made[whole] = nn.Parameter(whole.detach().to(dtype), requires_grad=whole.requires_grad)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """``module`` computes with the copies, made anew of its weights, meanwhile."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.made.values()), list(self.made))
        for layer, name, whole in self.places:
            setattr(layer, name, self.made[whole])
        try:
            yield
        finally:
            for layer, name, whole in self.places:
                setattr(layer, name, whole)

    def of(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """What takes the place of each of ``parameters``."""
        return [self.made.get(parameter, parameter) for parameter in parameters]


def widened(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """``gradients`` in float32."""
    narrow = [part for part in gradients if part is not None and part.dtype != torch.float32]
    wide = [torch.empty_like(part, dtype=torch.float32) for part in narrow]
    if narrow:
        torch._foreach_copy_(wide, narrow)
    found = iter(wide)
    return [next(found) if part is not None and part.dtype != torch.float32 else part for part in gradients]
