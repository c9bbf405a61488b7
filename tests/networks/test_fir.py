"""Resampling with [1, 3, 3, 1]: what it does, and that both ways of doing it agree."""

from __future__ import annotations

import pytest
import torch

from braincli.networks.fir import by_matrix, doubled, halved


def test_the_filter_weighs_four_neighbours() -> None:
    row = torch.zeros(1, 1, 8, 8)
    row[0, 0, :, 3] = 8.0
    assert halved(row)[0, 0, 1].tolist() == [0, 3, 1, 0]
    assert doubled(row)[0, 0, 4].tolist() == [0] * 5 + [2, 6, 6, 2] + [0] * 7


@pytest.mark.parametrize("halving", [True, False])
def test_matrices_give_what_convolutions_give(halving: bool) -> None:
    torch.manual_seed(0)
    image = torch.randn(3, 5, 12, 8, requires_grad=True)
    by_convolution, by_product = (halved if halving else doubled)(image), by_matrix(image, halving=halving)
    torch.testing.assert_close(by_product, by_convolution, rtol=1e-5, atol=1e-6)
    assert by_product.is_contiguous(memory_format=torch.channels_last)
    towards = torch.randn_like(by_convolution)
    one, other = (torch.autograd.grad(out, image, towards)[0] for out in (by_product, by_convolution))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
