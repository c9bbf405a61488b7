"""What a lesson makes of a batch: what is seen, what is to be given, what counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from braincli.errors import UsageError
from braincli.methods import registry
from braincli.methods.base import Batch, Task
from braincli.methods.lesson import Lesson

SIZE = (32, 24)


def batch(rows: int = 6) -> Batch:
    """Textured squares of brain; odd rows hold a lesion; the last contrast of row 0 is absent."""
    brain = torch.zeros(rows, 1, *SIZE, dtype=torch.bool)
    brain[..., 4:28, 4:20] = True
    image = (0.2 + 0.6 * torch.rand(rows, 4, *SIZE, generator=generator())) * brain
    image[0, 3] = 0
    lesion = torch.zeros_like(brain)
    lesion[1::2, :, 10:16, 8:14] = True
    tissue = torch.rand(rows, 3, *SIZE, generator=generator(1)).softmax(dim=1) * brain
    return Batch(image, brain, torch.arange(rows) % 2, lesion, torch.linspace(0, 1, rows), tissue)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(given: Batch | None = None, seed: int = 0, run: int = 1, **options: Any) -> Task:
    return Lesson(**options).task(given or batch(), generator(seed), run=run)


def test_a_papers_lesson_changes_nothing_and_all_counts() -> None:
    given = batch()
    task = made(given)
    assert task.image is task.target is given.image
    assert not task.planted.any() and not task.with_planted.any()
    assert task.counts[1:].all() and task.counts[0, :3].all(), "the background, too"
    assert not task.counts[0, 3].any(), "an absent contrast has nothing to give"
    for name in ("brain", "label", "lesion", "position", "tissue"):
        assert getattr(task, name) is getattr(given, name)


def test_what_is_left_out() -> None:
    """Lesions with two pixels around them, and the background."""
    task = made(leave_out=True)
    assert task.image is task.target, "it is seen all the same"
    assert not task.counts[1, :, 8:18, 6:16].any() and task.counts[1, :, 7, 6:16].all()
    assert torch.equal(task.counts[2], task.brain[2].expand(4, -1, -1)) and not task.counts[0, 3].any()


@pytest.mark.parametrize("plant", [0.0, 0.9])
def test_neighbours_are_changed_as_their_slice_is(plant: float) -> None:
    given = batch()
    given = replace(given, around=given.image[:, None].expand(-1, 2, -1, -1, -1))
    options: dict[str, Any] = {"vary": 1.0, "drop": 0.3, "plant": plant, "leave_out": True}
    task, alone = made(given, **options), made(**options)
    assert torch.equal(task.image, alone.image) and not torch.equal(task.image, given.image)
    assert bool(task.with_planted.any()) == bool(plant)
    assert task.around is not None
    for near in task.around.unbind(dim=1):
        torch.testing.assert_close(near, task.image)
    plain = made(given)
    assert plain.around is given.around, "a paper's lesson changes none"


def test_planted_lesions_are_seen_and_not_asked_for() -> None:
    given = batch(200)
    task = made(given, plant=0.3)
    assert task.target is given.image
    changed = (task.image != given.image).flatten(1).any(dim=1)
    assert 40 < int(changed.sum()) < 80
    assert torch.equal(changed, task.with_planted)
    assert not task.planted[~task.brain].any() and 0 <= float(task.planted.min()) <= float(task.planted.max()) <= 1
    assert torch.equal(task.sick, given.lesion | (task.planted > 0.5))
    assert not (task.image[0, 3]).any(), "an absent contrast stays absent"


def test_transplanted_lesions_need_a_donor() -> None:
    """Without one, growths stand in."""
    healthy = replace(batch(), lesion=torch.zeros_like(batch().lesion))
    grown = made(healthy, plant=1.0)
    assert torch.equal(made(healthy, plant=1.0, transplant=1.0).image, grown.image)
    assert not torch.equal(made(plant=1.0, transplant=1.0).image, grown.image)


def test_all_parts_vary_alike() -> None:
    given = batch()
    marked = given.with_image(given.lesion.float().expand(-1, 4, -1, -1) * 0.5 + 0.25 * given.brain)
    task = made(marked, vary=1.0, plant=0.5)
    bright = (task.target > 0.5).any(dim=1, keepdim=True)
    overlap = (bright & task.lesion).sum() / (bright | task.lesion).sum()
    assert overlap > 0.8, "a lesion moves with its slice"
    assert not torch.equal(task.brain, given.brain) and task.image is not task.target
    rest = ~task.with_planted
    assert torch.equal(task.image[rest], task.target[rest]), "what is seen varies as what is asked for"
    assert task.tissue is not None and not torch.equal(task.tissue, given.tissue)


def test_contrasts_are_taken_away_from_both() -> None:
    task = made(batch(60), drop=0.5, plant=1.0)
    seen, asked = (part.flatten(2).any(dim=2) for part in (task.image, task.target))
    assert torch.equal(seen, asked) and torch.equal(asked, task.counts.flatten(2).any(dim=2))
    assert seen.any(dim=1).all() and 0.3 < float(seen.float().mean()) < 0.7
    lone = made(batch(60), alone=1.0)
    assert (lone.target.flatten(2).any(dim=2).sum(dim=1) <= 1).all()


def test_slices_of_a_run_are_treated_alike() -> None:
    one = batch(1)
    given = one.rows(torch.zeros(8, dtype=torch.long))
    task = made(given, run=4, vary=1.0, drop=0.3, plant=1.0)
    for part in (task.image, task.target, task.brain, task.planted):
        assert torch.equal(part[0], part[3]) and torch.equal(part[4], part[7])
        assert not torch.equal(part[3], part[4])


def test_the_generator_decides_everything() -> None:
    options = {"vary": 1.0, "drop": 0.3, "alone": 0.2, "leave_out": True, "plant": 0.5, "transplant": 0.5, "twins": 0.5}
    torch.manual_seed(1)
    first = made(seed=3, **options)
    torch.manual_seed(2)
    second, third = made(seed=3, **options), made(seed=4, **options)
    for name in ("image", "target", "counts", "planted", "brain"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert not torch.equal(first.image, third.image)


def test_tasks_are_batches() -> None:
    rows = made(plant=1.0).rows(torch.tensor([0, 2]))
    assert isinstance(rows, Task) and len(rows) == 2 == len(rows.planted)


def test_lessons_are_checked() -> None:
    with pytest.raises(ValidationError, match="plant"):
        Lesson(plant=1.5)
    with pytest.raises(ValidationError):
        Lesson(grow=1.0)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "lesson", "why"),
    [
        ("cyclegan", {"plant": 0.5}, "lesson.plant"),
        ("diffseg", {"leave_out": True}, "lesson.leave_out"),
        ("threshold", {"vary": 1.0}, "Unknown option .lesson"),
    ],
)
def test_what_a_method_cannot_follow_is_refused(name: str, lesson: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        registry.options(name, "tiny", {"lesson": lesson})


def test_a_setting_overrules_its_own_entry_alone() -> None:
    before, after = (registry.options("ae", "compact", s).lesson for s in ({}, {"lesson": {"plant": 0.0}}))
    assert after == before.model_copy(update={"plant": 0.0}) != before


def test_tsgm_sees_what_stage_one_makes_of_the_rows_that_the_lesson_left() -> None:
    method = registry.build(
        "tsgm", preset="tiny", size=SIZE, settings={"lesson": {"vary": 0, "drop": 0, "alone": 0, "plant": 0.5}}
    )
    method.translate = lambda network, image, inside: torch.full_like(image, 0.5) * inside  # type: ignore[assignment,operator]
    given = batch(40)
    task = method.task(given, "restore", generator())
    assert task.target is given.image
    planted, translated = task.with_planted, ~task.with_planted
    assert planted.any() and translated.any()
    inside = given.brain.expand(-1, 4, -1, -1) & (given.image.flatten(2).any(dim=2)[..., None, None])
    assert torch.equal(task.image[translated], (0.5 * inside)[translated])
    first = method.task(given, "translate", generator())
    assert first.image is first.target is given.image


def test_single_contrasts_become_rows_and_none_is_blank() -> None:
    task = made(plant=0.5)
    rows = task.split()
    held = [(row, c) for row in range(6) for c in range(4) if (row, c) != (0, 3)]
    assert len(rows) == len(held) and rows.image.shape == (23, 1, *SIZE) and rows.contrast is not None
    for position, (row, c) in enumerate(held):
        assert torch.equal(rows.image[position, 0], task.image[row, c])
        assert torch.equal(rows.target[position, 0], task.target[row, c])
        assert torch.equal(rows.counts[position, 0], task.counts[row, c])
        assert torch.equal(rows.planted[position], task.planted[row]) and torch.equal(
            rows.brain[position], task.brain[row]
        )
        assert (int(rows.contrast[position]), int(rows.label[position])) == (c, row % 2)
    plain = made().split()
    assert plain.image is plain.target


def test_contrasts_that_the_whole_cohort_holds_need_no_look_at_the_data() -> None:
    task = made()
    rows = task.split((0, 2))
    assert len(rows) == 12 and rows.contrast is not None and rows.contrast.tolist() == [0, 2] * 6
    assert torch.equal(rows.image[1, 0], task.image[0, 2])


def test_slices_of_a_run_stay_together_contrast_by_contrast() -> None:
    given = batch(4)
    given = given.with_image(given.image.clone())
    given.image[:2, 1] = 0  # a run without T1ce
    rows = made(given, run=2).split(run=2)
    assert rows.contrast is not None
    order = list(zip(rows.position.tolist(), rows.contrast.tolist(), strict=True))
    heights = given.position.tolist()
    assert order[:4] == [(heights[0], 0), (heights[1], 0), (heights[0], 2), (heights[1], 2)]
    assert order[6:10] == [(heights[2], 0), (heights[3], 0), (heights[2], 1), (heights[3], 1)]


@pytest.mark.parametrize("name", sorted(set(registry.METHODS) - {"threshold", "isct"}))  # isct: a stack by nature
def test_a_cohort_of_one_contrast_teaches_as_if_there_were_no_others(name: str) -> None:
    """Blank rows would move batch statistics, penalties and means; where they never were, nothing is missed."""
    rows = 16 if name == "svae" else 4
    given = batch(rows)
    alone = given.with_image(given.image * torch.tensor([0.0, 0.0, 1.0, 0.0])[:, None, None])
    only = given.with_image(given.image[:, 2:3])
    settings: dict[str, Any] = {"contrasts": "single", "lesson": {"vary": 0.0, "drop": 0.0, "plant": 0.0}}
    if name == "tsgm":
        settings |= {"redraw": None, "suspect": None}  # which need all contrasts
    found = []
    for images, channels, held in ((alone, 4, (2,)), (alone, 4, None), (only, 1, None)):
        torch.manual_seed(0)
        method = registry.build(name, preset="tiny", size=SIZE, settings=settings, channels=channels)
        method.held = held
        losses = []
        for stage in method.stages:
            torch.manual_seed(1)
            for _, loss, _ in method.learn(images, stage, generator(2)):
                losses.append(float(loss))
        found.append(losses)
    assert found[0] == pytest.approx(found[1], rel=1e-4) and found[0] == pytest.approx(found[2], rel=1e-4)
