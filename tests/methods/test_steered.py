"""Regression and segmentation guidance: published sizes, the way the guide leads, what it learns, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tasks import losses, still
from torch import Tensor

from braincli.errors import InputError, UsageError
from braincli.methods import registry
from braincli.methods.base import Batch
from braincli.methods.families.steered import Steered
from braincli.runtime.progress import Reporter
from braincli.training.data import Source
from braincli.training.loop import LoopOptions, fit
from braincli.training.store import SliceStore

SIZE = (32, 24)
NAMES = ("regression-guided", "segmentation-guided")
NOW = torch.tensor(0.6)  # what all pixels of the exact model below are, on average


def build(name: str, preset: str = "tiny", size: tuple[int, int] = SIZE, **settings: Any) -> Any:
    torch.manual_seed(0)
    return registry.build(name, preset=preset, settings=settings, size=size)


def store(count: int = 48) -> SliceStore:
    """Discs of grey, half of which carry a bright square of any size at any place."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : SIZE[0] * 1j, -1 : 1 : SIZE[1] * 1j]
    brain = np.broadcast_to((y**2 + x**2) < 0.9, (count, 1, *SIZE)).copy()
    image = (90 + 30 * rng.random((count, 1, 1, 1)) + 10 * rng.random((count, 4, *SIZE))).astype(np.uint8)
    lesion = np.zeros_like(brain)
    for row in range(1, count, 2):
        side, top, left = rng.integers(4, 11), rng.integers(7, 14), rng.integers(5, 9)
        lesion[row, 0, top : top + side, left : left + side] = True
    lesion &= brain
    image = np.where(lesion, 230, image).astype(np.uint8) * brain
    label = lesion.any(axis=(1, 2, 3)).astype(np.int8)
    number = 40 + lesion.sum(axis=(1, 2, 3), dtype=np.float32)
    position = np.linspace(0, 1, count, dtype=np.float32)
    cases = {"a": ["0" * 64]}
    return SliceStore(
        image, brain, lesion, label, np.zeros(count, np.int32), position, cases, number=number, column="age"
    )


def slices() -> Batch:
    held = store()
    return Source(held, torch.device("cpu")).batch(np.arange(len(held)))


@pytest.fixture(scope="module", params=NAMES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Steered:
    """Each method after some seconds with the discs."""
    method: Steered = build(request.param, steps=4, level=600, **still(), warmup=10, rate=3e-3)
    options = LoopOptions(steps={"diffusion": 100, "guide": 120}, batch=8)
    assert fit(method, store(), tmp_path_factory.mktemp("work"), options, Reporter())
    return method.eval()


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("regression-guided", {"net": 113_681_160, "guide": 5_452_833}),
        ("segmentation-guided", {"net": 113_681_160, "guide": 113_672_065}),
    ],
)
def test_published_sizes(name: str, sizes: dict[str, int]) -> None:
    registry.method_class(name)
    with torch.device("meta"):
        method = registry.build(name, preset="paper", size=(256, 256))
    assert {part: sum(p.numel() for p in method.get_submodule(part).parameters()) for part in sizes} == sizes
    c: Any = method.config
    assert (c.level, c.steps, c.rate, c.train_batch, c.learned_variance) == (400, 400, 1e-4, 10, True)
    assert (c.scale, c.train_steps) == (
        {"regression-guided": 1000.0, "segmentation-guided": 5.0}[name], {"diffusion": 50_000, "guide": 20_000},
    )  # fmt: skip


class Exact(torch.nn.Module):
    """The noise of x_t where all pixels are independent and normal."""

    def __init__(self, method: Steered, spread: float = 0.25) -> None:
        super().__init__()
        self.schedule, self.target, self.spread = method.process.schedule, method.process.target, spread

    def forward(self, x: Tensor, t: Tensor, *, label: Tensor) -> Tensor:
        level = self.schedule.abar[t.round().long()].float()[:, None, None, None]
        a, s = level.sqrt(), (1 - level).sqrt()
        clean = NOW + self.spread**2 * a / (self.spread**2 * level + 1 - level) * (x - a * NOW)
        noise = (x - a * clean) / s
        return a * noise - s * clean if self.target == "v" else noise


class Mean(torch.nn.Module):
    """A regressor that noise does not deceive: the mean of a slice."""

    def __init__(self, method: Steered) -> None:
        super().__init__()
        self.abar = method.process.schedule.abar

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x.flatten(1).mean(dim=1, keepdim=True) / self.abar[t.round().long()].sqrt().float()[:, None]


