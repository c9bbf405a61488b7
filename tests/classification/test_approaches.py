"""Losses against numbers worked out by hand, and one real step of every method on every preset's canvas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from braincli.classification import registry
from braincli.classification.approaches import can, contrastive, dann, l2i, plain, unlearning
from braincli.classification.approaches.base import Batch, World
from braincli.classification.draw import Data, Draw
from braincli.errors import UsageError
from braincli.networks.inception3d import InceptionResNet3d

WORLD = World((6, 2), 3)


def built(name: str, preset: str = "tiny", **settings: Any) -> Any:
    torch.manual_seed(0)
    return registry.approach_class(name)(registry.options(name, preset, settings), WORLD)


def data(shape: tuple[int, int, int], count: int = 8) -> Data:
    label = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])[:count]
    site = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])[:count]
    image = torch.rand(count, *shape, generator=torch.Generator().manual_seed(3)).half()
    return Data(image, label, site, site == 0)


def test_a_layout_gives_the_number_of_parameters_of_the_thesis() -> None:
    with torch.device("meta"):
        approach = registry.approach_class("l2i")(registry.options("l2i", "paper"), World((1, 1), 8))
        assert sum(p.numel() for p in approach.parameters()) == 36_431_842
        assert approach.encoder.project.in_features == 1792 * 2 * 2 * 4


def test_what_leaves_the_canvas_empty_is_refused_and_a_map_of_one_voxel_is_not() -> None:
    with pytest.raises(UsageError, match=r"shape: a volume of 40 x 48 x 40 voxels is too small"):
        built("vanilla", shape=(40, 48, 40), padding="valid")
    small = InceptionResNet3d((8, 8, 8), latent=4, width=0.05, blocks=(1, 1, 1), padding="same", flatten=False)
    found = small(torch.rand(2, 1, 8, 8, 8))
    assert torch.allclose(found.norm(dim=1), torch.ones(2)) and not torch.allclose(found[0], found[1])


def test_attraction_begins_at_the_margin() -> None:
    """Eq. 3: |f - o| is 0.5 and 0.05; beyond r = 0.1 lie 0.4 and nothing: (0.16 + 0) / 2."""
    embedding = torch.tensor([[0.5, 0.0], [0.05, 0.0]], requires_grad=True)
    loss = l2i.attraction(embedding, torch.zeros(2, 2), 0.1)
    assert loss.item() == pytest.approx(0.08)
    loss.backward()
    assert embedding.grad is not None and embedding.grad[1].abs().max() == 0 and embedding.grad[0, 0] > 0
    at_its_centre = torch.zeros(1, 2, requires_grad=True)
    l2i.attraction(at_its_centre, torch.zeros(1, 2), 0.0).backward()
    assert at_its_centre.grad is not None and torch.isfinite(at_its_centre.grad).all()


def test_repulsion_ends_at_the_distance_d() -> None:
    """Eq. 2: centres at a right angle are sqrt 2 apart; each of both pays 1/2 (1.9 - sqrt 2)^2."""
    assert l2i.repulsion(torch.eye(2), 1.9).item() == pytest.approx(0.5 * (1.9 - math.sqrt(2)) ** 2, rel=1e-5)
    assert l2i.repulsion(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), 1.9).item() == 0
    three = l2i.repulsion(torch.eye(3), 1.9).item()
    assert three == pytest.approx(2 * 0.5 * (1.9 - math.sqrt(2)) ** 2, rel=1e-5)


def test_fixed_centres_are_opposite_and_are_not_learnt() -> None:
    fixed = built("l2i-fixed")
    assert torch.allclose(fixed.centres[0], -fixed.centres[1])
    assert torch.allclose(fixed.centres[0], torch.full((8,), 8**-0.5))
    assert not any("directions" in name for name, _ in fixed.named_parameters())
    with pytest.raises(UsageError, match="Fixed centres are defined for two classes, not for 3"):
        registry.approach_class("l2i")(registry.options("l2i", "tiny", {"centres": "fixed"}), World((1, 1, 1), 2))


def test_without_margins_the_distance_is_the_largest_and_the_radius_nothing() -> None:
    config = registry.options("l2i-no-margin")
    assert (config.d, config.r) == (2.0, 0.0)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="l2i-no-margin is what it is by d"):
        registry.options("l2i-no-margin", settings={"d": 1.5})
    with pytest.raises(UsageError, match=r"d 0\.2 is not above twice r 0\.1"):
        registry.options("l2i", settings={"d": 0.2})


def test_each_loss_of_l2i_moves_what_the_paper_says() -> None:
    """L_cls the classifier alone, L_latent the encoder alone, L_cen encoder and centres."""

    def moved(**weights: float) -> set[str]:
        approach = built("l2i", **weights)
        batch = Draw(data(approach.config.shape), torch.arange(8), approach, 0).step(0)
        next(approach.losses(batch, 0.0))[1].backward()
        parts = {name.partition(".")[0]: p for name, p in approach.named_parameters() if p.grad is not None}
        return {name for name in parts if any(p.grad.abs().max() > 0 for n, p in approach.named_parameters()
                                              if n.startswith(name) and p.grad is not None)}  # fmt: skip

    assert moved(lambda_latent=0.0, lambda_cen=0.0) == {"head"}
    assert moved(lambda_latent=1.0, lambda_cen=0.0) == {"head", "encoder"}
    assert moved(lambda_latent=0.0, lambda_cen=100.0) == {"head", "encoder", "directions"}


def test_a_batch_of_l2i_ends_with_a_target_volume_of_each_class() -> None:
    approach = built("l2i")
    batch = Draw(data(approach.config.shape), torch.arange(8), approach, 0).step(5)
    assert batch.label[-2:].tolist() == [0, 1] and batch.target[-2:].all() and len(batch.label) == 8


def test_the_reversed_gradient_has_the_other_sign() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    (dann.reverse(x, 0.5) ** 2).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [-1.0, 2.0]


def test_reversal_grows_with_progress() -> None:
    """2 / (1 + exp(-10 p)) - 1: nothing at the beginning, so that the encoder learns from the classes alone."""
    approach = built("dann")
    batch = Draw(data(approach.config.shape), torch.arange(8), approach, 0).step(0)
    grads = []
    for progress, classes in ((0.0, True), (0.0, False), (0.9, False)):
        approach.zero_grad()
        if classes:
            F.cross_entropy(approach(batch.image), batch.label).backward()
        else:
            next(approach.losses(batch, progress))[1].backward()
        grads.append(approach.encoder.project.weight.grad.clone())
    assert torch.allclose(grads[0], grads[1], atol=1e-6) and not torch.allclose(grads[1], grads[2], atol=1e-6)


def test_confusion_is_smallest_where_sites_look_alike() -> None:
    assert unlearning.confusion(torch.zeros(4, 3)).item() == pytest.approx(math.log(3))
    assert unlearning.confusion(torch.tensor([[2.0, 0.0, 0.0]])).item() > math.log(3)


def test_unlearning_trains_each_part_by_its_own_loss() -> None:
    approach = built("unlearning", begin=0.5)
    batch = Draw(data(approach.config.shape), torch.arange(8), approach, 0).step(0)
    assert [name for name, _, _ in approach.losses(batch, 0.0)] == ["main", "site"]
    names = []
    for name, loss, _ in approach.losses(batch, 0.6):
        approach.zero_grad(set_to_none=True)
        loss.backward()
        names.append((name, {n.partition(".")[0] for n, p in approach.named_parameters() if p.grad is not None}))
    assert names == [("main", {"encoder", "head"}), ("site", {"judge"}), ("confusion", {"encoder", "judge"})]
    held = {id(p) for group in approach.optimizers()["confusion"].param_groups for p in group["params"]}
    assert held == {id(p) for p in approach.encoder.parameters()}


def test_supervised_contrast_by_hand() -> None:
    """f1 = f2, f3 at a right angle, tau = 1: f1 and f2 pay log(e + 1) - 1 each, f3 has nobody of its class."""
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss = contrastive.supervised_contrast(embedding, torch.tensor([0, 0, 1]), 1.0)
    assert loss.item() == pytest.approx(math.log(math.e + 1) - 1, rel=1e-5)
    assert contrastive.supervised_contrast(embedding, torch.tensor([0, 1, 2]), 1.0).item() == 0


def test_discrepancy_by_hand() -> None:
    """Both classes lie on each other, and the classes 2 apart: within nothing, between 2 - 2 k of each pair."""
    one_hot = torch.eye(2)
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    k = can.gaussians(torch.cat([points, points]))[0, 1]
    assert can.discrepancy(points, one_hot, points, one_hot).item() == pytest.approx(-(2 - 2 * k.item()), rel=1e-5)
    swapped = can.discrepancy(points, one_hot, points, one_hot.flip(0)).item()
    assert swapped == pytest.approx(2 - 2 * k.item(), rel=1e-5)
    assert can.discrepancy(points, one_hot, points, torch.zeros(2, 2)).item() == 0  # nobody is near enough


def test_clusters_follow_their_points() -> None:
    points = F.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1], [-0.1, 1.0]]), dim=1)
    found = can.spherical_means(points, F.normalize(torch.tensor([[1.0, 0.6], [0.3, 1.0]]), dim=1))
    assert torch.allclose(found, torch.stack([torch.tensor([1.0, 0.0]), points[2]]), atol=1e-6)


def test_weights_are_the_inverse_of_the_share() -> None:
    approach = plain.Weighted(registry.options("weighted", "tiny"), WORLD)
    assert approach.weight.tolist() == pytest.approx([8 / 12, 2.0])


def test_balanced_batches_hold_as_many_of_each_class() -> None:
    for name, rows in (("class-aware", slice(None)), ("can", slice(0, 3))):
        approach = built(name)
        draw = Draw(data(approach.config.shape), torch.arange(8), approach, 0)
        counts = sum(torch.bincount(draw.step(step).label[rows], minlength=2) for step in range(20))
        assert abs(int(counts[0]) - int(counts[1])) < 15, name  # type: ignore[index]
    half = [draw.step(step).target for step in range(3)]
    assert all(not part[:3].any() and part[3:].all() for part in half)


def step_of(name: str, preset: str, **settings: Any) -> None:
    approach = built(name, preset, **settings)
    before = {key: value.clone() for key, value in approach.state_dict().items()}
    draw = Draw(data(approach.config.shape), torch.arange(8), approach, 0)
    if approach.looks_at(0):
        embed = approach.encoder(draw.data.rows(torch.arange(8)).image)
        approach.meet(embed[2:], draw.data.label[2:], embed[:2])
    optimizers, batch = approach.optimizers(), draw.step(0)
    assert tuple(batch.image.shape[2:]) == approach.config.shape and 0 <= batch.image.min() <= batch.image.max() <= 1
    for which, loss, logs in approach.losses(batch, 0.5):
        assert torch.isfinite(loss) and logs
        optimizers[which].zero_grad()
        loss.backward()
        optimizers[which].step()
    changed = {key.partition(".")[0] for key, value in approach.state_dict().items() if not value.equal(before[key])}
    assert {"encoder", "head"} <= changed
    assert approach(batch.image).shape == (len(batch.label), 2)


@pytest.mark.parametrize("name", registry.CLASSIFIERS)
def test_a_step_of_every_method(name: str) -> None:
    step_of(name, "tiny")
    step_of(name, "compact", width=0.05, blocks=(0, 1, 0), batch=4)


@pytest.mark.long
@pytest.mark.parametrize("name", registry.CLASSIFIERS)
def test_a_step_of_every_method_on_the_papers_canvas(name: str) -> None:
    step_of(name, "paper", width=0.03, blocks=(1, 1, 1), batch=2)


def test_the_same_step_draws_the_same_and_another_does_not() -> None:
    approach = built("vanilla")
    draws = [Draw(data(approach.config.shape), torch.arange(8), approach, seed) for seed in (1, 1, 2)]
    same: list[Batch] = [draw.step(4) for draw in draws]
    assert same[0].image.equal(same[1].image) and not same[0].image.equal(same[2].image)
    assert not draws[0].step(5).image.equal(same[0].image)


def test_registry_refuses_in_words() -> None:
    with pytest.raises(UsageError, match="There is no classifier 'l2'"):
        registry.options("l2")
    with pytest.raises(UsageError, match="vanilla has no preset 'standard'"):
        registry.options("vanilla", "standard")
    with pytest.raises(UsageError, match="Unknown option --set lambda_cen"):
        registry.options("vanilla", settings={"lambda_cen": 1}, prefix="--set ")
