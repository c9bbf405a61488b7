"""Coarse noise: its size, its coarseness, and where it may be."""

from __future__ import annotations

import torch

from braincli.anomalies import coarse


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_noise_is_centred_coarse_and_as_strong_as_asked() -> None:
    noise = coarse.draw((64, 2, 48, 40), gen(), cells=8, std=0.3)
    assert noise.shape == (64, 2, 48, 40)
    assert abs(noise.mean().item()) < 0.01, "no shift: the error of a known re-implementation"
    assert 0.5 < noise.std().item() / 0.3 < 0.8, "bilinear interpolation leaves about (2/3) of the deviation"
    step = (noise[:, :, 1:] - noise[:, :, :-1]).abs().median().item()
    assert step < 0.3 * noise.std().item(), "neighbours are alike"
    assert not torch.equal(noise[:, 0], noise[:, 1]), "contrasts are independent"


def test_roll_moves_the_grid_from_row_to_row() -> None:
    noise = coarse.draw((200, 1, 16, 16), gen(), cells=4, std=1.0)
    spread = noise.std(dim=0)[0]
    assert spread.max() / spread.min() < 1.5, "every pixel is as noisy as any other"


def test_foreground_only_and_absent_contrasts_stay_absent() -> None:
    image = torch.rand(2, 3, 16, 24) + 0.1
    brain = torch.zeros(2, 1, 16, 24, dtype=torch.bool)
    brain[:, :, 4:12, 6:18] = True
    image = image * brain
    image[1, 2] = 0
    noisy = coarse.coarse_noise(image, brain, gen())
    assert torch.equal(noisy[(~brain).expand_as(noisy)], image[(~brain).expand_as(image)])
    assert not noisy[1, 2].any()
    assert not torch.equal(noisy[0, 0], image[0, 0])


def test_repeats_with_the_same_generator() -> None:
    assert torch.equal(coarse.draw((2, 4, 16, 24), gen(3)), coarse.draw((2, 4, 16, 24), gen(3)))
    assert not torch.equal(coarse.draw((2, 4, 16, 24), gen(3)), coarse.draw((2, 4, 16, 24), gen(4)))
