"""DPM-classifier, DPM-classifier-free, segmentation ensembles: published sizes, chains, guidance, what teaches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tasks import losses, still, task

from braincli.errors import UsageError
from braincli.methods import registry
from braincli.methods.base import Batch
from braincli.methods.diffseg import DiffSeg
from braincli.methods.dpm_classifier import DPMClassifier
from braincli.methods.families.guided import DISEASED, HEALTHY, NULL, Guided

SIZE = (32, 24)
GUIDED = ("dpm-classifier", "dpm-classifier-free")
LITERAL = {"label_dropout": 0.0, "encode_label": "healthy", **still(leave_out=False, plant=0.0)}  # as the paper


def build(name: str, preset: str = "tiny", **settings: Any) -> Any:
    torch.manual_seed(0)
    return registry.build(name, preset=preset, settings=settings, size=SIZE)


def batch(rows: int = 4) -> Batch:
    brain = torch.zeros(rows, 1, *SIZE, dtype=torch.bool)
    brain[..., 4:-4, 4:-4] = True
    lesion = torch.zeros_like(brain)
    lesion[1::2, :, 10:14, 10:14] = True
    image = (0.2 + 0.6 * torch.rand(rows, 4, *SIZE, generator=torch.Generator().manual_seed(0))) * brain
    return Batch(image, brain, torch.arange(rows) % 2, lesion, torch.zeros(rows))


def generators(rows: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(rows)]


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class Blobs(torch.nn.Module):
    """The exact network for pixels that are all normal, with mean and spread: what is v or the noise in x_t."""

    def __init__(self, method: Guided, mean: float, spread: float = 0.25) -> None:
        super().__init__()
        self.schedule, self.target, self.mean, self.spread = (
            method.process.schedule,
            method.process.target,
            mean,
            spread,
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor, *, label: torch.Tensor) -> torch.Tensor:
        level = self.schedule.abar[t.round().long()].float()[:, None, None, None]
        a, s = level.sqrt(), (1 - level).sqrt()
        mean = torch.where(label == DISEASED, self.mean + 1, self.mean)[:, None, None, None]
        clean = mean + self.spread**2 * a / (self.spread**2 * level + 1 - level) * (x - a * mean)
        noise = (x - a * clean) / s
        return a * noise - s * clean if self.target == "v" else noise


class Brightness(torch.nn.Module):
    """Dark slices are healthy."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        mean = x.flatten(1).mean(dim=1)
        return torch.stack([-mean, mean], dim=1)


@pytest.mark.parametrize(
    ("name", "size", "sizes"),
    [
        ("dpm-classifier", (256, 256), {"net": 113_681_160, "classifier": 5_452_962}),
        ("dpm-classifier-free", (64, 64), {"net": 25_450_884}),
        ("diffseg", (224, 224), {"net": 113_674_370}),
    ],
)
def test_published_sizes(name: str, size: tuple[int, int], sizes: dict[str, int]) -> None:
    registry.method_class(name)
    with torch.device("meta"):
        method = registry.build(name, preset="paper", size=size)
    assert {part: count(method.get_submodule(part)) for part in sizes} == sizes
    assert count(method) == sum(sizes.values())


def test_slices_come_as_the_papers_cohorts_have_them() -> None:
    for name in GUIDED:
        paper, ours = (registry.build(name, preset=preset, size=(64, 64)) for preset in ("tiny", "tiny"))
        paper.config = paper.config.model_copy(update={"balanced": registry.options(name, "paper").balanced})
        assert (paper.sampling("main"), ours.sampling("main")) == ("any", "balanced")


def test_dpm_classifier_free_as_tsgm_is_compared_with_it() -> None:
    """The DPM-classifier's network, on the same canvas."""
    registry.method_class("dpm-classifier-free")
    with torch.device("meta"):
        method = registry.build("dpm-classifier-free", preset="wang", size=(256, 256))
    assert count(method) == 113_681_160
    c = method.config
    assert (c.loss_name, c.rate, c.train_batch, c.scale) == ("hybrid", 1e-4, 10, 3)  # type: ignore[attr-defined]


def test_printed_settings() -> None:
    one, two, three = (
        registry.method_class(name).Config() for name in (*GUIDED, "diffseg")  # the defaults are the papers'
    )  # fmt: skip
    assert (one.level, one.steps, one.scale, one.learned_variance, one.centred) == (500, 500, 100, True, False)  # type: ignore[attr-defined]
    assert (two.level, two.steps, two.scale, two.label_dropout, two.target) == (750, 75, 3, 0.35, "eps")  # type: ignore[attr-defined]
    assert (three.sampler, three.steps, three.ensemble) == ("ddpm", 1000, 5)  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", ["eps", "v"])
