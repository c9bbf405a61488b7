"""The weight-standardised U-Net: published sizes, standardised weights, siamese symmetry."""

from __future__ import annotations

import pytest
import torch

from braincli.networks.wsunet import SiameseWSUNet, WSConv, WSUNet, groups


def test_paper_sizes() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in WSUNet().parameters()) == 7_701_825
        assert sum(p.numel() for p in SiameseWSUNet().parameters()) == 16_736_705
        shallow = (64, 128, 256)  # the text of SADM; its repository has four levels
        assert round(sum(p.numel() for p in WSUNet(widths=shallow).parameters()), -4) == 1_860_000
        assert round(sum(p.numel() for p in SiameseWSUNet(widths=shallow).parameters()), -4) == 4_020_000


def test_groups_are_the_middle_divisor() -> None:
    assert [groups(c) for c in (64, 128, 256, 512, 8, 6, 1)] == [8, 16, 16, 32, 4, 3, 1]


@pytest.mark.parametrize("size", [(16, 24), (32, 16)])
def test_keeps_the_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = WSUNet(4, 2, widths=(4, 8, 12))
    assert network.stride == 4
    assert network(torch.rand(2, 4, *size)).shape == (2, 2, *size)


def test_scale_and_offset_of_the_weights_do_not_count() -> None:
    torch.manual_seed(0)
    layer, x = WSConv(3, 5), torch.rand(1, 3, 8, 8)
    before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(7).add_(3)
    torch.testing.assert_close(layer(x), before, rtol=1e-3, atol=1e-3)


def test_siamese_shares_its_encoder_and_tells_the_twocosine_distance() -> None:
    torch.manual_seed(0)
    network = SiameseWSUNet(1, 1, widths=(4, 8))
    a, b = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    output = network(a, b)
    assert output.shape == a.shape
    assert not torch.allclose(output, network(b, a))
    single = network.encoder(a)
    torch.testing.assert_close(network.decoder([torch.cat([x, x], dim=1) for x in single]), network(a, a))
