"""Optimisers as they run fastest on their device, without a number that the host has to read or send.

Adam is one fused kernel instead of a dozen for each tensor. On a GPU its learning rate and step count lie in the GPU's
memory, so that a captured step can be replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Optimizers = dict[str, torch.optim.Optimizer]
FUSED = ("cuda", "cpu")


def prepare(optimizers: Optimizers, device: torch.device) -> None:
    """Choose the fastest form; to be called again after a state was loaded, which may come from another device."""
    for optimizer in optimizers.values():
        if not isinstance(optimizer, torch.optim.Adam):
            continue
        for group in optimizer.param_groups:
            group |= {"foreach": False, "fused": device.type in FUSED, "capturable": False}
            group["lr"] = _rate(group["lr"], device)
        for state in optimizer.state.values():
            state["step"] = torch.as_tensor(state["step"], dtype=torch.float32).to(device)


def rates(optimizers: Optimizers) -> dict[str, list[float]]:
    """Learning rate of every group."""
    return {name: [float(group["lr"]) for group in o.param_groups] for name, o in optimizers.items()}


def set_rates(optimizers: Optimizers, full: dict[str, list[float]], factor: float) -> None:
    """Learning rates of ``factor`` times ``full``."""
    for name, optimizer in optimizers.items():
        for group, rate in zip(optimizer.param_groups, full[name], strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor


def parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """All that ``optimizer`` steps."""
    return [p for group in optimizer.param_groups for p in group["params"]]


@torch.no_grad()
def clip(gradients: Sequence[Tensor], most: float) -> Tensor:
    """Scale ``gradients`` in place, so that their norm as a whole is at most ``most``; the norm that they had."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))  # type: ignore[arg-type]
    torch._foreach_mul_(list(gradients), (most / (norm + 1e-6)).clamp_max(1.0))
    return norm


def _rate(rate: Any, device: torch.device) -> float | Tensor:
    """A number, in the GPU's memory on a GPU."""
    if device.type != "cuda":
        return float(rate)
    return torch.as_tensor(rate, dtype=torch.float32).to(device)