@pytest.mark.parametrize("name", GUIDED)
def test_encoding_and_decoding_undo_each_other(name: str, target: str) -> None:
    """With an exact network and no guidance; 1,000 steps of a linear schedule are within 0.005, 60 exact ones too."""
    method = build(name, target=target, schedule="linear", level=400, steps=60, refine=3, scale=0.0, clip=False)
    method.net = Blobs(method, mean=0.0)
    x = method.config.scaled(batch(1).image)
    code = method.encode(x)
    back = method.decode(code)
    assert float((code - x).abs().max()) > 0.1, "the code is another image"
    torch.testing.assert_close(back, x.double(), rtol=0, atol=0.005)


def test_the_classifier_leads_to_healthy() -> None:
    plain, led = (build("dpm-classifier", scale=scale, steps=8).eval() for scale in (0.0, 1000.0))
    for method in (plain, led):
        method.net, method.classifier = Blobs(method, mean=0.0), Brightness()
    given = batch(2)
    with torch.inference_mode():
        before, after = (m.predict(given.image, given.brain, generators(2)).restored for m in (plain, led))
    t = torch.ones(2)
    assert (led.log_healthy(after, t) > led.log_healthy(before, t)).all()
    assert float(after.mean()) < float(before.mean())


def test_the_class_leads_without_a_classifier() -> None:
    """The unconditional estimate is brighter by 1 than the healthy one: more weight, less light."""

    class Classes(Blobs):
        def forward(self, x: torch.Tensor, t: torch.Tensor, *, label: torch.Tensor) -> torch.Tensor:
            return super().forward(x, t, label=torch.where(label == NULL, DISEASED, HEALTHY))

    brightness = []
    for scale in (0.0, 1.0, 1.5):
        method = build("dpm-classifier-free", scale=scale, steps=8).eval()
        method.net = Classes(method, mean=-0.5)
        given = batch(2)
        with torch.inference_mode():
            restored = method.predict(given.image, given.brain, generators(2)).restored
        brightness.append(float(restored.mean()))
    assert brightness[0] > brightness[1] > brightness[2]


@pytest.mark.parametrize("settings", [{}, {"refine": 2}, {"chain": "ddpm"}])
@pytest.mark.parametrize("name", GUIDED)
def test_every_call_ticks(name: str, settings: dict[str, Any]) -> None:
    method, ticks, given = build(name, steps=3, **settings).eval(), [], batch(2)
    with torch.inference_mode():
        method.predict(given.image, given.brain, generators(2), lambda: ticks.append(None))
    assert len(ticks) == method.calls()


def test_random_noise_makes_the_ablation_stochastic() -> None:
    """The learned variance and the classifier's gradient take part in it."""
    given = batch(2)
    restorations = {}
    for scale in (0.0, 50.0):
        method = build(
            "dpm-classifier", **LITERAL, learned_variance=True, target="eps", chain="ddpm", steps=3, scale=scale
        ).eval()
        assert method.config.stochastic and not build("dpm-classifier").config.stochastic
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(1)
            for parameter in method.parameters():
                parameter += 0.05 * torch.randn(parameter.shape)
        with torch.inference_mode():
            for seed in (0, 5):
                noise = [torch.Generator().manual_seed(seed + row) for row in range(2)]
                restorations[scale, seed] = method.predict(given.image, given.brain, noise).restored
    assert not torch.equal(restorations[0.0, 0], restorations[0.0, 5])
    assert not torch.equal(restorations[0.0, 0], restorations[50.0, 0])


def test_a_null_label_must_have_been_learnt() -> None:
    with pytest.raises(UsageError, match="label_dropout"):
        build("dpm-classifier", label_dropout=0.0)
    with pytest.raises(UsageError, match="learned_variance"):
        build("dpm-classifier-free", learned_variance=True)
    with pytest.raises(UsageError, match="ancestral"):
        build("diffseg", sampler="ddpm")


