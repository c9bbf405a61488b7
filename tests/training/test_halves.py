"""Weights of 16 bits that are made at once: the numbers of autocast."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from braincli.networks.norms import GroupNorm
from braincli.networks.wsunet import WSConv
from braincli.training.halves import Halves, widened


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), GroupNorm(2, 8), nn.SiLU(), WSConv(8, 8), nn.Flatten(), nn.Linear(8 * 36, 3)
    )


def loss(net: nn.Module) -> Tensor:
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        value: Tensor = net(torch.randn(4, 2, 6, 6)).float().square().sum()
    return value


def test_loss_and_gradients_are_those_of_autocast() -> None:
    net = network()
    parameters = list(net.parameters())
    expected = loss(net)
    gradients = torch.autograd.grad(expected, parameters)
    halves = Halves(net, torch.bfloat16)
    with halves.in_place():
        found = loss(net)
    ours = widened(torch.autograd.grad(found, halves.of(parameters)))
    assert torch.equal(found, expected)
    for one, other in zip(ours, gradients, strict=True):
        assert one is not None and one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_weights_come_back_and_their_changes_are_followed() -> None:
    net = network()
    parameters, halves = list(net.parameters()), Halves(net, torch.bfloat16)
    with torch.no_grad():
        net[0].weight.zero_()  # type: ignore[operator]
    with pytest.raises(KeyError), halves.in_place():
        assert net[0].weight.dtype == torch.bfloat16 and not net[0].weight.any()  # type: ignore[operator]
        raise KeyError
    assert all(one is other for one, other in zip(net.parameters(), parameters, strict=True))


def test_only_plain_layers_are_narrowed() -> None:
    net = network()
    with Halves(net, torch.bfloat16).in_place():
        kinds = {type(layer): layer.weight.dtype for layer in net if hasattr(layer, "weight")}
    assert kinds[nn.Conv2d] == kinds[nn.Linear] == torch.bfloat16
    assert kinds[GroupNorm] == kinds[WSConv] == torch.float32


def test_what_is_missing_stays_missing() -> None:
    assert widened([None]) == [None]
