"""Group normalisation in 16 bits, and one noise level for all rows."""

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


def test_one_noise_level_for_all_rows_is_the_same_as_one_for_each() -> None:
    torch.manual_seed(0)
    network = ncsnpp.NCSNpp(2, 1, width=8, multipliers=(1, 2), blocks=1, attention=(), fir=False, pyramids=False)
    with torch.no_grad():
        for parameter in network.parameters():  # the last convolutions begin at 0
            parameter += 0.1 * torch.randn(parameter.shape)
    image, level = torch.randn(3, 2, 8, 8), torch.tensor([0.7])
    with torch.inference_mode():
        result, expected, other = (network(image, each) for each in (level, level.repeat(3), -level))
    torch.testing.assert_close(result, expected)
    assert (result - other).abs().max() > 0.01
