"""Hidden regions: inside the brain, of the drawn size, where they were drawn, and the same when applied again."""

from __future__ import annotations

import pytest
import torch

from braincli.anomalies import hiding

SHAPE = (64, 4, 48, 40)


def brains(rows: int = SHAPE[0]) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 40), indexing="ij")
    return ((y**2 + x**2) < 0.8).expand(rows, 1, 48, 40)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def share(mask: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    return mask.flatten(1).sum(dim=1) / brain.flatten(1).sum(dim=1)


def test_hides_the_drawn_share_of_the_brain_and_nothing_outside() -> None:
    brain, drawn = brains(), hiding.draw(SHAPE, generator())
    mask = hiding.apply(brain, drawn)
    assert mask.shape == brain.shape and mask.dtype == torch.bool
    assert not (mask & ~brain).any()
    pixels = brain[0].sum().item()
    torch.testing.assert_close(share(mask, brain), drawn.share, rtol=0, atol=1.01 / pixels)
    assert mask.flatten(1).any(dim=1).all(), "one pixel at least"


def test_sizes_span_small_lesions_to_most_of_the_brain() -> None:
    drawn = hiding.draw((4000, 1, 4, 4), generator(), share=(0.01, 0.5)).share
    assert 0.01 <= drawn.min() < 0.012 and 0.45 < drawn.max() <= 0.5001
    assert drawn.log().mean().item() == pytest.approx(-2.649, abs=0.05), "log-uniform"


def test_a_chance_of_rows_is_hidden_wholly() -> None:
    brain = brains()
    mask = hiding.apply(brain, hiding.draw(SHAPE, generator(), whole=0.5))
    whole = (mask == brain).flatten(1).all(dim=1)
    assert 16 < whole.sum() < 48


def test_repeats_and_differs_from_row_to_row() -> None:
    brain, drawn = brains(), hiding.draw(SHAPE, generator(), share=(0.1, 0.1))
    mask = hiding.apply(brain, drawn)
    assert torch.equal(mask, hiding.apply(brain, drawn))
    assert not torch.equal(mask, hiding.apply(brain, hiding.draw(SHAPE, generator(1), share=(0.1, 0.1))))
    assert len({tuple(row.flatten().tolist()) for row in mask}) == len(mask)


def test_rows_do_not_depend_on_the_batch_around_them() -> None:
    brain, drawn = brains(), hiding.draw(SHAPE, generator())
    third = hiding.Hiding(**{name: value[2:3] for name, value in vars(drawn).items()})
    assert torch.equal(hiding.apply(brain[:1], third), hiding.apply(brain, drawn)[2:3])


def test_one_smooth_focus_is_compact_and_grain_frays_it() -> None:
    """Pixels of the region whose eight neighbours belong to it as well: most of a blob's, few of a frayed one's."""

    def interior(**chances: float) -> float:
        drawn = hiding.draw(SHAPE, generator(), share=(0.1, 0.1), several=0.0, **chances)
        mask = hiding.apply(brains(), drawn).float()
        eroded = -torch.nn.functional.max_pool2d(-mask, 3, stride=1, padding=1)
        return float(eroded.sum() / mask.sum())

    assert interior(frayed=0.0) > 0.45
    assert interior(frayed=1.0) < 0.7 * interior(frayed=0.0)


def test_seeds_lie_everywhere_in_the_brain() -> None:
    shape = (2000, 1, 48, 40)
    mask = hiding.apply(brains(2000), hiding.draw(shape, generator(), share=(0.05, 0.05)))
    often = mask.float().mean(dim=0)[0][brains(1)[0, 0]]
    assert often.min() > 0.01
    assert often.max() < 0.15


def test_an_empty_brain_hides_nothing() -> None:
    brain = brains().clone()
    brain[0] = False
    mask = hiding.apply(brain, hiding.draw(SHAPE, generator(), whole=1.0))
    assert not mask[0].any()
    assert torch.equal(mask[1:], brain[1:])


@pytest.mark.parametrize(("margin", "pixels"), [(0.0, 0), (0.1, 1), (1.0, 1), (2.5, 3), (4.0, 4)])
def test_regions_are_widened_by_whole_pixels(margin: float, pixels: int) -> None:
    region = torch.zeros(1, 1, 15, 15, dtype=torch.bool)
    region[..., 7, 7] = True
    wide = hiding.widened(region, torch.tensor(margin).view(1, 1, 1, 1))
    expected = torch.zeros_like(region)
    expected[..., 7 - pixels : 8 + pixels, 7 - pixels : 8 + pixels] = True
    assert torch.equal(wide, expected)
