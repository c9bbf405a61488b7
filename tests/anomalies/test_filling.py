"""What is not known becomes the mean of what lies around."""

from __future__ import annotations

import pytest
import torch

from braincli.anomalies.filling import fill


def test_known_pixels_stay_and_a_constant_is_continued() -> None:
    image = torch.zeros(2, 3, 30, 22)
    image[:, 0], image[:, 1] = 0.25, torch.rand(2, 30, 22)
    known = torch.ones(2, 1, 30, 22, dtype=torch.bool)
    known[0, 0, 5:25, 4:18] = False
    known[1] = False
    filled = fill(image, known, ~known)
    assert torch.equal(filled[0][:, known[0, 0]], image[0][:, known[0, 0]])
    assert filled[0, 0] == pytest.approx(0.25, abs=1e-5)
    assert not filled[:, 2].any(), "a contrast that is absent stays absent"
    assert not filled[1].any(), "where nothing is known, it is 0"


def test_the_nearer_the_more_it_counts() -> None:
    image = torch.zeros(1, 1, 16, 32)
    image[..., 16:] = 1.0
    hole = torch.zeros(1, 1, 16, 32, dtype=torch.bool)
    hole[..., 8:24] = True
    filled = fill(image, ~hole, hole)[0, 0].mean(dim=0)
    assert (filled[8:24].diff() >= -1e-6).all() and filled[8] < 0.3 and filled[23] > 0.7
