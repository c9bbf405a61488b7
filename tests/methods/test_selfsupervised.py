"""PII, DRAEM and the supervised U-Net: what each learns from, and how its score is made."""

from __future__ import annotations

import math

import pytest
import torch
from tasks import losses, still, task

from braincli.anomalies import poisson
from braincli.methods import registry
from braincli.methods.base import Batch
from braincli.methods.draem import DRAEM, focal
from braincli.methods.families.segmenter import pooled
from braincli.methods.pii import PII, around
from braincli.methods.unet import UNet

SIZE = (32, 24)


def batch(rows: int = 6, channels: int = 4) -> Batch:
    brain = torch.zeros(rows, 1, *SIZE, dtype=torch.bool)
    brain[:, :, 4:28, 4:20] = True
    image = (0.2 + 0.6 * torch.rand(rows, channels, *SIZE, generator=generator())) * brain
    lesion = torch.zeros_like(brain)
    lesion[0, 0, 10:16, 8:14] = True
    return Batch(image, brain, torch.arange(rows) % 2, lesion, torch.linspace(0, 1, rows))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(name: str, preset: str = "tiny", **settings: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return registry.build(name, preset=preset, settings=settings, size=SIZE)


def test_paper_sizes() -> None:
    with torch.device("meta"):
        sizes = {name: build(name, "paper") for name in ("pii", "draem", "unet")}
    parameters = {name: sum(p.numel() for p in method.parameters()) for name, method in sizes.items()}
    assert parameters == {"pii": 7_701_825, "unet": 7_701_825, "draem": 69_043_969 + 28_371_842}


@pytest.mark.parametrize("name", ["pii", "draem", "unet"])
def test_compact_fits_into_what_is_shipped(name: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build(name, "compact").parameters()) < 3_500_000


@pytest.mark.parametrize("name", ["pii", "draem", "unet"])
def test_diets(name: str) -> None:
    samplings = {"pii": ("healthy", "any"), "draem": ("healthy", "any"), "unet": ("any", "balanced")}
    with torch.device("meta"):
        assert (build(name, "paper").sampling("main"), build(name, "compact").sampling("main")) == samplings[name]  # type: ignore[operator]


@pytest.mark.parametrize("contrasts", ["single", "stacked"])
@pytest.mark.parametrize(("name", "more"), [("pii", {}), ("draem", {}), ("unet", {"masks": "synthetic"})])
def test_known_lesions_teach_nothing(name: str, more: dict[str, str], contrasts: str) -> None:
    """No gradient reaches the output where a lesion is known, nor two pixels around it."""
    settings = {**still(), "contrasts": contrasts, **more}
    method, given = build(name, **settings), batch()
    kind = torch.bool if name == "draem" else torch.float32
    setattr(
        method, "blended" if name == "pii" else "planted", lambda b, g: (b.image, torch.zeros_like(b.brain, dtype=kind))
    )  # fmt: skip
    outputs: list[torch.Tensor] = []

    def note(module: torch.nn.Module, given: object, output: torch.Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    parts = [method.comparer, method.restorer] if isinstance(method, DRAEM) else [method.network]
    for part in parts:
        part.register_forward_hook(note)  # type: ignore[union-attr, operator]
    for _, loss, _ in losses(method, given, "main"):  # type: ignore[operator]
        loss.backward()
    rows = 4 if contrasts == "single" else 1
    logits = outputs[-1].grad
    assert logits is not None and logits[rows:].any()
    assert not logits[:rows, :, 8:18, 6:16].any() and logits[:rows].any()


def test_pii_labels_change_and_cuts_patches_around_growths() -> None:
    method, given = build("pii", **still(plant=1.0)), batch()
    assert isinstance(method, PII)
    made, label = method.blended(task(method, given), generator())
    change = (made - given.image).abs().amax(dim=1, keepdim=True)
    assert float(label.max()) <= 1 and not label[~given.brain].any()
    assert (label[change > 0.05] > 0).all() and not label[:, :, :2].any()
    plain = build("pii", label="alpha", **still(plant=0.0))
    assert isinstance(plain, PII)
    _, alpha = plain.blended(task(plain, given), generator())
    assert all(len(row.unique()) <= 2 for row in alpha)


def test_a_patch_is_moved_around_what_it_must_hold() -> None:
    brain = batch().brain[:2]
    alpha = torch.zeros(2, 1, *SIZE)
    alpha[:, :, 10:16, 6:10] = 1
    patch = poisson.draw((2, 4, *SIZE), generator())
    moved = around(alpha, brain, patch, torch.tensor([True, False]))
    assert torch.equal(moved.centre[1], patch.centre[1])
    top, bottom, left, right = poisson.boxes(brain, moved)[0]
    assert top <= 10 and bottom >= 16 and left <= 6 and right >= 10
    assert bottom - top <= 10 and right - left <= 8


def test_focal_loss_is_cross_entropy_at_gamma_zero_and_ignores_what_is_sure() -> None:
    logits = torch.randn(2, 2, 6, 5, generator=generator())
    target = torch.rand(2, 1, 6, 5, generator=generator()) < 0.3
    mask = torch.ones_like(target)
    expected = torch.nn.functional.cross_entropy(logits, target[:, 0].long())
    torch.testing.assert_close(focal(logits, target, mask, 0.0), expected)
    even = torch.zeros(1, 2, 1, 1)
    assert float(focal(even, target[:1, :, :1, :1], mask[:1, :, :1, :1], 2.0)) == pytest.approx(0.25 * math.log(2))
    assert float(focal(20 * (2 * torch.cat([~target, target], 1).float() - 1), target, mask, 2.0)) < 1e-6


def test_draem_plants_growth_or_textures_and_leaves_clean_rows_alone() -> None:
    method = build("draem", clean=0.5, least=0.05, **still(plant=0.25))
    assert isinstance(method, DRAEM)
    given = batch(40)
    made, where = method.planted(task(method, given), generator())
    changed = (made - given.image).abs().flatten(1).amax(dim=1) > 0
    assert 8 < int(changed.sum()) < 32
    assert not where[~changed].any()


def test_unet_learns_real_masks_or_planted_ones() -> None:
    real, synthetic = build("unet", **still()), build("unet", masks="synthetic", **still())
    assert isinstance(real, UNet) and isinstance(synthetic, UNet)
    targets: list[torch.Tensor] = []
    setattr(real, "loss", lambda image, target, mask: targets.append(target) or torch.zeros(()))  # noqa: B010
    list(losses(real, batch(), "main"))
    assert torch.equal(targets[0], batch().lesion.float())
    made, target = synthetic.planted(task(synthetic, batch(20)), generator())
    planted = target.flatten(1).any(dim=1)
    assert 2 < int(planted.sum()) < 18
    assert ((made != batch(20).image).flatten(1).any(dim=1) | ~planted).all()


def test_unet_learns_to_see_bright_lesions() -> None:
    method = build("unet", **still(), rate=1e-2, balanced=False)
    given = batch()
    image = 0.4 * given.image + 0.5 * given.lesion
    optimizer = method.optimizers("main")["network"]  # type: ignore[operator]
    for _ in range(12):
        for _, loss, _ in losses(method, given.with_image(image), "main"):  # type: ignore[operator]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        score = method.eval().predict(image, given.brain, [generator()] * 6).score  # type: ignore[operator]
    assert float(score[given.lesion].mean()) > 3 * float(score[given.brain & ~given.lesion].mean())


def test_scores_of_single_contrasts_are_averaged_over_those_present() -> None:
    image = torch.rand(1, 4, *SIZE, generator=generator())
    image[:, 2:] = 0
    brain = batch().brain[:1]
    score = torch.tensor([0.2, 0.6, 1.0, 1.0])[None, :, None, None].expand(1, 4, *SIZE)
    mean = pooled(score, image, brain)
    torch.testing.assert_close(mean, 0.4 * brain)
    assert not pooled(score, torch.zeros_like(image), brain).any()


@pytest.mark.parametrize(("name", "stage"), [("draem", "main"), ("unet", "main"), ("sadm", "segment")])
def test_papers_plant_anywhere_in_the_slice(name: str, stage: str) -> None:
    """DRAEM's anomalies lie beside the brain, too, with a threshold that SADM's text draws; compact presets stay in."""
    for preset, beside in (("paper", True), ("compact", False)):
        options = registry.options(name, preset)
        assert options.whole_slice == beside  # type: ignore[attr-defined]
        if name != "draem":
            assert options.uniform_threshold == beside  # type: ignore[attr-defined]
            assert registry.options(name, preset).clean == (0.0 if beside else options.clean)  # type: ignore[attr-defined]
    plain = {"vary": 0.0, "drop": 0.0, "leave_out": False, "plant": 0.0, "transplant": 0.0}
    settings: dict[str, object] = {"whole_slice": True, "lesson": plain, "clean": 0.0}
    settings |= {"masks": "synthetic"} if name == "unet" else {}
    settings |= {} if name == "draem" else {"anomaly": "draem"}
    method = registry.build(name, preset="tiny", settings=settings, size=(32, 32))
    brain = torch.zeros(16, 1, 32, 32, dtype=torch.bool)
    brain[:, :, 12:20, 12:20] = True
    image, label = 0.5 * brain.expand(-1, 4, -1, -1), torch.zeros(16, dtype=torch.long)
    batch = Batch(image, brain, label, torch.zeros_like(brain), torch.rand(16))
    generator = torch.Generator().manual_seed(0)
    task = method.task(batch, stage, generator)
    if name == "sadm":
        image, mask, counts = method.segmentation_inputs(task, generator)  # type: ignore[operator]
        assert counts.all(), "and the loss looks there"
    else:
        image, mask = method.planted(task, generator)  # type: ignore[operator]
    beside = ~brain.expand(-1, 4, -1, -1)
    assert image[beside].any() and mask.bool()[~brain].any()


def test_a_drawn_threshold_makes_masks_of_many_sizes() -> None:
    from braincli.methods.families.segmenter import plant

    brain = torch.ones(64, 1, 32, 32, dtype=torch.bool)
    batch = Batch(torch.full((64, 4, 32, 32), 0.5), brain, torch.zeros(64, dtype=torch.long), ~brain, torch.rand(64))
    task = registry.build("unet", preset="tiny", settings={"lesson": {}}).task(batch, "main", torch.Generator())
    sizes = [
        plant("draem", task, torch.Generator().manual_seed(0), clean=0.0, uniform_threshold=uniform)[1].mean().item()
        for uniform in (False, True)
    ]
    assert sizes[0] != sizes[1] and min(sizes) > 0
