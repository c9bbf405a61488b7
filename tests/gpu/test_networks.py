"""What networks do otherwise on a GPU gives what they do on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from braincli.networks import fir, norms
from braincli.networks.cyclegan import ReplayPool
from braincli.networks.ncsnpp import NCSNpp
from braincli.networks.norms import GroupNorm, InstanceNorm2d

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

GPU = torch.device("cuda")


def both(module: nn.Module, image: Tensor, dtype: torch.dtype) -> list[list[Tensor]]:
    """Output and gradients of ``module`` in float32 on the CPU and in ``dtype`` on the GPU."""
    made = []
    towards = torch.randn_like(module(image))
    for device, kind in ((torch.device("cpu"), torch.float32), (GPU, dtype)):
        module.to(device)
        x = image.to(device, kind).contiguous(memory_format=torch.channels_last).requires_grad_()
        output = module(x)
        assert output.dtype == kind
        gradients = torch.autograd.grad(output, [x, *module.parameters()], towards.to(device, kind))
        made.append([part.float().cpu() for part in (output, *gradients)])
    return made


def assert_close(made: list[list[Tensor]], tolerance: float) -> None:
    for one, other in zip(*made, strict=True):
        assert (one - other).abs().max() < tolerance * one.abs().max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("large", [0, 2**30], ids=["as large ones", "as small ones"])
@pytest.mark.parametrize("kind", ["group", "instance"])
def test_norms(kind: str, large: int, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "LARGE", large)
    torch.manual_seed(0)
    module = GroupNorm(8, 32) if kind == "group" else InstanceNorm2d(32)
    assert_close(both(module, 2 * torch.randn(4, 32, 24, 20) + 1, dtype), tolerance)


class Move(nn.Module):
    """FIR resampling as a module."""

    def __init__(self, *, halving: bool) -> None:
        super().__init__()
        self.halving = halving

    def forward(self, x: Tensor) -> Tensor:
        return fir.halved(x) if self.halving else fir.doubled(x)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("halving", [True, False])
def test_fir(halving: bool, dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    assert_close(both(Move(halving=halving), torch.randn(4, 16, 24, 20), dtype), tolerance)


def test_a_score_network_in_bfloat16_keeps_its_layout_and_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "LARGE", 0)
    torch.manual_seed(0)
    net = NCSNpp(2, 1, width=32, multipliers=(1, 2, 2), blocks=1, attention=(2,)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.02 * torch.randn(parameter.shape)
    image, level = torch.randn(4, 2, 32, 32), torch.linspace(-2, 3, 4)
    kinds = []
    for module in net.modules():
        if isinstance(module, GroupNorm):
            module.register_forward_hook(lambda _, given, out: kinds.append((out.dtype, out.stride(1))))
    with torch.inference_mode():
        expected = net(image, level)
        kinds.clear()
        net.to(GPU, memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.autocast("cuda", dtype=torch.bfloat16):
            output = net(image.to(GPU), level.to(GPU))
    assert (output.float().cpu() - expected).abs().mean() < 0.02 * expected.abs().mean()
    assert set(kinds) == {(torch.bfloat16, 1)}


def test_replay_pool_fills_and_swaps_without_waiting() -> None:
    pool, generator = ReplayPool(4), torch.Generator(GPU).manual_seed(0)
    first = torch.zeros(4, 1, 2, 2, device=GPU)
    torch.cuda.set_sync_debug_mode("error")
    try:
        filled = pool.swap(first, generator)
        swapped = pool.swap(first + 1, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(filled, first) and 0 < int((swapped == 0).all(dim=(1, 2, 3)).sum()) <= 4
