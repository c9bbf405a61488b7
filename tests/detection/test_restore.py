"""How many slices a network sees at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from braincli.detection.restore import _retreat, suited
from braincli.runtime.progress import Reporter


@pytest.mark.parametrize(
    ("device", "size", "slices"),
    [
        ("cpu", (96, 96), 16),
        ("cpu", (256, 256), 16),
        ("cuda", (96, 96), 64),
        ("cuda", (192, 192), 16),
        ("cuda", (256, 256), 16),
    ],
)
def test_a_gpu_gets_more_slices_where_they_are_small(device: str, size: tuple[int, int], slices: int) -> None:
    assert suited(torch.device(device), size) == slices


def test_who_flees_to_the_cpu_takes_no_more_slices_than_suit_it() -> None:
    method: Any = torch.nn.Identity()
    method.sequence = 1
    assert _retreat(76, torch.device("cuda"), "cpu", Reporter(), method) == (16, torch.device("cpu"))
    assert _retreat(8, torch.device("cuda"), "cpu", Reporter(), method) == (8, torch.device("cpu"))
    assert _retreat(76, torch.device("cuda"), "halve", Reporter(), method) == (38, torch.device("cuda"))
