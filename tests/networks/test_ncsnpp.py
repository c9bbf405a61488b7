"""Group normalisation in 16 bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from braincli.networks import ncsnpp


@pytest.mark.parametrize("side", [8, 40])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_way_by_float32_changes_no_bit(side: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = ncsnpp.norm(32)
    plain = nn.GroupNorm(layer.num_groups, 32, eps=layer.eps)
    image = torch.randn(2, 32, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        result, expected = layer(image), plain(image)
    assert result.dtype is dtype and torch.equal(result, expected)
    assert result.is_contiguous(memory_format=torch.channels_last)
