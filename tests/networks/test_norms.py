"""Norms that keep layout and type: the values, gradients and second gradients of PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.networks.norms import normalised

GROUPS = 4


def inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    image = (2 * torch.randn(3, 12, 7, 5) + 0.7).to(dtype).to(memory_format=torch.channels_last)
    return image.requires_grad_(), torch.randn(12, requires_grad=True), torch.randn(12, requires_grad=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_values_and_gradients_are_those_of_group_norm(dtype: torch.dtype, tolerance: float) -> None:
    image, weight, bias = inputs(dtype)
    output = normalised(image, GROUPS, weight, bias, 1e-5)
    expected = F.group_norm(image.float(), GROUPS, weight, bias, 1e-5)
    assert output.dtype == dtype and output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output.float(), expected, rtol=tolerance, atol=tolerance)
    towards = torch.randn_like(expected)
    ours = torch.autograd.grad(output, [image, weight, bias], towards.to(dtype))
    theirs = torch.autograd.grad(expected, [image, weight, bias], towards)
    for one, other in zip(ours, theirs, strict=True):
        largest = other.abs().max()
        torch.testing.assert_close(one.float() / largest, other.float() / largest, rtol=0, atol=tolerance)


@pytest.mark.parametrize("groups", [GROUPS, 12])
def test_gradients_of_gradients_are_right(groups: int) -> None:
    image = torch.randn(2, 12, 3, 2, dtype=torch.float64, requires_grad=True)
    weight, bias = (torch.randn(12, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def function(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return normalised(x, groups, w, b, 1e-5)

    assert torch.autograd.gradcheck(function, (image, weight, bias))
    assert torch.autograd.gradgradcheck(function, (image, weight, bias))


def test_each_image_of_its_own_without_parameters() -> None:
    image = inputs(torch.float32)[0]
    torch.testing.assert_close(normalised(image, 12, None, None, 1e-5), F.instance_norm(image), rtol=1e-5, atol=1e-5)


def test_autocast_changes_no_type() -> None:
    image, weight, bias = inputs(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert normalised(image, GROUPS, weight, bias, 1e-5).dtype == torch.bfloat16


def test_a_constant_image_becomes_the_bias() -> None:
    image = torch.full((1, 4, 8, 8), 1000.0)
    assert normalised(image, 2, torch.ones(4), torch.full((4,), 0.5), 1e-5).sub(0.5).abs().max() < 1e-2
