"""Averaged weights, and the batch statistics that fit them; gradients that are cut, or not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from braincli.training.average import Average, statistics
from braincli.training.optimizers import clip


def test_batch_statistics_are_averaged_as_weights_are() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    held = statistics(net)  # type: ignore[arg-type]
    assert set(held) == {"1.running_mean", "1.running_var"}, "and no counters"
    average = Average(dict(net.named_parameters()) | held, 0.5)
    means = [held["1.running_mean"].clone()]
    for _ in range(40):
        net(torch.randn(16, 2) + 3)
        average.update(dict(net.named_parameters()) | held)
        means.append(held["1.running_mean"].clone())
    expected = means[0]
    for step, mean in enumerate(means[1:], start=1):
        decay = min(0.5, step / (10 + step))
        expected = decay * expected + (1 - decay) * mean
    average.copy_to(dict(net.named_parameters()) | held)
    torch.testing.assert_close(net[1].running_mean, expected)
    assert not torch.allclose(net[1].running_mean, means[-1], atol=1e-6)


def test_without_memory_the_last_weights_stay() -> None:
    weight = {"w": torch.zeros(3)}
    average = Average(weight, 0.0)
    for value in (1.0, 7.3):
        weight["w"].fill_(value)
        average.update(weight)
    average.copy_to(weight)
    assert weight["w"].tolist() == pytest.approx([7.3] * 3)


@pytest.mark.parametrize(("most", "expected"), [(1.0, [0.6, 0.8]), (10.0, [3.0, 4.0]), (math.inf, [3.0, 4.0])])
def test_long_gradients_are_cut_where_a_limit_is_given(most: float, expected: list[float]) -> None:
    gradients = [torch.tensor([3.0]), torch.tensor([4.0])]
    assert float(clip(gradients, most)) == pytest.approx(5)
    assert torch.cat(gradients).tolist() == pytest.approx(expected, rel=1e-5)
