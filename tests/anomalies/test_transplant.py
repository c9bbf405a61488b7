"""Lesions of other slices set into healthy tissue."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from braincli.anomalies import transplant

SHAPE = (3, 4, 32, 24)


def slices() -> tuple[Tensor, Tensor, Tensor]:
    """Three flat brains of 0.3; the first has a lesion of 0.9."""
    brain = torch.zeros(3, 1, 32, 24, dtype=torch.bool)
    brain[:, :, 3:29, 3:21] = True
    lesion = torch.zeros_like(brain)
    lesion[0, 0, 10:20, 8:18] = True
    image = torch.where(lesion, 0.9, 0.3) * brain
    return image.expand(SHAPE).clone(), brain, lesion


def straight(seed: int = 0) -> transplant.Transplant:
    """Drawn, but neither bent nor recoloured."""
    drawn = transplant.draw(SHAPE, torch.Generator().manual_seed(seed))
    still = torch.nn.functional.affine_grid(torch.eye(2, 3).expand(3, 2, 3), [3, 1, 32, 24], align_corners=False)
    one = torch.ones(3, 4, 1, 1)
    return replace(drawn, grid=still, margin=torch.ones(3, dtype=torch.long), opacity=one, gamma=one, gain=one)


def test_the_lesion_comes_over_as_it_is() -> None:
    image, brain, lesion = slices()
    made, alpha = transplant.apply(image, brain, lesion, straight())
    torch.testing.assert_close(made[1:, :, 13:17, 11:15], torch.full((2, 4, 4, 4), 0.9))
    assert alpha[1:, 0, 13:17, 11:15].min() == 1
    assert torch.equal(made[1:, :, :7], image[1:, :, :7]), "nothing changes far from it"
    edge = alpha[1, 0, 14]
    assert len(edge.unique()) > 3, "the edge is soft"


def test_no_row_gives_to_itself_and_nobody_gives_without_a_lesion() -> None:
    image, brain, lesion = slices()
    made, alpha = transplant.apply(image, brain, lesion, straight())
    assert torch.equal(made[0], image[0])
    assert not alpha[0].any()
    made, alpha = transplant.apply(image, brain, torch.zeros_like(lesion), straight())
    assert torch.equal(made, image)
    assert not alpha.any()


@pytest.mark.parametrize("seed", range(5))
def test_stays_in_the_brain_in_range_and_repeats(seed: int) -> None:
    image, brain, lesion = slices()
    drawn = transplant.draw(SHAPE, torch.Generator().manual_seed(seed))
    made, alpha = transplant.apply(image, brain, lesion, drawn)
    again, _ = transplant.apply(image, brain, lesion, transplant.draw(SHAPE, torch.Generator().manual_seed(seed)))
    assert torch.equal(made, again)
    assert 0 <= made.min() <= made.max() <= 1
    assert not made[~brain.expand_as(made)].any()
    assert 0 <= alpha.min() <= alpha.max() <= 1


def test_contrasts_that_either_side_lacks_are_left_alone() -> None:
    image, brain, lesion = slices()
    image[0, 1] = 0  # the donor lacks T1ce
    image[1, 3] = 0  # a host lacks FLAIR
    made, _ = transplant.apply(image, brain, lesion, straight())
    assert torch.equal(made[1:, 1], image[1:, 1])
    assert not made[1, 3].any()
    assert made[1, 0].max() == pytest.approx(0.9)


def test_margin_shrinks_the_lesion() -> None:
    image, brain, lesion = slices()
    sizes = []
    for margin in (1, 3):
        drawn = replace(straight(), margin=torch.full((3,), margin))
        sizes.append(float(transplant.apply(image, brain, lesion, drawn)[1][1].sum()))
    assert sizes[0] == pytest.approx(8 * 8, rel=0.05)
    assert sizes[1] == pytest.approx(4 * 4, rel=0.05)
