"""TSGM's presets and samplers: published sizes, what the published code does otherwise, warm starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from braincli.diffusion import samplers
from braincli.errors import UsageError
from braincli.methods import registry
from braincli.methods.base import Batch, Method
from braincli.methods.families.secondpass import doubted, suspected
from braincli.methods.families.suspecting import LESSON

SIZE = (32, 24)


def build(**settings: Any) -> Method:
    torch.manual_seed(0)
    return registry.build("tsgm", preset="tiny", settings={"suspect": None, **settings}, size=SIZE).eval()


def restored(method: Method, ticks: list[tuple[int, int]] | None = None) -> torch.Tensor:
    image = torch.full((2, 4, *SIZE), 0.5)
    rngs = [torch.Generator().manual_seed(row) for row in range(2)]
    with torch.inference_mode():
        restoration = method.predict(image, torch.ones(2, 1, *SIZE, dtype=torch.bool), rngs, lambda: ticks.append(None)
                               if ticks is not None else None).restored  # fmt: skip
    assert restoration is not None
    return restoration


@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_published_sizes(preset: str) -> None:
    """Score network 65,558,305 with its fixed frequencies; two ResNet-9 generators and two 70 x 70 PatchGANs."""
    registry.method_class("tsgm")  # its modules hold tensors, which must not be made below
    with torch.device("meta"):
        method = registry.build("tsgm", preset=preset, channels=4, size=(256, 256))
    sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in method.named_children()}
    frequencies = method.get_submodule("score").frequencies
    assert sizes["score"] + frequencies.numel() == 65_558_305
    assert sizes["to_diseased"] == sizes["to_healthy"] == 11_365_633
    assert sizes["discriminator_diseased"] == sizes["discriminator_healthy"] == 2_762_689


def test_the_reference_differs_from_the_paper_where_the_code_does() -> None:
    def epochs(number: int) -> dict[str, object]:
        return {"number": number, "of": "slices"}

    kind = registry.method_class("tsgm")
    paper, code = (kind.Config(**kind.PRESETS[name]).model_dump() for name in ("paper", "reference"))
    assert {key: (paper[key], code[key]) for key in paper if paper[key] != code[key]} == {
        "sigma_min": (0.1, 0.01), "restore_rate": (1e-4, 2e-4), "ema": (0.999, 0.0), "clip_norm": (0.0, 1.0),
        "prior": (0.0, 1.0), "corrector_first": (False, True), "decay": ({"translate": "half-linear"}, "constant"),
        "train_steps": ({"translate": epochs(200), "restore": epochs(50)},
                        {"translate": epochs(30), "restore": epochs(30)}),
    }  # fmt: skip
    assert paper["sigma_max"] == 348 and paper["steps"] == 1000 and paper["snr"] == 0.075 and paper["train_batch"] == 1


@pytest.mark.parametrize(
    "settings",
    [{"sampler": name} for name in samplers.SAMPLERS]
    + [{"sampler": "predictor-corrector", "corrector_first": True, "prior": 1.0, "redraw": None}]
    + [{"sampler": "predictor-corrector", "corrector_steps": k, "redraw": None} for k in (0, 3)],
)
def test_every_sampler_serves(settings: dict[str, Any]) -> None:
    ticks: list[None] = []
    method = build(steps=3, **settings)
    restoration = restored(method, ticks)
    assert torch.isfinite(restoration).all()
    assert len(ticks) == method.calls()


def test_more_corrections_per_level_cost_a_call_each() -> None:
    """K of Algorithm 2; none leaves the predictor."""
    made = {k: build(steps=3, sampler="predictor-corrector", corrector_steps=k, redraw=None) for k in (0, 1, 3)}
    assert {k: method.calls() for k, method in made.items()} == {0: 3, 1: 3 + 2, 3: 3 + 2 * 3}
    alone = build(steps=3, sampler="reverse-diffusion", redraw=None)
    assert torch.equal(restored(made[0]), restored(alone))
    assert not torch.equal(restored(made[1]), restored(made[3]))


def test_a_warm_start_begins_with_the_scan() -> None:
    """An untrained centred network copies its condition at high noise and keeps the noisy scan at low noise."""
    sigmas: list[torch.Tensor] = []

    def spy(joint: torch.Tensor, log_sigma: torch.Tensor) -> torch.Tensor:
        sigmas.append(log_sigma.exp())
        return torch.zeros_like(joint[:, :4])

    method = build(steps=3, sigma_start=20.0, redraw=None)
    method._network = spy  # type: ignore[method-assign,assignment]
    restoration = restored(method)
    assert float(sigmas[0][0]) == pytest.approx(20.0)
    assert float((restoration - 0.5).abs().mean()) < 0.05


def suspicious(method: Method, where: torch.Tensor) -> None:
    """Let the score network suspect just ``where`` (B, 1, H, W) bool."""

    def network(joint: torch.Tensor, log_sigma: torch.Tensor) -> torch.Tensor:
        logit = torch.where(where, 9.0, -9.0)
        return torch.cat([torch.zeros_like(joint[:, :4]), logit], dim=1)

    method._network = network  # type: ignore[method-assign,assignment]


def test_what_is_not_suspected_stays_as_it_is() -> None:
    """Row 0 has a suspect square, which is redrawn with its margin; row 1 has none and comes back to the bit."""
    method, rng = build(), torch.Generator().manual_seed(3)
    image = torch.rand(2, 4, *SIZE, generator=rng)
    image[:, 1] = 0  # no T1ce
    brain = torch.ones(2, 1, *SIZE, dtype=torch.bool)
    where = torch.zeros(2, 1, *SIZE, dtype=torch.bool)
    where[0, 0, 10:16, 8:14] = True
    suspicious(method, where)
    ticks: list[None] = []
    rngs = [torch.Generator().manual_seed(row) for row in range(2)]
    with torch.inference_mode():
        made = method.predict(image, brain, rngs, lambda: ticks.append(None))
    assert made.restored is not None and made.suspicion is not None and made.score is None
    assert torch.equal(made.restored[1], image[1]) and len(ticks) == method.calls()
    changed = (made.restored[0] != image[0]).any(dim=0)
    assert changed[8:18, 6:16].float().mean() > 0.9, "the square and two pixels around it"
    changed[8:18, 6:16] = False
    assert not changed.any() and not made.restored[:, 1].any()
    assert torch.equal(made.suspicion > 0.5, where)


def test_a_stage_that_is_not_there_is_not_trained() -> None:
    assert build().stages == ("translate", "restore", "redraw")
    assert build(redraw=None).stages == ("translate", "restore")
    assert build(suspect={"widths": (8, 16)}).stages == ("translate", "restore", "redraw", "suspect")
    with torch.device("meta"):
        assert registry.build("tsgm", preset="paper", size=(256, 256)).stages == ("translate", "restore")
    with pytest.raises(UsageError, match="redraw needs contrasts = stacked"):
        build(contrasts="single")
    with pytest.raises(UsageError, match="suspect needs redraw"):
        build(redraw=None, suspect={"widths": (8, 16)})
    with pytest.raises(UsageError, match=r"redraw\.looks = 0 needs suspect"):
        build(redraw={"width": 8, "multipliers": (1, 2), "looks": 0})


def slices_with_neighbours(rows: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    brain = torch.zeros(rows, 1, *SIZE, dtype=torch.bool)
    brain[:, :, 4:28, 4:20] = True
    around = torch.rand(rows, 2, 4, *SIZE, generator=rng) * brain[:, None]
    return torch.rand(rows, 4, *SIZE, generator=rng) * brain, brain, around


@pytest.mark.parametrize("looks", [0, 2])
def test_the_network_that_suspects_sees_neighbours(looks: int) -> None:
    method = build(
        suspect={"widths": (8, 16), "neighbours": 1}, redraw={"width": 8, "multipliers": (1, 2), "looks": looks}
    )
    assert method.neighbours == 1 and [method.neighbours_in(stage) for stage in method.stages] == [0, 0, 0, 1]
    image, brain, around = slices_with_neighbours()
    rngs, ticks = [torch.Generator().manual_seed(row) for row in range(len(image))], []

    def suspicion(around: torch.Tensor | None) -> torch.Tensor:
        with torch.inference_mode():
            made = method.predict_among(around, image, brain, rngs, lambda: ticks.append(None)).suspicion
        assert made is not None
        return made

    told = suspicion(around)
    assert len(ticks) == method.calls() and not told[~brain].any()
    assert not torch.equal(told, suspicion(None)), "neighbours matter"
    if not looks:
        repeated = image[:, None].expand(-1, 2, -1, -1, -1)
        assert torch.equal(suspicion(None), suspicion(repeated)), "who has none stands for them"


def test_it_does_without_neighbours() -> None:
    method = build(suspect={"widths": (8, 16), "neighbours": 0})
    image, *_ = slices_with_neighbours()
    with torch.inference_mode():
        assert method.suspect.each_alone(image, None).shape == (4, 1, *SIZE)
    assert method.neighbours == 0


def test_neighbours_show_the_contrasts_of_their_slice_alone() -> None:
    method = build(suspect={"widths": (8, 16), "neighbours": 1})
    image, _, around = slices_with_neighbours()
    image[:, 1:] = 0
    with torch.inference_mode():
        told = method.suspect(image, around)
        around[:, :, 1:] = 0
        assert torch.equal(told, method.suspect(image, around))


def test_of_several_contrasts_it_says_the_mean_of_what_it_says_of_each() -> None:
    method = build(suspect={"widths": (8, 16), "neighbours": 1})
    image, _, around = slices_with_neighbours(3)
    image[1, 1:3] = 0
    image[2] = 0
    with torch.inference_mode():
        told = method.suspect.each_alone(image, around)
        alone = []
        for contrast in range(4):
            one = torch.zeros_like(image)
            one[:, contrast] = image[:, contrast]
            alone.append(method.suspect(one, around))
    torch.testing.assert_close(told[0], torch.stack(alone)[:, 0].mean(dim=0))
    torch.testing.assert_close(told[1], torch.stack([alone[0], alone[3]])[:, 1].mean(dim=0))
    assert (told[2] == -3).all(), "who sees nothing suspects little"


def test_an_option_of_its_lesson_leaves_the_others_as_they_are() -> None:
    """So ``--set suspect.lesson.vary=1`` does, for a preset and for a model to begin with."""
    kind, one = registry.method_class("tsgm"), {"suspect": {"lesson": {"vary": 1.0}}}
    for preset in ("compact", "tiny"):
        lesson = registry.options("tsgm", preset, one).suspect.lesson  # type: ignore[attr-defined]
        assert lesson == LESSON.model_copy(update={"vary": 1.0}) and lesson.plant == 0.3
    begun = registry.options("tsgm", "tiny", {"suspect": {"lesson": {"plant": 0.1}}}).model_dump()
    assert kind.Config(**registry.merged(begun, one)).suspect.lesson == LESSON.model_copy(
        update={"vary": 1.0, "plant": 0.1}
    )
    assert registry.merged({"a": None}, one) == {"a": None, **one}, "no table: replaced"


def test_suspicion_learns_from_rows_as_they_are_and_from_planted_lesions() -> None:
    redraw = {"width": 8, "multipliers": (1, 2), "own": True}
    method = build(suspect={"widths": (8, 16), "neighbours": 1}, redraw=redraw)
    assert method.sampling("suspect") == "balanced" and build(suspect={}).sampling("suspect") == "any"
    image, brain, around = slices_with_neighbours(40)
    lesion = torch.zeros_like(brain)
    lesion[:20, :, 8:12, 6:10] = True
    batch = Batch(image, brain, lesion.flatten(1).any(1).long(), lesion, torch.zeros(40), around=around)
    task = method.task(batch, "suspect", torch.Generator().manual_seed(0))
    assert 0 < int(task.with_planted.sum()) < 40 and task.around is not None and task.around.shape == around.shape
    _, known = suspected(task, own=True)
    assert torch.equal(known, task.brain), "no row is the CycleGAN's"


def test_own_lesions_teach_suspicion_up_to_their_rim() -> None:
    method = build(redraw={"width": 8, "multipliers": (1, 2), "own": True}, lesson={"leave_out": True, "plant": 0.5})
    rng = torch.Generator().manual_seed(0)
    rows, brain = 12, torch.zeros(12, 1, *SIZE, dtype=torch.bool)
    brain[:, :, 4:28, 4:20] = True
    lesion, unsure = torch.zeros_like(brain), torch.zeros_like(brain)
    lesion[:, :, 8:12, 6:10] = True
    unsure[:, :, 20:24, 6:10] = True
    image = torch.rand(rows, 4, *SIZE, generator=rng) * brain
    batch = Batch(image, brain, torch.ones(rows, dtype=torch.long), lesion, torch.zeros(rows), unsure=unsure)
    task = method.task(batch, "restore", rng)
    diseased, known = suspected(task, own=True)
    taught = task.with_planted[:, None, None, None]
    assert 0 < int(taught.sum()) < rows, "some rows are partners by the CycleGAN"
    assert bool((diseased[task.lesion] == 1).all()) and bool((known[task.lesion & taught]).all())
    assert not (known & task.unsure & ~task.lesion).any() and not known[~taught[:, 0, 0, 0]].any()
    assert torch.equal(known, taught & task.brain & (~task.unsure | task.lesion)), "no margin is left out"
    planted, narrower = suspected(task, own=False)
    assert torch.equal(planted, task.planted) and not (narrower & task.lesion).any()


def test_caution_is_the_highest_of_the_contrasts_at_hand() -> None:
    image = torch.zeros(3, 4, 2, 2)
    image[0], image[1, 2], image[2, :2] = 0.5, 0.5, 0.5  # all four, T2 alone, T1 and T1ce
    lowered = doubted(torch.ones(3, 1, 2, 2), image, (-2.0, -0.5, 0.25, 1.25))
    assert lowered[:, 0, 0, 0].tolist() == [1 - 1.25, 1 - 0.25, 1 + 0.5]
    assert torch.equal(doubted(torch.ones(3, 1, 2, 2), image, 1.25), torch.full((3, 1, 2, 2), -0.25))
    assert build(redraw={"width": 8, "multipliers": (1, 2), "caution": (0, 0, 0, 1)})
    with pytest.raises(UsageError, match=r"redraw\.caution has 2 values for 4 contrasts"):
        build(redraw={"width": 8, "multipliers": (1, 2), "caution": (0, 1)})


def test_plain_rows_are_seen_as_they_are_and_teach_suspicion() -> None:
    redraw = {"width": 8, "multipliers": (1, 2), "own": True, "plain": 1.0}
    method = build(redraw=redraw, lesson={"leave_out": True, "plant": 0.5, "vary": 1.0})
    rng = torch.Generator().manual_seed(0)
    rows, brain = 12, torch.zeros(12, 1, *SIZE, dtype=torch.bool)
    brain[:, :, 4:28, 4:20] = True
    lesion = torch.zeros_like(brain)
    lesion[:, :, 8:12, 6:10] = True
    image = torch.rand(rows, 4, *SIZE, generator=rng) * brain
    task = method.task(
        Batch(image, brain, torch.ones(rows, dtype=torch.long), lesion, torch.zeros(rows)), "restore", rng
    )
    plain = ~task.with_planted
    assert 0 < int(plain.sum()) < rows and torch.equal(task.image[plain], task.target[plain])
    diseased, known = suspected(task, own=True)
    assert torch.equal(known, task.brain) and torch.equal(diseased[plain], task.lesion[plain].float())


def test_only_what_is_hidden_is_learnt_and_seen_as_its_surroundings() -> None:
    method, rng = build(), torch.Generator().manual_seed(0)
    rows = 8
    brain = torch.zeros(rows, 1, *SIZE, dtype=torch.bool)
    brain[:, :, 4:28, 4:20] = True
    batch = Batch(
        torch.rand(rows, 4, *SIZE, generator=rng) * brain, brain, torch.zeros(rows, dtype=torch.long),
        torch.zeros_like(brain), torch.zeros(rows),
    )  # fmt: skip
    task = method.task(batch, "redraw", rng)
    assert task.hidden is not None
    assert task.hidden.flatten(1).any(dim=1).all() and not (task.hidden & ~task.brain).any()
    assert not (task.counts & ~task.hidden).any()
    ((name, loss, _),) = method.losses(task, "redraw", torch.Generator().manual_seed(1))
    secret = replace(task, image=torch.where(task.hidden, torch.rand(task.image.shape), task.image))
    ((_, same, _),) = method.losses(secret, "redraw", torch.Generator().manual_seed(1))
    assert name == "redraw" and torch.equal(loss, same), "what lies under the hidden region is not seen"
