"""Synthetic growth and variation: drawn once, applied the same way every time, only where they may."""

from __future__ import annotations

from dataclasses import replace

import torch

from braincli.anomalies import augment, growth

SHAPE = (6, 4, 40, 32)


def slices() -> tuple[torch.Tensor, torch.Tensor]:
    brain = torch.zeros(6, 1, 40, 32, dtype=torch.bool)
    brain[:, :, 5:35, 4:28] = True
    return 0.4 * brain.expand(SHAPE).float(), brain


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_growth_changes_only_the_brain_and_says_where() -> None:
    image, brain = slices()
    grown, alpha = growth.apply(image, brain, growth.draw(SHAPE, generator()))
    changed = (grown - image).abs().amax(dim=1, keepdim=True) > 1e-3
    assert changed.flatten(1).any(dim=1).all()
    assert not changed[~brain].any()
    assert (alpha[changed] > 0).all()
    assert 0 <= float(grown.min()) <= float(grown.max()) <= 1


def test_growth_repeats_and_leaves_absent_contrasts_absent() -> None:
    image, brain = slices()
    image[:, 1] = 0
    drawn = growth.draw(SHAPE, generator())
    first, second = growth.apply(image, brain, drawn)[0], growth.apply(image, brain, drawn)[0]
    assert torch.equal(first, second)
    assert not first[:, 1].any()
    other = growth.apply(image, brain, growth.draw(SHAPE, generator(1)))[0]
    assert not torch.equal(first, other)


def test_typical_growth_is_bright_on_flair_and_dark_on_t1() -> None:
    shape = (200, 4, 40, 32)
    brain = torch.ones(200, 1, 40, 32, dtype=torch.bool)
    image = torch.full(shape, 0.5)
    grown, alpha = growth.apply(image, brain, growth.draw(shape, generator(), arbitrary=0.0))
    change = ((grown - image) * alpha).sum(dim=(0, 2, 3)) / alpha.sum()
    assert change[3] > 0.1 and change[2] > 0.1
    assert change[0] < -0.05


def test_growth_survives_an_empty_brain() -> None:
    image, brain = slices()
    brain[0] = False
    image = image * brain
    grown, alpha = growth.apply(image, brain, growth.draw(SHAPE, generator()))
    assert not grown[0].any() and not alpha[0].any()


def test_variation_moves_masks_with_images_and_keeps_a_contrast() -> None:
    image, brain = slices()
    drawn = augment.draw(SHAPE, generator(), drop=0.0, alone=1.0)
    assert (drawn.keep.flatten(1).sum(dim=1) == 1).all()
    drawn = augment.draw(SHAPE, generator(), drop=0.9)
    assert drawn.keep.flatten(1).any(dim=1).all()
    moved_brain = augment.move(brain, drawn)
    assert moved_brain.dtype == torch.bool
    recoloured = augment.recolour(augment.move(image, drawn), moved_brain, drawn)
    assert not recoloured[(~moved_brain).expand_as(recoloured)].any()
    assert recoloured.flatten(2).any(dim=2).any(dim=1).all()


def test_variation_of_strength_zero_only_flips() -> None:
    torch.manual_seed(0)
    brain = torch.ones(6, 1, 40, 32, dtype=torch.bool)
    image = torch.rand(SHAPE).clamp_min(0.01)
    drawn = augment.draw(SHAPE, generator(3), strength=0.0, drop=0.0)
    recoloured = augment.recolour(augment.move(image, drawn), brain, drawn)
    for row, original in zip(recoloured, image, strict=True):
        kept = torch.allclose(row, original, atol=1e-3)
        flipped = torch.allclose(row, original.flip(2), atol=1e-3)
        assert kept or flipped


def test_spreading_growth_keeps_to_the_tissue_it_begins_in() -> None:
    brain = torch.ones(1, 1, 40, 40, dtype=torch.bool)
    image = torch.full((1, 4, 40, 40), 0.8)
    image[..., 20:] = 0.3  # another tissue on the right
    drawn = growth.draw((1, 4, 40, 40), torch.Generator().manual_seed(2), radius=(12.0, 12.1))
    begin = torch.full((1, growth.FOCI, 2), (20 * 40 + 15.5) / 1600)  # row 20, column 15
    radius = torch.tensor([[12.0] + [0.0] * (growth.FOCI - 1)])
    sums = []
    for spread in (0.0, 1.0):
        _, alpha = growth.apply(
            image, brain, replace(drawn, centre=begin, radius=radius, spread=torch.full((1,), spread))
        )
        sums.append((float(alpha[..., :20].sum()), float(alpha[..., 21:].sum())))
    (left, right), (left_kept, right_kept) = sums
    assert right > 50
    assert right_kept < 0.05 * right
    assert left_kept > 0.9 * left
