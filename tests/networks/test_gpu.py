"""The kernels of a GPU, run by Triton's interpreter where there is none: values and gradients of PyTorch's own."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="comes with PyTorch for NVIDIA GPUs")

from braincli.networks import gpu, ncsnpp, norms
from braincli.networks.activations import ACTIVATIONS, Activation
from braincli.networks.cyclegan import ResNetGenerator
from braincli.networks.ncsnpp import NCSNpp
from braincli.networks.unet import UNet

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LAST = {"memory_format": torch.channels_last}


def inputs(rows: int, channels: int, parameters: bool, shifts: int | None) -> list[Tensor | None]:
    torch.manual_seed(0)
    image = (2 * torch.randn(rows, channels, 12, 9) + 0.7).to(DEVICE, **LAST)  # type: ignore[call-overload]
    weight, bias = (torch.randn(channels, device=DEVICE) if parameters else None for _ in range(2))
    shift = None if shifts is None else torch.randn(shifts, channels, device=DEVICE)
    return [part if part is None else part.requires_grad_() for part in (image, weight, bias, shift)]


def plain(image: Tensor, groups: int, weight: Any, bias: Any, shift: Tensor | None, then: Activation) -> Tensor:
    y = F.group_norm(image if shift is None else image + shift[:, :, None, None], groups, weight, bias, 1e-5)
    return ACTIVATIONS[then](y)


@pytest.mark.parametrize("then", list(ACTIVATIONS))
@pytest.mark.parametrize("shifts", [None, 1, 2])
@pytest.mark.parametrize("parameters", [True, False])
@pytest.mark.parametrize(("channels", "groups"), [(32, 8), (12, 12), (192, 32)])
def test_values_and_gradients(
    channels: int, groups: int, parameters: bool, shifts: int | None, then: Activation
) -> None:
    given = inputs(2, channels, parameters, shifts)
    image, weight, bias, shift = given
    assert image is not None
    found = gpu.normalised(image, groups, weight, bias, 1e-5, shift, then)
    expected = plain(image, groups, weight, bias, shift, then)
    assert found.is_contiguous(**LAST)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    wanted = [part for part in given if part is not None]
    towards = torch.randn_like(expected)
    pairs = zip(*(torch.autograd.grad(y, wanted, towards) for y in (found, expected)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * max(1.0, other.detach().abs().max().item()))


def test_gradients_of_gradients() -> None:
    image, weight, bias, shift = inputs(2, 12, True, 2)
    assert image is not None
    made = []
    for y in (
        gpu.normalised(image, 4, weight, bias, 1e-5, shift, "silu"),
        plain(image, 4, weight, bias, shift, "silu"),
    ):
        first = torch.autograd.grad(y.sin().sum(), [image, weight, shift], create_graph=True)  # type: ignore[list-item]
        made.append(torch.autograd.grad(sum((part**2).sum() for part in first), [image, weight, shift]))  # type: ignore[arg-type]
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * other.detach().abs().max().item())


def test_bfloat16_is_computed_in_float32() -> None:
    image = inputs(2, 32, False, None)[0]
    assert image is not None
    half = image.detach().bfloat16()
    found = gpu.normalised(half, 8, None, None, 1e-5, None, "silu")
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, F.silu(F.group_norm(half.float(), 8)).bfloat16(), rtol=1e-2, atol=1e-3)


def test_joined() -> None:
    x, _, bias, _ = inputs(2, 24, True, None)
    assert x is not None and bias is not None
    y = torch.randn_like(x).requires_grad_()
    found, expected = gpu.joined(x, y, bias, 0.7), 0.7 * (x + y + bias[:, None, None])
    torch.testing.assert_close(found, expected)
    towards = torch.randn_like(x)
    for one, other in zip(*(torch.autograd.grad(z, [x, y, bias], towards) for z in (found, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [1, 3])
def test_reflected(width: int) -> None:
    image = inputs(2, 24, False, None)[0]
    assert image is not None
    found, expected = gpu.reflected(image, width), F.pad(image, (width,) * 4, mode="reflect")
    assert torch.equal(found, expected) and found.is_contiguous(**LAST)
    towards = torch.randn_like(expected)
    one, other = (torch.autograd.grad(y, image, towards, create_graph=True)[0] for y in (found, expected))
    torch.testing.assert_close(one, other)
    y = gpu.reflected(image.sin(), width).square().sum()
    (first,) = torch.autograd.grad(y, image, create_graph=True)
    z = F.pad(image.sin(), (width,) * 4, mode="reflect").square().sum()
    (second,) = torch.autograd.grad(z, image, create_graph=True)
    torch.testing.assert_close(*(torch.autograd.grad(part.square().sum(), image)[0] for part in (first, second)))


@pytest.mark.parametrize("kind", ["score", "score at one level", "additive", "scale-shift", "translator"])
def test_networks_give_what_they_give_without(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (1,)}
    net: torch.nn.Module
    if kind == "translator":
        net = ResNetGenerator(2, width=4, blocks=1)
    elif kind.startswith("score"):
        net = NCSNpp(2, 1, **shape)
    else:
        net = UNet(2, 1, **shape, injection="add" if kind == "additive" else "scale-shift")
    net.to(DEVICE, **LAST)  # type: ignore[call-overload]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    image = torch.randn(2, 2, 16, 12).to(DEVICE, **LAST)  # type: ignore[call-overload]
    levels = torch.linspace(1, 3, 1 if kind == "score at one level" else 2).to(DEVICE)
    made = []
    for use in (False, True):
        for room in (norms, ncsnpp):
            monkeypatch.setattr(room, "fused", lambda x, use=use: use and x.is_contiguous(**LAST))
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            output = net(image) if kind == "translator" else net(image, levels)
        made.append([output, *torch.autograd.grad(output.sin().sum(), list(net.parameters()))])
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=5e-3 * max(1.0, other.detach().abs().max().item()))
