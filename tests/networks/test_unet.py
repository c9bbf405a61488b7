"""The U-Net family has the published sizes, and its options do what they say."""

from __future__ import annotations

import pytest
import torch

from braincli.networks.unet import Encoder, UNet

BEHRENDT = {"width": 128, "blocks": 3, "injection": "scale-shift", "resampling": "residual"}
WOLLEB = {"width": 128, "multipliers": (1, 1, 2, 2, 4, 4), "blocks": 2, "attention": (4,)}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("inputs", "outputs", "options", "parameters"),
    [
        (4, 8, WOLLEB | {"classes": 2}, 113_681_160),
        (4, 8, WOLLEB, 113_680_136),
        (5, 2, WOLLEB, 113_674_370),
        (3, 6, WOLLEB | {"multipliers": (1, 1, 2, 3, 4), "attention": (3,)}, 85_606_150),
        (1, 1, BEHRENDT | {"multipliers": (1, 2, 2)}, 37_513_857),
        (1, 1, BEHRENDT | {"multipliers": (1, 1, 2)}, 26_198_145),
        (1, 1, BEHRENDT | {"multipliers": (1, 1, 2), "resampling": "transposed"}, 25_079_553),
        (1, 1, BEHRENDT | {"multipliers": (1, 2, 2), "condition": 512}, 44_068_481),
        (1, 1, WOLLEB | {"attention": (3, 4, 5), "resampling": "residual"}, 131_649_793),
    ],
)
def test_published_sizes(inputs: int, outputs: int, options: dict[str, object], parameters: int) -> None:
    with torch.device("meta"):
        assert count(UNet(inputs, outputs, **options)) == parameters


def test_published_sizes_of_the_encoder() -> None:
    with torch.device("meta"):
        assert count(Encoder(4, 2, size=(256, 256))) == 5_452_962
        assert count(Encoder(4, 1, size=(256, 256))) == 5_452_833
        assert count(Encoder(3, 1, size=(128, 128), width=128, multipliers=(1, 1, 2, 3, 4), attention=(2, 3, 4))) == (
            67_061_121
        )


def tiny(**options: object) -> UNet:
    torch.manual_seed(0)
    network = UNet(2, 2, width=8, multipliers=(1, 2), blocks=1, attention=(1,), **options)
    with torch.no_grad():  # the last convolutions start at zero
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return network.eval()


@pytest.mark.parametrize("resampling", ["residual", "interpolated", "transposed"])
@pytest.mark.parametrize("injection", ["add", "scale-shift"])
def test_shapes_and_time(resampling: str, injection: str) -> None:
    network = tiny(resampling=resampling, injection=injection, patch=2, head=8)
    assert network.stride == 4
    x = torch.randn(2, 2, 16, 24)
    early, late = network(x, torch.tensor([3.0, 3.0])), network(x, torch.tensor([3.0, 700.5]))
    assert early.shape == x.shape
    assert torch.allclose(early[0], late[0], atol=1e-5)
    assert not torch.allclose(early[1], late[1], atol=1e-3)


def test_starts_at_zero() -> None:
    assert not UNet(1, 1, width=8, multipliers=(1, 2))(torch.randn(1, 1, 8, 8), torch.ones(1)).any()


def test_no_class_is_the_unconditional_network() -> None:
    network, x, t = tiny(classes=2), torch.randn(2, 2, 8, 8), torch.ones(2)
    none = network(x, t)
    assert torch.equal(none, network(x, t, label=torch.tensor([-1, -1])))
    mixed = network(x, t, label=torch.tensor([-1, 1]))
    assert torch.allclose(mixed[0], none[0], atol=1e-6)
    assert not torch.allclose(mixed[1], none[1], atol=1e-4)


def test_condition_reaches_the_output() -> None:
    network, x, t = tiny(condition=6), torch.randn(2, 2, 8, 8), torch.ones(2)
    one, two = network(x, t, condition=torch.zeros(2, 6)), network(x, t, condition=torch.ones(2, 6))
    assert not torch.allclose(one, two, atol=1e-4)


def test_encoder_takes_other_sizes() -> None:
    torch.manual_seed(0)
    network = Encoder(1, 3, size=(16, 16), width=8, multipliers=(1, 2), blocks=1, attention=(1,), head=8)
    assert network(torch.randn(2, 1, 16, 24), torch.tensor([1.0, 9.0])).shape == (2, 3)