class Bright(torch.nn.Module):
    """A segmenter: what is brighter than usual is a lesion."""

    def __init__(self, method: Steered) -> None:
        super().__init__()
        self.abar = method.process.schedule.abar

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        clean = x.mean(dim=1, keepdim=True) / self.abar[t.round().long()].sqrt().float()[:, None, None, None]
        return 8 * (clean - NOW)


def exact(name: str, guide: type[torch.nn.Module], **settings: Any) -> Any:
    """A method whose diffusion model knows all that there is to know, in the coordinates of the papers."""
    whole = {"centred": False, "target": "eps", "schedule": "linear", "level": 400, "steps": 40, "refine": 2}
    method = build(name, **whole, **settings).eval()
    method.net, method.guide = Exact(method), guide(method)
    return method


def grey(rows: int) -> tuple[Tensor, Tensor]:
    noise = 0.1 * torch.randn(rows, 4, *SIZE, generator=torch.Generator().manual_seed(0))
    return (NOW + noise).clamp(0.05, 0.95), torch.ones(rows, 1, *SIZE, dtype=torch.bool)


def test_a_regressor_leads_to_the_value_and_no_further() -> None:
    method = exact("regression-guided", Mean, scale=3e4, standardised=False)
    image, brain = grey(4)
    goal = torch.tensor([0.4, 0.6, 0.7, 0.8])
    with torch.inference_mode():
        means = method.steer(image, brain, goal).flatten(1).mean(dim=1)
    assert (means.diff() > 0.02).all(), "in the order that was asked for"
    assert (means - goal).abs().max() < (image.flatten(1).mean(dim=1) - goal).abs().max() / 2
    assert (means - 0.6).abs()[1] < 0.02, "what is there already stays"


def test_more_and_less_have_no_end() -> None:
    """s_t = 1 and -1."""
    method = exact("regression-guided", Mean, scale=2000.0, standardised=False)
    image, brain = grey(2)
    with torch.inference_mode():
        more, less = method.steer(image, brain, torch.tensor([float("inf"), float("-inf")])).flatten(1).mean(dim=1)
    assert more > image.mean() + 0.02 and less < image.mean() - 0.02


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_segmenter_paints_into_the_mask(reduction: str) -> None:
    """The printed sign would do the opposite: darker inside, brighter outside."""
    scale = {"mean": 4000.0, "sum": 5.0}[reduction]
    method = exact("segmentation-guided", Bright, scale=scale, reduction=reduction)
    image, brain = grey(1)
    goal = torch.zeros(1, 1, *SIZE)
    goal[..., 8:16, 8:16] = 1
    with torch.inference_mode():
        painted = method.steer(image, brain, goal)
        found = [(method.reading(each) > 0.5).float() for each in (image, painted)]
    inside = (painted - image)[goal.expand_as(image) > 0].mean()
    outside = (painted - image)[goal.expand_as(image) == 0].mean()
    assert inside > 0.05 and outside < 0
    dice = [float(2 * (each * goal).sum() / (each.sum() + goal.sum())) for each in found]
    assert dice[1] > dice[0] + 0.1


def test_trained_guides_lead_where_they_are_asked_to(trained: Steered) -> None:
    given, rows = slices(), torch.arange(12)
    some = given.rows(rows)
    if trained.steered_by == "number":
        small, large = (torch.full((12,), value) for value in (0.0, 0.2))
        with torch.inference_mode():
            low, now, high = (
                trained.reading(each).mean()
                for each in (trained.steer(some.image, some.brain, small), some.image,
                             trained.steer(some.image, some.brain, large))
            )  # fmt: skip
        assert low < now < high and high - low > 0.02
        return
    goal = torch.zeros(12, 1, *SIZE)
    goal[..., 10:18, 8:16] = 1
    with torch.inference_mode():
        painted = trained.steer(some.image, some.brain, goal)
        before, after = ((trained.reading(each) > 0.5).float() for each in (some.image, painted))
    healthy = some.label == 0
    dice = [2 * (m * goal)[healthy].sum() / (m + goal)[healthy].sum() for m in (before, after)]
    assert dice[1] > dice[0] + 0.1
    assert (painted - some.image)[healthy][..., 10:18, 8:16].mean() > 0.02, "brighter, as lesions are here"


