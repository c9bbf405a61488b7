"""Pixels picked by share: those that counting one by one finds."""

from __future__ import annotations

import torch

from braincli.anomalies import pixels


def test_positions_are_the_brains_pixels_in_reading_order() -> None:
    generator = torch.Generator().manual_seed(0)
    brain = torch.rand(5, 1, 12, 9, generator=generator) < 0.3
    brain[2] = False  # then any pixel counts
    brain[3, 0, 7, 4] = True
    brain[3] &= torch.arange(12)[:, None] == 7
    share = torch.rand(5, 40, generator=generator)
    share[:, 0] = 0
    share[:, 1] = 1 - 2**-24  # rounds up to the number of pixels
    found = pixels.positions(share, brain)
    for row, mask in enumerate(brain[:, 0]):
        every = mask.nonzero() if mask.any() else torch.ones_like(mask).nonzero()
        chosen = (share[row] * len(every)).long().clamp_max(len(every) - 1)
        assert torch.equal(found[row], every[chosen].float())


def test_nth_picks_among_what_holds() -> None:
    mask = torch.tensor([[False, True, False, True, True]])
    assert pixels.nth(torch.tensor([[0.0, 0.34, 0.67, 0.99]]), mask).tolist() == [[1, 3, 4, 4]]


def test_the_extent_is_that_of_what_holds() -> None:
    mask = torch.zeros(3, 1, 6, 5, dtype=torch.bool)
    mask[0, 0, 2, 1] = mask[0, 0, 4, 3] = True
    mask[1] = True
    assert pixels.extent(mask).tolist() == [[[2, 5], [1, 4]], [[0, 6], [0, 5]], [[0, 0], [0, 0]]]


def test_elliptic_distances_are_those_of_turned_coordinates() -> None:
    centre, angle, axes = torch.tensor([[[3.0, 5.0]]]), torch.tensor([[0.4]]), torch.tensor([[[2.0, 0.5]]])
    along, across = pixels.elliptic(centre, angle, axes, (8, 9))
    y, x = torch.meshgrid(torch.arange(8.0) - 3, torch.arange(9.0) - 5, indexing="ij")
    cos, sin = angle.cos().squeeze(), angle.sin().squeeze()
    torch.testing.assert_close(along[0, 0], (y * cos + x * sin) / 2)
    torch.testing.assert_close(across[0, 0], (x * cos - y * sin) / 0.5)