def test_what_teaches() -> None:
    """Health: also from diseased slices, without their lesion; growths only there; the rest stays as it is."""
    method, given = build("dpm-classifier-free", label_dropout=0.3, **still(plant=1.0)), batch(40)
    label, image, mask = method.training_inputs(task(method, given), torch.Generator().manual_seed(0))
    assert {HEALTHY, DISEASED, NULL} == set(label.tolist())
    changed = (image != given.image).flatten(1).any(dim=1)
    assert not changed[label != HEALTHY].any() and changed[label == HEALTHY].any()
    relabelled = (given.label == DISEASED) & (label == HEALTHY)
    assert relabelled.any() and not (mask & given.lesion)[relabelled].any()
    assert mask[~relabelled].all() and mask[relabelled][..., 0, 0].all(), "the background is drawn too"
    paper = build("dpm-classifier", **LITERAL)
    label, image, mask = paper.training_inputs(task(paper, given), torch.Generator().manual_seed(0))
    assert torch.equal(label, given.label) and torch.equal(image, given.image) and mask.all()


@pytest.mark.parametrize("target", ["eps", "v"])
def test_a_growth_is_asked_to_be_drawn_over(target: str) -> None:
    """A network that knows the clean slice has no loss, whatever it is shown."""
    method, given = (
        build("dpm-classifier-free", target=target, **still(plant=1.0)),
        batch(2),
    )
    given = given.rows(torch.tensor([0, 0]))
    schedule, x0 = method.process.schedule, method.config.scaled(given.image)

    class Knows(torch.nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor, *, label: torch.Tensor) -> torch.Tensor:
            noise = (x - schedule.signal(t) * x0) / schedule.noise(t)
            return method.process.training_target(x0, noise, t)

    method.net = Knows()
    (_, loss, _), *rest = losses(method, given, "main")
    assert not rest and loss.item() == pytest.approx(0, abs=1e-6)


def test_the_classifier_learns_in_its_own_stage() -> None:
    method, given = build("dpm-classifier"), batch()
    (name, loss, logs), *rest = losses(method, given, "classifier")
    loss.backward()
    assert name == "classifier" and not rest and 0 <= logs["accuracy"] <= 1
    assert all(p.grad is None for p in method.net.parameters())
    assert isinstance(method, DPMClassifier) and set(method.optimizers("diffusion")) == {"net"}


class Mask(torch.nn.Module):
    """Knows that the mask is where the first contrast is bright; says v."""

    def __init__(self, method: DiffSeg) -> None:
        super().__init__()
        self.schedule = method.process.schedule

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        sigma = self.schedule.sigma(t.round().long())
        a = (1 / (1 + sigma**2)).sqrt().float()[:, None, None, None]
        s = (1 - a**2).sqrt()
        clean = (x[:, :1] > 0.5).float() * 2 - 1
        return a * (x[:, -1:] - a * clean) / s - s * clean


@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "dpm-solver-2m"])
@pytest.mark.parametrize("contrasts", ["stacked", "single"])
def test_masks_are_drawn_from_noise(sampler: str, contrasts: str) -> None:
    method, given, ticks = (
        build("diffseg", sampler=sampler, steps=6, ensemble=2, contrasts=contrasts).eval(),
        batch(3),
        [],
    )
    method.net = Mask(method)
    image = given.image[:, :1].expand(-1, 4, -1, -1)
    with torch.inference_mode():
        score = method.predict(image, given.brain, generators(3), lambda: ticks.append(None)).score
    torch.testing.assert_close(score, (image[:, :1] > 0.5).float() * given.brain, rtol=0, atol=0.02)
    assert len(ticks) == method.calls()


def test_the_ensemble_is_the_mean_of_its_samples() -> None:
    given = batch(2)
    one, five = build("diffseg", ensemble=1).eval(), build("diffseg", ensemble=2).eval()
    with torch.inference_mode():
        both = [one.predict(given.image[:1], given.brain[:1], [g]).score for g in generators(2)[:1] * 2]
        two = five.predict(given.image[:1], given.brain[:1], generators(1)).score
    assert not torch.equal(both[0], both[1]), "a generator goes on"
    assert float(two.min()) >= 0 and float(two.max()) <= 1 and not two[~given.brain[:1]].any()


def test_the_learned_variance_draws_masks_too() -> None:
    method, given = build("diffseg", learned_variance=True, target="eps", sampler="ddpm", steps=3).eval(), batch(2)
    (_, loss, _), *_ = losses(method, given, "main")
    assert loss.item() > 0 and method.net(torch.zeros(1, 5, *SIZE), torch.ones(1)).shape[1] == 2
    with torch.inference_mode():
        first, second = (method.predict(given.image, given.brain, g).score for g in (generators(2), generators(3)[1:]))
    assert not torch.equal(first, second)
