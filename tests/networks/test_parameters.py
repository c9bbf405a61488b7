"""Networks have the published sizes."""

from __future__ import annotations

import torch

from braincli.networks.cyclegan import PatchGAN, ReplayPool, ResNetGenerator
from braincli.networks.ncsnpp import NCSNpp


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_paper_sizes() -> None:
    with torch.device("meta"):
        score = NCSNpp(2, 1)
        assert count(score) + score.frequencies.numel() == 65_558_305  # the fixed frequencies are counted there
        assert count(ResNetGenerator(1)) == 11_365_633
        assert count(PatchGAN(1)) == 2_762_689


def test_full_ncsnpp_keeps_shape_and_starts_near_zero() -> None:
    torch.manual_seed(0)
    network = NCSNpp(2, 1, width=8, multipliers=(1, 2, 2), blocks=1, attention=(1,), fourier_scale=1.0)
    output = network(torch.randn(2, 2, 16, 24), torch.tensor([0.1, 3.0]))
    assert output.shape == (2, 1, 16, 24)
    assert output.abs().max().item() < 1e-2


def test_patchgan_judges_thirty_by_thirty() -> None:
    with torch.device("meta"):
        assert PatchGAN(1)(torch.empty(1, 1, 256, 256)).shape == (1, 1, 30, 30)


def test_residual_generator_starts_as_identity() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 4, 16, 24)
    output = ResNetGenerator(4, width=4, blocks=1, residual=True, patch=2)(image)
    assert output.shape == image.shape
    assert (output - image).abs().mean().item() < 0.1


def test_replay_pool_returns_old_images_once_full() -> None:
    pool, generator = ReplayPool(4), torch.Generator().manual_seed(0)
    first = torch.zeros(4, 1, 2, 2)
    assert torch.equal(pool.swap(first, generator), first)
    second = pool.swap(torch.ones(40, 1, 2, 2), generator)
    assert 0 < int((second == 0).all(dim=(1, 2, 3)).sum()) <= 4
    assert len(pool.state()) == 4


def test_replay_pool_goes_on_from_its_state_as_it_would_have() -> None:
    """Half full, exactly full and overflowing; in one call no image of the past is given twice."""
    whole, part = ReplayPool(6), ReplayPool(6)
    for step in range(12):
        images = torch.full((4, 1, 2, 2), float(step)) + torch.arange(4)[:, None, None, None] / 10
        again = ReplayPool(6)
        again.load(part.state())
        part = again
        one, other = (pool.swap(images, torch.Generator().manual_seed(step)) for pool in (whole, part))
        assert torch.equal(one, other)
        assert len(one[:, 0, 0, 0].unique()) == 4
        assert len(whole.state()) == min(6, 4 * (step + 1))
    assert torch.equal(torch.stack(whole.state()), torch.stack(part.state()))
