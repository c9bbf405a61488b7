"""Norms by whatever is fast: the values of PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from braincli.networks import norms
from braincli.networks.activations import ACTIVATIONS, Activation
from braincli.networks.norms import GroupNorm, InstanceNorm2d


def image(dtype: torch.dtype = torch.float32) -> Tensor:
    torch.manual_seed(0)
    return (2 * torch.randn(3, 12, 7, 5) + 0.7).to(dtype).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("then", list(ACTIVATIONS))
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_shift_and_activation_are_those_of_separate_operations(rows: int, then: Activation) -> None:
    x, layer = image(), GroupNorm(4, 12)
    with torch.no_grad():
        layer.weight.normal_()
    shift = torch.randn(rows, 12) if rows else None
    expected = F.group_norm(x if shift is None else x + shift[:, :, None, None], 4, layer.weight, layer.bias)
    assert torch.equal(layer(x, shift, then), ACTIVATIONS[then](expected))


def test_small_images_of_16_bits_are_normalised_in_32() -> None:
    x, layer = image(torch.bfloat16), GroupNorm(4, 12)
    found = layer(x)
    assert found.dtype == torch.bfloat16 and found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, F.group_norm(x.float(), 4).bfloat16())


def test_instances_are_groups_of_one_channel() -> None:
    x = image()
    torch.testing.assert_close(InstanceNorm2d(12)(x), F.instance_norm(x))


def test_kernels_are_for_gpus_alone() -> None:
    large = torch.empty(1, 16, 128, 128).to(memory_format=torch.channels_last)
    assert large.numel() >= norms.LARGE and not norms.fused(large)
