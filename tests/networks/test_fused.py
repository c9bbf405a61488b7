"""Chains that are compiled for large features on a GPU, and what is done where they cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from braincli.networks import fused
from braincli.networks.ncsnpp import NCSNpp


def test_a_chain_is_compiled_once_and_for_large_features_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda chain, dynamic: asked.append(dynamic) or chain)
    doubled = fused.in_one_pass(lambda x: 2 * x)
    assert doubled(torch.ones(3)).tolist() == [2, 2, 2] and not asked
    monkeypatch.setattr(fused, "is_large", lambda x: True)
    assert doubled(torch.ones(3)).tolist() == doubled(torch.ones(3)).tolist() == [2, 2, 2]
    assert asked == [True]


def test_what_cannot_be_compiled_is_computed_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def broken(chain: Any, dynamic: bool) -> Any:
        def fails(x: Tensor) -> Tensor:
            tried.append(1)
            raise RuntimeError("no Triton here")

        return fails

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(fused, "is_large", lambda x: True)

    def halved(x: Tensor) -> Tensor:
        return x / 2

    chain = fused.in_one_pass(halved)
    with pytest.warns(RuntimeWarning, match="halved is not compiled: no Triton here"):
        assert chain(torch.ones(2)).tolist() == [0.5, 0.5]
    assert chain(torch.ones(2)).tolist() == [0.5, 0.5] and len(tried) == 1


def test_memory_that_does_not_suffice_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(torch, "compile", lambda chain, dynamic: full)
    monkeypatch.setattr(fused, "is_large", lambda x: True)
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        fused.in_one_pass(full)(torch.ones(1))


@pytest.mark.parametrize("rows", [1, 2])
def test_a_large_network_gives_what_a_small_one_gives(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = NCSNpp(2, 1, width=8, multipliers=(1, 2), blocks=1, attention=(1,))
    with torch.no_grad():  # an untrained one ends in zeros
        for parameter in net.parameters():
            parameter += 0.02 * torch.randn(parameter.shape)
    image, level = torch.randn(2, 2, 16, 16), torch.linspace(-1, 1, 2)[:rows]

    def outcome() -> list[Tensor]:
        output = net(image, level)
        return [output, *torch.autograd.grad(output.square().sum(), list(net.parameters()))]

    expected = outcome()
    monkeypatch.setattr(torch, "compile", lambda chain, dynamic: chain)
    monkeypatch.setattr(fused, "is_large", lambda x: True)
    for one, other in zip(outcome(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
