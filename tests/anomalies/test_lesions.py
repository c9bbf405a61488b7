"""Growths, or lesions of other slices in their place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from braincli.anomalies import growth, lesions, transplant

SHAPE = (6, 2, 32, 24)


def slices() -> tuple[Tensor, Tensor, Tensor]:
    """Six flat brains; the first has a lesion."""
    brain = torch.zeros(6, 1, 32, 24, dtype=torch.bool)
    brain[:, :, 3:29, 3:21] = True
    lesion = torch.zeros_like(brain)
    lesion[0, 0, 8:22, 6:20] = True
    return (torch.where(lesion, 0.9, 0.3) * brain).expand(SHAPE).clone(), brain, lesion


def drawn() -> lesions.Lesions:
    return lesions.draw(SHAPE, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_decides_which_rows_get_the_lesion_of_another_slice(share: float) -> None:
    image, brain, lesion = slices()
    planted, alpha = lesions.apply(image, brain, lesion, drawn(), transplanted=share)
    grown, moved = (
        growth.apply(image, brain, drawn().growth),
        transplant.apply(image, brain, lesion, drawn().transplant),
    )
    from_others = (drawn().source.flatten() < share) & (torch.arange(6) > 0)  # the first is the only donor
    assert from_others.sum() == {0.0: 0, 0.5: 3, 1.0: 5}[share]
    for row, other in enumerate(from_others.tolist()):
        expected = moved if other else grown
        assert torch.equal(planted[row], expected[0][row])
        assert torch.equal(alpha[row], expected[1][row])


def test_growths_stand_in_where_no_slice_has_a_lesion() -> None:
    image, brain, lesion = slices()
    planted, _ = lesions.apply(image, brain, torch.zeros_like(lesion), drawn(), transplanted=1.0)
    assert torch.equal(planted, growth.apply(image, brain, drawn().growth)[0])


def test_a_twin_is_the_mirror_image_in_the_rows_that_have_one() -> None:
    image, brain, lesion = slices()
    planted, alpha = lesions.apply(image, brain, torch.zeros_like(lesion), drawn(), transplanted=0.0)
    rows = torch.arange(6) < 3
    twinned, where = lesions.twinned(planted, brain, alpha, rows)
    assert torch.equal(twinned[3:], planted[3:]) and torch.equal(where[3:], alpha[3:])
    assert torch.equal(where[:3], torch.maximum(alpha, alpha.flip(3))[:3]), "the brain of this phantom is symmetric"
    alone = (alpha.flip(3) > 0.8) & (alpha < 0.3) & rows[:, None, None, None]
    assert alone.sum() > 20, "somewhere the other side was healthy"
    there = alone.expand(SHAPE)
    torch.testing.assert_close(twinned[there], planted.flip(3)[there], atol=0.2, rtol=0)
    assert not torch.equal(twinned[:3], planted[:3])
