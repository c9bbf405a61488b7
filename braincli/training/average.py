"""Averaged weights: what is saved and what predicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from braincli.methods.base import Method
from braincli.networks.subnormal import flush


def statistics(method: Method) -> dict[str, Tensor]:
    """Running statistics of batch normalisation: averaged weights predict with averaged ones."""
    return {name: b for name, b in method.named_buffers() if name.endswith(("running_mean", "running_var"))}


class Average:
    """Exponential moving average of parameters; with a short memory at the start (Karras et al. 2022)."""

    def __init__(self, parameters: dict[str, Tensor], decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.shadow = {name: p.detach().clone() for name, p in parameters.items()}

    def update(self, parameters: dict[str, Tensor]) -> None:
        """Take in the current parameters."""
        self.steps += 1
        decay = min(self.decay, self.steps / (10 + self.steps))
        shadow, now = list(self.shadow.values()), [parameters[name].detach() for name in self.shadow]
        if shadow:
            torch._foreach_lerp_(shadow, now, 1 - decay)

    @torch.no_grad()
    def copy_to(self, parameters: dict[str, Tensor]) -> None:
        """The averaged weights become the weights; numbers that decay has made subnormal become 0."""
        for name, value in flush(self.shadow).items():
            parameters[name].copy_(value)

    @contextmanager
    def in_place(self, method: Method, parameters: dict[str, Tensor]) -> Iterator[None]:
        """``method`` predicts with the averaged weights meanwhile; afterwards it is as it was."""
        state = {name: value.clone() for name, value in method.state_dict().items()}
        self.copy_to(parameters)
        method.eval()
        yield
        method.load_state_dict(state)
        method.train()
