"""Saliency and class activation maps of networks whose answers can be worked out by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braincli.networks.attribution import attributions


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
