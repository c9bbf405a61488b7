"""Saliency and class activation maps of networks whose answers can be worked out by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braincli.networks.attribution import attributions, enlarged, places


class Pooled(nn.Module):
    """Features are averaged and weighted, as CAM wants them: a linear function of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(2, 3, 2, stride=2, bias=False)
        self.weights = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def forward(self, image: Tensor) -> Tensor:
        return self.features(image).mean(dim=(2, 3)) @ self.weights


def test_grad_cam_of_pooled_features_is_cam() -> None:
    """Zhou et al. 2016, Eq. 2, but for the number of places, by which Selvaraju et al. divide."""
    torch.manual_seed(0)
    network, image = Pooled(), torch.rand(2, 2, 8, 6)
    with torch.inference_mode():
        value, saliency, activation = attributions(network, network.features, image)
        cam = (network.features(image) * network.weights[:, None, None]).sum(dim=1, keepdim=True).relu() / 12
    assert activation.shape == saliency.shape == (2, 1, 8, 6) and value.shape == (2,)
    enlarged = torch.nn.functional.interpolate(cam / 12 * 12, size=(8, 6), mode="bilinear", align_corners=False)
    torch.testing.assert_close(activation, enlarged)


def test_saliency_is_the_largest_slope_over_channels() -> None:
    torch.manual_seed(0)
    network, image = Pooled(), torch.rand(1, 2, 4, 4)
    _, saliency, _ = attributions(network, network.features, image)
    kernel = torch.einsum("k,kcij->cij", network.weights, network.features.weight.detach()) / 4
    torch.testing.assert_close(saliency[0, 0], kernel.abs().amax(dim=0).repeat(2, 2))


def test_rows_are_explained_one_by_one_and_nothing_stays_behind() -> None:
    torch.manual_seed(0)
    network, image = Pooled(), torch.rand(3, 2, 8, 8)
    both = attributions(network, network.features, image)
    alone = attributions(network, network.features, image[1:2])
    for whole, one in zip(both, alone, strict=True):
        torch.testing.assert_close(whole[1:2], one)
    assert not network.features._forward_hooks and not image.requires_grad
    assert all(p.grad is None for p in network.parameters())


def test_contrasts_that_are_rows_share_one_map() -> None:
    torch.manual_seed(0)
    features = nn.Conv2d(1, 2, 1)

    def value(image: Tensor) -> Tensor:
        rows = features(image.reshape(-1, 1, *image.shape[2:])).mean(dim=(1, 2, 3))
        return rows.reshape(-1, image.shape[1]).mean(dim=1)

    _, saliency, activation = attributions(value, features, torch.rand(2, 4, 6, 6))
    assert saliency.shape == activation.shape == (2, 1, 6, 6)


class Kept(nn.Module):
    """Features of volumes keep where they are: each place has weights of its own, or all the same."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.features, self.weights = nn.Conv3d(1, 2, 2, stride=2, bias=False), nn.Parameter(weights)

    def forward(self, volume: Tensor) -> Tensor:
        return (self.features(volume) * self.weights).sum(dim=(1, 2, 3, 4))


def test_a_map_of_places_says_what_each_adds_to_the_value() -> None:
    """Draelos & Carin 2020; where the weights of places cancel, the mean slope of Grad-CAM would say nothing."""
    torch.manual_seed(0)
    network, volume = Kept(torch.randn(2, 3, 2, 2)), torch.rand(2, 1, 6, 4, 4)
    value, saliency, activation = places(network, network.features, volume, averaged=False)
    added = (network.features(volume) * network.weights).sum(dim=1, keepdim=True).detach()
    torch.testing.assert_close(value, added.sum(dim=(1, 2, 3, 4)))
    torch.testing.assert_close(activation, added.relu())
    assert saliency.shape == volume.shape and activation.shape == (2, 1, 3, 2, 2)


def test_of_averaged_features_both_maps_are_cam() -> None:
    torch.manual_seed(0)
    network, volume = Kept(torch.tensor([1.0, -0.7])[:, None, None, None]), torch.rand(1, 1, 6, 6, 6)
    *_, averaged = places(network, network.features, volume)
    *_, single = places(network, network.features, volume, averaged=False)
    torch.testing.assert_close(averaged, single)


def test_places_are_enlarged_to_where_they_are() -> None:
    """Place i is voxel 2 + 4 i: a ramp over places is one over voxels, held beyond the first and the last."""
    ramp = torch.arange(3.0)[:, None, None].expand(3, 2, 4)
    found = enlarged(ramp, (14, 9, 16), 2, 4)
    wanted = ((torch.arange(14.0) - 2) / 4).clamp(0, 2)
    torch.testing.assert_close(found, wanted[:, None, None].expand(14, 9, 16))
    spot = torch.zeros(3, 3, 4)
    spot[1, 1, 2] = 1
    assert enlarged(spot, (14, 15, 16), 2, 4).nonzero().float().mean(0).tolist() == [6.0, 6.0, 10.0]
