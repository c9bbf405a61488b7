"""The autoencoder family: published sizes, latents, divergences."""

from __future__ import annotations

import math

import pytest
import torch

from braincli.networks.autoencoder import Autoencoder, divergence, dropout, halvings, normal, sample


def count(channels: int, side: int, heads: dict[str, int]) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in Autoencoder(channels, (side, side), heads).parameters())


def test_paper_sizes() -> None:
    assert count(1, 128, {"z": 128}) == 1_627_249
    assert count(1, 128, {"mean": 128, "log_sigma": 128}) == 1_758_449
    assert round(count(1, 96, {"z": 128}), -4) == 1_520_000
    assert round(count(4, 256, {"mean": 128, "log_sigma": 128}), -4) == 2_200_000


@pytest.mark.parametrize(
    ("size", "count"), [((128, 128), 4), ((96, 96), 3), ((96, 80), 3), ((256, 256), 5), ((32, 24), 1), ((18, 8), 1)]
)
def test_halvings_stop_at_eight_pixels_or_odd_sides(size: tuple[int, int], count: int) -> None:
    assert halvings(size, 8) == count


@pytest.mark.parametrize("spatial", [False, True])
def test_draws_images_of_the_size_it_saw(spatial: bool) -> None:
    torch.manual_seed(0)
    network = Autoencoder(2, (32, 48), {"z": 5}, latent=5, width=4, widest=16, least=8, spatial=spatial)
    image = torch.rand(3, 2, 32, 48)
    z = network.encode(image)["z"]
    assert z.shape == ((3, 1, 8, 12) if spatial else (3, 5))
    assert network.decode(z).shape == image.shape
    if spatial:
        larger = torch.rand(1, 2, 48, 64)
        assert network.decode(network.encode(larger)["z"]).shape == larger.shape


def test_divergence_is_that_of_torch() -> None:
    torch.manual_seed(0)
    mean, log_sigma = torch.randn(4, 6), torch.randn(4, 6)
    normal_01 = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(mean, log_sigma.exp()), normal_01)
    torch.testing.assert_close(divergence(mean, log_sigma), expected.sum(dim=1))
    assert not divergence(torch.zeros(1, 6), torch.zeros(1, 6)).any()


def test_samples_have_mean_and_deviation() -> None:
    mean, log_sigma = torch.full((20_000,), 2.0), torch.full((20_000,), math.log(0.5))
    sampled = sample(mean, log_sigma, torch.Generator().manual_seed(0))
    assert abs(sampled.mean().item() - 2) < 0.02
    assert abs(sampled.std().item() - 0.5) < 0.02
    assert torch.equal(sample(mean, log_sigma, None), mean)


def test_dropout_keeps_the_mean_and_needs_a_generator() -> None:
    ones = torch.ones(20_000)
    dropped = dropout(ones, 0.25, torch.Generator().manual_seed(0))
    assert abs(dropped.mean().item() - 1) < 0.02
    assert abs((dropped == 0).float().mean().item() - 0.25) < 0.02
    assert torch.equal(dropout(ones, 0.25, None), ones)


def test_normalisations_by_name() -> None:
    assert isinstance(normal("batch", 16), torch.nn.BatchNorm2d)
    for kind, groups in (("group", 2), ("layer", 1)):
        layer = normal(kind, 16)
        assert isinstance(layer, torch.nn.GroupNorm)
        assert layer.num_groups == groups
