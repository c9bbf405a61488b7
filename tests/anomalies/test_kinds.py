"""All kinds of anomalies: random only in the drawing, only inside the brain; and what publications say of each."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from braincli.anomalies import draem, kinds, perlin, poisson, sinks
from braincli.anomalies.kinds import KINDS

SHAPE = (6, 4, 40, 32)


def slices(seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    brain = torch.zeros(6, 1, 40, 32, dtype=torch.bool)
    brain[:, :, 5:35, 4:28] = True
    noise = torch.rand(SHAPE, generator=generator(seed))
    return (0.3 + 0.4 * noise) * brain, brain


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("radius", [None, (3.0, 8.0)])
@pytest.mark.parametrize("name", KINDS)
def test_drawn_once_applied_alike_and_only_in_the_brain(name: str, radius: tuple[float, float] | None) -> None:
    (image, brain), donor = slices(), slices(6)[0]
    image[:, 1] = 0
    before = image.clone()
    drawn = KINDS[name].draw(SHAPE, generator(), radius)
    made, alpha = KINDS[name].apply(image, brain, donor, drawn)
    again, _ = KINDS[name].apply(image, brain, donor, drawn)
    assert torch.equal(made, again) and torch.equal(image, before)
    other, _ = KINDS[name].apply(image, brain, donor, KINDS[name].draw(SHAPE, generator(1), radius))
    assert not torch.equal(made, other)
    changed = (made - image).abs() > 1e-3
    assert changed.any() and not changed[(~brain).expand_as(made)].any()
    assert not changed[:, 1].any(), "an absent contrast stays absent"
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    assert alpha.shape == brain.shape and 0 <= float(alpha.min()) <= float(alpha.max()) <= 1
    assert not alpha[~brain].any()
    assert (alpha[changed.any(dim=1, keepdim=True)] > 0).all(), "alpha covers what changed"


@pytest.mark.parametrize("name", KINDS)
def test_kinds_survive_an_empty_brain_and_an_empty_slice(name: str) -> None:
    image, brain = slices()
    brain[0] = False
    image = image * brain
    image[1] = 0
    made, alpha = KINDS[name].apply(image, brain, image.flip(0), KINDS[name].draw(SHAPE, generator(), None))
    assert torch.isfinite(made).all() and torch.isfinite(alpha).all()
    assert not made[0].any() and not alpha[0].any() and not made[1].any()


def test_mixed_takes_every_kind() -> None:
    image = torch.full((60, 1, 24, 20), 0.5)
    brain = torch.ones(60, 1, 24, 20, dtype=torch.bool)
    made, alpha = kinds.plant("mixed", image, brain, image.flip(3) * 0.9, generator())
    assert made.shape == image.shape and alpha.shape == brain.shape
    whole = (alpha == 1).flatten(1).all(dim=1)  # coarse noise is everywhere, all others are somewhere
    assert 0 < int(whole.sum()) < 30


def test_fields_turn_slowly_into_others_and_nothing_else_changes() -> None:
    shape = (1, 4, 40, 32)
    draw = KINDS["draem"].draw
    first, second = draw(shape, generator(), (3.0, 8.0)), draw(shape, generator(1), (3.0, 8.0))
    mixed = kinds.blended(first, second, torch.tensor([0.0, 0.1, np.pi / 2]), (40, 32))
    assert torch.equal(mixed.inside.noise[:1], first.inside.noise)
    torch.testing.assert_close(mixed.inside.noise[2:], second.inside.noise)
    assert (mixed.spot.centre == first.spot.centre).all() and len(mixed.spot.centre) == 3


def test_perlin_noise_is_smooth_zero_at_its_corners_and_about_unit_size() -> None:
    drawn = perlin.draw(200, generator(), octaves=(1, 4))
    noise = perlin.field((64, 48), drawn)
    assert noise.shape == (200, 1, 64, 48)
    assert 0.8 < float(noise.abs().max()) <= 1.01 and abs(float(noise.mean())) < 0.02
    smooth = perlin.field((64, 64), perlin.draw(20, generator(), octaves=(1, 1), turn=0))
    assert float(smooth.diff(dim=3).abs().max()) < 0.1, "cells of 32 pixels"
    straight = perlin.Perlin(
        torch.rand(1, 64, 64, generator=generator()), torch.tensor([[0.25, 0.25]]), torch.zeros(1),
        torch.tensor([[0.5 / 16, 0.5 / 16]]),
    )  # fmt: skip
    corners = perlin.field((64, 64), straight)[0, 0, 15::16, 15::16]
    torch.testing.assert_close(corners, torch.zeros_like(corners), atol=1e-5, rtol=0)


def test_a_mask_covers_the_least_share_of_the_brain() -> None:
    _, brain = slices()
    noise = perlin.field((40, 32), perlin.draw(6, generator()))
    never = torch.full((6,), 2.0)
    assert not perlin.mask(noise, brain, never).any()
    share = perlin.mask(noise, brain, never, least=0.1).flatten(1).sum(dim=1) / brain.flatten(1).sum(dim=1)
    torch.testing.assert_close(share, torch.full((6,), 0.1), atol=2e-3, rtol=0)


def test_draem_blends_by_its_equation_and_leaves_clean_rows() -> None:
    image, brain = slices()
    drawn = draem.draw(SHAPE, generator(), least=0.05)
    made, mask = draem.apply(image, brain, drawn)
    g, m = drawn.opacity[:, None, None, None], mask
    texture = draem.augmented(draem.wrapped(drawn.noise).expand(SHAPE), drawn)
    torch.testing.assert_close(made, (1 - m) * image + (1 - g) * m * image + g * m * texture)
    assert bool((drawn.opacity >= 0.2).all() and (drawn.opacity <= 1).all())
    clean, nothing = draem.apply(image, brain, draem.draw(SHAPE, generator(), clean=1.0))
    assert torch.equal(clean, image) and not nothing.any()
    shares = draem.draw((400, 1, 8, 8), generator(), clean=0.5, uniform_threshold=True)
    assert 0.4 < float(shares.planted.float().mean()) < 0.6
    assert 0.25 <= float(shares.threshold.min()) < 0.3 and 0.7 < float(shares.threshold.max()) <= 0.75


def test_textures_wrap_around_and_stay_in_range() -> None:
    noise = torch.tensor([[[[0.0, 1.0, -1 / 255, 0.5]]]])
    torch.testing.assert_close(draem.wrapped(noise), torch.tensor([[[[0.0, 1.0, 1.0, 127 / 255]]]]))
    x = torch.rand(3, 1, 20, 16, generator=generator())
    for change in draem.AUGMENTATIONS:
        for amount in (0.0, 0.5, 1.0):
            changed = change(x, torch.full((3, 1, 1, 1), amount)).clamp(0, 1)
            assert changed.shape == x.shape and torch.isfinite(changed).all()


def test_foreign_texture_is_the_donor() -> None:
    image, brain = slices()
    drawn = draem.draw(SHAPE, generator(), least=0.1, foreign=1.0)
    ones = draem.apply(image, brain, drawn, torch.ones(SHAPE))[0]
    zeros = draem.apply(image, brain, drawn, torch.zeros(SHAPE))[0]
    assert not torch.equal(ones, zeros)
    assert torch.equal(draem.apply(image, brain, draem.draw(SHAPE, generator()), torch.ones(SHAPE))[0],
                       draem.apply(image, brain, draem.draw(SHAPE, generator()), torch.zeros(SHAPE))[0])  # fmt: skip


def test_the_poisson_solver_is_exact() -> None:
    source = torch.randn(2, 7, 11, generator=generator(), dtype=torch.float64)
    u = torch.nn.functional.pad(poisson.solve(source), (1, 1, 1, 1))
    laplacian = u[:, 2:, 1:-1] + u[:, :-2, 1:-1] + u[:, 1:-1, 2:] + u[:, 1:-1, :-2] - 4 * u[:, 1:-1, 1:-1]
    torch.testing.assert_close(laplacian, source)


def patch(alpha: float) -> poisson.Patch:
    return poisson.Patch(torch.full((1, 2), 0.5), torch.full((1, 2), 0.3), torch.tensor([alpha]))


def test_a_blend_with_alpha_one_keeps_the_partners_shape_on_the_hosts_level() -> None:
    """Gradient-domain: where host and partner differ by a constant, nothing of that constant comes along."""
    y, x = torch.meshgrid(torch.arange(30.0), torch.arange(30.0), indexing="ij")
    blob = 0.2 * torch.exp(-((y - 15) ** 2 + (x - 15) ** 2) / 8)
    host, brain = torch.full((1, 1, 30, 30), 0.2), torch.ones(1, 1, 30, 30, dtype=torch.bool)
    host[0, 0, 0, 0] = 0.9  # the range that results are clipped to
    made, label = poisson.apply(host, brain, (0.6 + blob)[None, None], patch(1.0))
    torch.testing.assert_close(made - host, blob[None, None] * (label > 0), atol=2e-3, rtol=0)
    assert set(label.unique().tolist()) == {0.0, 1.0}


def test_a_blend_with_alpha_zero_changes_nothing() -> None:
    image, brain = slices()
    made, label = poisson.apply(image[:1], brain[:1], image[1:2], patch(0.0))
    torch.testing.assert_close(made, image[:1])
    assert not label.any()


def test_the_label_is_alpha_where_something_changed_and_the_result_keeps_the_range() -> None:
    (image, brain), donor = slices(), slices(6)[0]
    drawn = poisson.draw(SHAPE, generator())
    made, label = poisson.apply(image, brain, donor, drawn)
    for row in range(6):
        assert set(label[row].unique().tolist()) <= {0.0, float(drawn.alpha[row])}
        top, bottom, left, right = poisson.boxes(brain, drawn)[row]
        outside = torch.ones_like(brain[row])
        outside[:, top:bottom, left:right] = False
        assert not label[row][outside].any()
    assert float(made.max()) <= float(image.max())
    edge = made[:, :, 5] - image[:, :, 5]
    assert torch.isfinite(edge).all()


def test_no_seam_at_the_edge_of_the_brain() -> None:
    """A partner with a smaller brain does not pull the host's tissue to 0."""
    host, brain = torch.full((1, 1, 40, 32), 0.5), slices()[1][:1]
    host = host * brain
    smaller = host.clone()
    smaller[..., 20:, :] = 0
    made, _ = poisson.apply(host, brain, smaller, patch(0.95))
    torch.testing.assert_close(made, host, atol=0.02, rtol=0)