def test_rows_know_nothing_of_each_other(trained: Steered) -> None:
    some = slices().rows(torch.arange(3))
    goal = torch.tensor([0.0, 0.1, float("inf")]) if trained.steered_by == "number" else some.lesion.float().flip(0)
    with torch.inference_mode():
        whole = trained.steer(some.image, some.brain, goal)
        for row in range(3):
            one = slice(row, row + 1)
            alone = trained.steer(some.image[one], some.brain[one], goal[one])
            torch.testing.assert_close(alone, whole[one], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_no_noise_is_the_identity(name: str) -> None:
    method, some, ticks = build(name, level=0).eval(), slices().rows(torch.arange(2)), []
    goal = torch.ones(2) if method.steered_by == "number" else torch.ones(2, 1, *SIZE)
    with torch.inference_mode():
        same = method.steer(some.image, some.brain, goal, lambda: ticks.append(None))
    assert torch.equal(same, some.image) and not ticks and method.calls() == 0


def test_without_a_pull_the_way_back_undoes_the_way_there() -> None:
    method = exact("regression-guided", Mean, scale=0.0)
    image, brain = grey(2)
    with torch.inference_mode():
        same = method.steer(image, brain, torch.ones(2))
    torch.testing.assert_close(same, image, rtol=0, atol=0.005)


def test_the_number_of_lesions_is_their_share_of_the_brain() -> None:
    method, given = build("regression-guided"), slices()
    number, known = method.numbers(given)
    area = given.lesion.flatten(1).sum(dim=1) / given.brain.flatten(1).sum(dim=1)
    assert torch.equal(number, area) and known.all()
    unlabelled = replace(given, label=torch.full_like(given.label, -1))
    assert not method.numbers(unlabelled)[1].any()
    (_, loss, _), *_ = losses(method, unlabelled, "guide")
    assert loss.item() == 0 and loss.requires_grad, "what is not known teaches nothing"


def test_a_column_is_learnt_from_every_slice_and_in_its_own_units() -> None:
    method, given = build("regression-guided", number="age"), slices()
    assert method.column == "age" and method.sampling("guide") == "all"
    assert build("regression-guided").column == "" and build("regression-guided").sampling("guide") == "balanced"
    method.meet(given)
    assert torch.allclose(method.scaling, torch.stack([given.number.mean(), given.number.std(correction=0)]))
    assert method.extent.tolist() == [given.number.min(), given.number.max()]
    assert "age was 40 to " in method.doubts(400.0) and not method.doubts(45.0) and not method.doubts(float("inf"))
    method.guide = Mean(method)
    value = method.reading(given.image)  # in years
    mean = method.config.scaled(given.image).flatten(1).mean(dim=1) / method.guide.abar[1].sqrt()
    torch.testing.assert_close(value, method.scaling[0] + method.scaling[1] * mean.float())
    before = method.scaling.clone()
    method.meet(replace(given, number=given.number + 100))
    assert torch.equal(method.scaling, before), "a model that goes on learning keeps its units"


def test_the_papers_regressor_learns_raw_numbers() -> None:
    method, given = build("regression-guided", number="age", standardised=False), slices()
    method.meet(given)
    assert method.scaling.tolist() == [0, 1] and method.extent[1] > 40


@pytest.mark.parametrize(("number", "words"), [("age", "nothing to learn of age"), ("lesion", "share of the brain")])
def test_numbers_that_are_all_the_same_are_refused(number: str, words: str) -> None:
    given = slices()
    same = replace(given, number=torch.full((len(given),), 7.0), lesion=torch.zeros_like(given.lesion))
    with pytest.raises(InputError, match=words):
        build("regression-guided", number=number).meet(same)


def test_unsure_tissue_and_unknown_slices_do_not_teach_the_segmenter() -> None:
    method, given = build("segmentation-guided", **still()), slices()
    nothing = replace(given, unsure=torch.ones_like(given.lesion))
    for each in (nothing, replace(given, label=torch.full_like(given.label, -1))):
        (_, loss, _), *_ = losses(method, each, "guide")
        assert loss.item() == 0


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(UsageError, match="label_dropout"):
        build("regression-guided", label_dropout=0.0)
    with pytest.raises(UsageError, match=r"lesson\.plant"):
        build("segmentation-guided", lesson={"plant": 0.5})
    with pytest.raises(UsageError, match="aim"):
        build("regression-guided", aim=float("nan"))


def test_detection_asks_for_health() -> None:
    image = slices().image[:2]
    assert build("regression-guided").health(image).tolist() == [0, 0]
    assert build("regression-guided", aim=3.0).health(image).tolist() == [3, 3]
    aged = build("regression-guided", number="age")
    aged.meet(slices())
    assert torch.equal(aged.health(image), aged.scaling[0].expand(2))
    assert not build("segmentation-guided").health(image).any()


def test_training_writes_what_the_method_met(tmp_path: Path) -> None:
    method = build("regression-guided", number="age")
    fit(method, store(), tmp_path, LoopOptions(steps={"diffusion": 1, "guide": 1}, batch=2), Reporter())
    assert method.extent[0] == 40 and float(method.scaling[1]) > 1
