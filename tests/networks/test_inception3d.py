"""Where the places of the volume network's maps are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from braincli.networks import inception3d
from braincli.networks.inception3d import InceptionResNet3d, Padding


@pytest.mark.parametrize(("padding", "size"), [("valid", 92), ("same", 88)])
def test_what_a_place_sees_lies_around_its_voxel(padding: Padding, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With kernels that average, the slope of a place is symmetric around the voxel that it says; what residual blocks
    add is left out, for they keep the place and reach the ends of the volume."""
    monkeypatch.setattr(inception3d.F, "instance_norm", lambda x: x)
    shape = (size, size + 16, 90)
    network = InceptionResNet3d(shape, latent=2, width=0.01, blocks=(1, 1, 1), padding=padding).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.constant_(layer.weight, 1.0 / layer.weight[0].numel())
        if isinstance(layer, inception3d.Block):
            layer.scale = 0.0
        for name, part in layer.named_children():
            if isinstance(part, nn.MaxPool3d):
                setattr(layer, name, nn.AvgPool3d(part.kernel_size, part.stride, part.padding))
    volume = torch.ones(1, 1, *shape, requires_grad=True)
    found: list[Any] = []
    layers = network.layers()
    for layer in layers:
        layer.module.register_forward_hook(lambda module, given, output: found.append(output))
    network.body(network.stem(volume))
    assert [tuple(map_.shape[2:]) for map_ in found] == [layer.shape for layer in layers]
    assert [layer.pitch for layer in layers] == [8, 16, 32]
    for layer, map_ in zip(layers[:2], found, strict=False):  # what the last sees reaches the ends, too
        place = [side // 2 for side in layer.shape]
        (slope,) = torch.autograd.grad(map_[0, :, place[0], place[1], place[2]].sum(), volume, retain_graph=True)
        seen = slope[0, 0].double()
        for axis in range(3):
            along = seen.sum(dim=tuple(other for other in range(3) if other != axis))
            inside = along[1:-1].count_nonzero() == along.count_nonzero()
            middle = float((along * torch.arange(shape[axis])).sum() / along.sum())
            assert inside and middle == pytest.approx(layer.first + layer.pitch * place[axis], abs=1e-3)
