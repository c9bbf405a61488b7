"""Batches as methods learn from them, for tests."""

from __future__ import annotations

from typing import Any

import torch

from braincli.methods.base import Batch, Losses, Method, Task


def still(**options: Any) -> dict[str, Any]:
    """Settings of a lesson in which nothing varies."""
    return {"lesson": {"vary": 0.0, "drop": 0.0, **options}}


def task(method: Method, given: Batch, stage: str = "main", seed: int = 0) -> Task:
    """What ``method`` learns from ``given``."""
    return method.task(given, stage, torch.Generator().manual_seed(seed))


def losses(method: Any, given: Batch, stage: str = "main", seed: int = 0) -> Losses:
    """The losses of ``given``, as the training loop asks for them."""
    generator = torch.Generator().manual_seed(seed)
    return method.losses(method.task(given, stage, generator), stage, generator)  # type: ignore[no-any-return]
