"""How many slices a network sees at a time."""

from __future__ import annotations

import pytest
import torch

from braincli.detection.restore import suited


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
