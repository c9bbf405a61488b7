"""Brain extraction: weights are checked, stdout stays silent, the atlas' brain is found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from braincli.errors import ModelError
from braincli.imaging import volume
from braincli.imaging.volume import Volume
from braincli.preprocessing import extract
from braincli.preprocessing.atlas import load_atlas
from braincli.preprocessing.quality import dice
from braincli.runtime import device
from braincli.runtime.progress import Reporter
from braincli.weights import hdbet


def test_damaged_weights_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0.model").write_bytes(b"cos\nsystem\n(S'false'\ntR.")  # a pickle that would run a command
    monkeypatch.setattr(hdbet, "weights_folder", lambda: tmp_path)
    with pytest.raises(ModelError, match=r"0.model are missing or damaged"):
        extract.load_network(0)
    with pytest.raises(ModelError, match=r"1.model are missing or damaged"):
        extract.load_network(1)


def test_grid_of_the_network() -> None:
    data = np.zeros((100, 120, 30), np.float32)
    data[20:80, 10:110, 4:28] = 1
    data[5, 5, 5] = 9  # a spike is no head
    affine = np.diag([2.0, 1.5, 4.0, 1.0])
    grid = extract.network_grid(Volume(data, affine))
    assert all(side % 16 == 0 for side in grid.shape)
    assert grid.spacing == pytest.approx((1.5, 1.5, 1.5))
    corners = np.linalg.inv(grid.affine) @ affine @ np.array([[20, 10, 4, 1], [79, 109, 27, 1]]).T
    assert (corners[:3].min(1) >= 0).all() and (corners[:3].max(1) <= np.asarray(grid.shape) - 1).all()


def test_mirrorings_are_all_eight() -> None:
    assert len(set(extract.mirrorings())) == 8


def test_mask_is_one_solid_piece() -> None:
    data = np.zeros((12, 12, 12), np.float32)
    data[2:8, 2:8, 2:8], data[4, 4, 4], data[10, 10, 10] = 0.9, 0.0, 0.9
    mask = extract.to_mask(Volume(data, np.eye(4))).data
    assert mask.sum() == 6**3 and not mask[10, 10, 10]
    assert not extract.to_mask(Volume(data * 0, np.eye(4))).data.any()


@pytest.mark.slow
def test_brain_of_the_atlas_is_found_in_any_orientation(capfd: pytest.CaptureFixture) -> None:
    import torch

    before = sys.stdout
    head = volume.reorient(load_atlas(stripped=False), "PIR")
    cpu = torch.device("cpu")
    found = extract.Extractor("fast", "minimal", cpu, device.precision(cpu)).probability(head, Reporter())
    assert sys.stdout is before and capfd.readouterr().out == ""
    assert volume.same_grid(found, head) is None
    mask = extract.to_mask(found)
    brain = volume.reorient(load_atlas(stripped=True), "PIR").data > 0
    assert dice(mask.data, brain) > 0.93


RAW = ["TCGA-FG-6692_t1", "TCGA-FG-6692_t2", "ms-patient04_t1", "isbi-training02_flair"]


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", RAW)
def test_bf16_gives_the_mask_of_float32(name: str, shared_data: Path) -> None:
    import torch

    cpu = torch.device("cpu")
    if device.precision(cpu) is not torch.bfloat16:
        pytest.skip("this processor gains nothing from bf16")
    scan = volume.load(shared_data / "raw" / name.rpartition("_")[0] / f"{name}.nii.gz")
    one, other = (
        extract.to_mask(extract.Extractor("fast", "minimal", cpu, dtype).probability(scan, Reporter())).data
        for dtype in (None, torch.bfloat16)
    )
    assert one.any() and dice(one, other) >= 0.999


def test_the_first_convolution_is_the_same_in_16_bits() -> None:
    import torch

    from braincli.preprocessing.hdbet_network import HDBetNetwork

    torch.manual_seed(0)
    network, head = HDBetNetwork(width=2).eval(), torch.randn(1, 1, 16, 16, 32)
    with torch.inference_mode():
        full = network.init_conv(head)
        with torch.autocast("cpu", torch.bfloat16):
            half = network._enter(head)
            probability = network(head)
    assert half.dtype is torch.bfloat16 and half.shape == full.shape
    torch.testing.assert_close(half.float(), full, atol=0.02, rtol=0.02)
    assert probability.dtype is torch.float32 and probability.shape == (1, 16, 16, 32)


def test_kernels_rounded_once_give_the_probability_of_those_that_autocast_rounds() -> None:
    import torch

    networks = [extract.load_network(0, dtype) for dtype in (None, torch.bfloat16)]
    assert [network.seg_layer.weight.dtype for network in networks] == [torch.float32, torch.bfloat16]
    head = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        one, other = (network(head) for network in networks)
    assert torch.equal(one, other) and one.std() > 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_new_tensors_in_16_bits_hold_what_overwritten_ones_would(dtype: str) -> None:
    import torch

    from braincli.preprocessing import hdbet_network

    torch.manual_seed(0)
    x, y = (torch.randn(1, 3, 4, 5, 6).to(getattr(torch, dtype)) for _ in range(2))
    assert torch.equal(hdbet_network._plus(x.clone(), y), x.clone().add_(y))


@pytest.mark.parametrize("channels", [3, 21, 64, 70])
def test_norm_in_16_bits_is_that_of_32_rounded_once(channels: int) -> None:
    import torch

    from braincli.preprocessing import hdbet_network

    torch.manual_seed(0)
    norm = torch.nn.InstanceNorm3d(channels, affine=True)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (2 * torch.randn(1, channels, 4, 6, 8) + torch.arange(channels).view(-1, 1, 1, 1)).bfloat16()
    x = x.contiguous(memory_format=torch.channels_last_3d)
    wanted = torch.nn.functional.leaky_relu(norm(x.float()), 0.01)
    got = hdbet_network._act(norm, x)
    assert got.dtype is torch.bfloat16 and got.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(got.float(), wanted, rtol=2**-7, atol=1e-5)