def test_partners_are_others_of_about_the_same_height() -> None:
    position = torch.tensor([0.0, 0.5, 0.02, 0.52, 1.0, 0.97])
    assert poisson.partners(position, generator(), spread=0.01).tolist() == [2, 3, 0, 1, 5, 4]
    assert poisson.partners(position[:1], generator()).tolist() == [0]
    drawn = {tuple(poisson.partners(torch.zeros(4), generator(seed)).tolist()) for seed in range(5)}
    assert len(drawn) > 1
    assert all(row != partner for pairs in drawn for row, partner in enumerate(pairs))


def test_a_sink_is_deepest_at_its_centre_and_half_as_deep_at_its_radius() -> None:
    image, brain = torch.full((1, 1, 41, 41), 0.5), torch.ones(1, 1, 41, 41, dtype=torch.bool)
    share = torch.tensor([(20 * 41 + 20.5) / 41**2])
    drawn = sinks.Sink(
        share, torch.tensor([[8.0, 5.0]]), torch.zeros(1), torch.tensor([[-0.4]]), torch.tensor([2.0])
    )  # fmt: skip
    made, alpha = sinks.apply(image, brain, drawn)
    torch.testing.assert_close(made[0, 0, 20, 20], torch.tensor(0.1))
    torch.testing.assert_close(alpha[0, 0, 28, 20], torch.tensor(0.5))
    torch.testing.assert_close(alpha[0, 0, 20, 25], torch.tensor(0.5))
    assert float(made.max()) <= 0.5
