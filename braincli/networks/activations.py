"""Nonlinearities by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

LEAK = 0.2  # of leaky ReLU
Activation = Literal["", "silu", "relu", "leaky"]
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "silu": F.silu,
    "relu": F.relu,
    "leaky": partial(F.leaky_relu, negative_slope=LEAK),
}
