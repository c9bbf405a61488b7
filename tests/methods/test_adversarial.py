"""DeScarGAN, StarGAN, Fixed-Point GAN, VAGAN: what their losses are made of, in which order, and that they resume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tasks import losses, still, task
from torch import Tensor, nn
from train import generated

from braincli.methods import registry
from braincli.methods.base import Batch
from braincli.methods.descargan import DeScarGAN
from braincli.methods.families.adversarial import Adversarial, flipped
from braincli.methods.fp_gan import FPGAN
from braincli.methods.stargan import StarGAN
from braincli.methods.vagan import VAGAN
from braincli.networks.stargan import DomainDiscriminator, DomainGenerator
from braincli.runtime.progress import Reporter
from braincli.training.loop import LoopOptions, fit

SIZE = (16, 16)
NAMES = ("descargan", "stargan", "fp-gan", "vagan")


def build(name: str, **settings: Any) -> Adversarial:
    torch.manual_seed(0)
    method = registry.build(name, preset="tiny", channels=1, size=SIZE, settings=still() | settings)
    assert isinstance(method, Adversarial)
    return method


def batch(rows: int = 8) -> Batch:
    """All of a slice is brain; every second one is diseased. Healthy ones hold 0.5, diseased ones 0.75."""
    label = torch.arange(rows) % 2
    image = (0.5 + 0.25 * label)[:, None, None, None].expand(rows, 1, *SIZE).clone()
    brain = torch.ones(rows, 1, *SIZE, dtype=torch.bool)
    return Batch(image, brain, label, torch.zeros_like(brain), torch.linspace(0, 1, rows))


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_sizes() -> None:
    with torch.device("meta"):
        descargan = registry.build("descargan", preset="paper", channels=1)
        stargan, vagan = (registry.build(name, preset="paper", channels=1) for name in ("stargan", "vagan"))
        faces = DomainGenerator(3, classes=5), DomainDiscriminator(3, (128, 128), classes=5)
    assert isinstance(descargan, DeScarGAN) and isinstance(stargan, StarGAN) and isinstance(vagan, VAGAN)
    assert (count(descargan.generator), count(descargan.discriminator)) == (8_528_262, 18_170_180)
    assert [count(network) for network in faces] == [8_430_528, 44_762_048], "what StarGAN's own script prints"
    assert (count(stargan.generator), count(stargan.discriminator)) == (8_408_576, 44_784_576)
    assert (count(vagan.generator), count(vagan.discriminator)) == (462_305, 1_757_249)


def test_descargan_has_the_weights_of_the_thesis() -> None:
    options = registry.options("descargan", "paper").model_dump()
    names = ("realness", "penalty", "identity", "reconstruction", "fooling", "converting", "telling", "critic_steps")
    assert [options[name] for name in names] == [20, 10, 50, 50, 1, 1, 5, 5]


def test_the_uppermost_skip_is_missing() -> None:
    """Detail of single pixels reaches the output through nothing but a halving: no level of full size is skipped to."""
    with torch.device("meta"):
        generator = registry.build("descargan", preset="paper", channels=1).generator
    assert isinstance(generator, nn.Module)
    assert [merge[0][0].in_channels for merge in generator.merges] == [512, 256]  # type: ignore[union-attr, index]
    assert generator.ups[-1][0].out_channels == generator.branches[0][0][0].in_channels == 64  # type: ignore[union-attr, index]


@pytest.mark.parametrize("name", NAMES)
def test_the_discriminator_steps_on_shares_of_its_own(name: str) -> None:
    method, given, seen = build(name, critic_steps=3), batch(12), []
    original = method.discrimination
    method.discrimination = lambda part, generator: seen.append(part) or original(part, generator)  # type: ignore[method-assign]
    assert [step for step, _, _ in losses(method, given)] == ["discriminator"] * 3 + ["generator"]
    assert sorted(torch.cat([part.position for part in seen]).tolist()) == sorted(given.position.tolist())
    for part in seen:
        assert part.label.tolist() == [0, 0, 1, 1], "as many healthy ones, and they come first"
        assert part.label[flipped(part)].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_those_of_the_last_steps(name: str) -> None:
    *first, (_, _, told) = losses(build(name), batch())
    assert not any(logs for _, _, logs in first)
    assert {"wasserstein", "gradient_penalty", "adversarial"} <= set(told)


def test_fewer_slices_than_steps_are_taken_again_and_none_give_no_loss() -> None:
    method = build("descargan", critic_steps=5)
    assert len(list(losses(method, batch(4)))) == 6
    assert not list(losses(method, batch(4).rows(torch.tensor([0]))))


class Brighten(nn.Module):
    """A generator that leaves slices alone to make them healthy, and brightens them to make them diseased."""

    stride = 1

    def forward(self, image: Tensor, target: int) -> Tensor:
        return image + 0.1 * target


class Average(nn.Module):
    """A discriminator whose parts give the mean brightness, the part of the diseased twice that."""

    def trunk(self, image: Tensor) -> Tensor:
        return image

    def judged(self, trunk: Tensor, label: Tensor) -> Tensor:
        return trunk.mean(dim=(1, 2, 3)) * (1 + label)

    def classed(self, trunk: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.tensor([[2.0, 0.0]]).expand(len(trunk), 2)


def stubbed(**settings: Any) -> DeScarGAN:
    method = build("descargan", **settings)
    assert isinstance(method, DeScarGAN)
    method.generator, method.discriminator = Brighten(), Average()  # type: ignore[assignment]
    return method


def terms(method: Adversarial) -> tuple[dict[str, float], dict[str, float]]:
    given = next(method.parts(task(method, batch())))
    both = (method.discrimination(given, torch.Generator()), method.generation(given, torch.Generator()))
    first, second = ({"loss": loss.item()} | {k: float(v) for k, v in logs.items()} for loss, logs in both)
    return first, second


def test_descargan_losses_are_the_printed_ones() -> None:
    """In [-1, 1] the healthy hold 0 and the diseased 0.5; made diseased 0.2 comes on top, made healthy nothing does."""
    discriminator, generator = terms(stubbed(distance="squares"))
    real, fake = (0 * 1 + 0.5 * 2) / 2, (0.2 * 2 + 0.5 * 1) / 2  # a fake is judged among those of the other class
    assert discriminator["wasserstein"] == pytest.approx(real - fake)
    tells = [-math.log(math.exp(2) / (math.exp(2) + 1)), -math.log(1 / (math.exp(2) + 1))]
    assert discriminator["class"] == pytest.approx(sum(tells) / 2)
    slopes = [1 / math.sqrt(256), 2 / math.sqrt(256)]  # of real and fake images of either class
    penalty = sum((slope - 1) ** 2 for slope in slopes) / 2
    assert discriminator["gradient_penalty"] == pytest.approx(penalty)
    assert discriminator["loss"] == pytest.approx(5 * sum(tells) / 2 + 10 * penalty - 20 * (real - fake), rel=1e-5)

    assert generator["adversarial"] == pytest.approx(-fake)
    assert generator["converted"] == pytest.approx(sum(tells) / 2), "the class that was aimed at (c-bar in Eq. 5)"
    assert generator["identity"] == pytest.approx((0 + 0.2**2) / 2), "the diseased, made diseased, brighten"
    assert generator["reconstruction"] == pytest.approx(0.2**2), "either way it is made diseased once"
    total = -fake + sum(tells) / 2 + 50 * 0.2**2 + 50 * 0.2**2 / 2
    assert generator["loss"] == pytest.approx(total, rel=1e-5)


def test_the_norm_of_the_text_is_that_of_an_image() -> None:
    assert terms(stubbed(distance="norm"))[1]["reconstruction"] == pytest.approx(0.2 * math.sqrt(256), rel=1e-4)


def test_class_of_the_generated_is_the_one_aimed_at() -> None:
    """Eq. 5 with c for c-bar would give the same where classes are told equally well; here one class comes alone."""
    method = stubbed()
    given = next(method.parts(task(method, batch())))
    seen: list[Tensor] = []
    method.discriminator.classed = lambda trunk, generator=None: (
        seen.append(trunk)
        or torch.where(  # type: ignore[method-assign]
            trunk.mean(dim=(1, 2, 3))[:, None] < 0.3, torch.tensor([0.0, 9.0]), torch.tensor([9.0, 0.0])
        )
    )
    _, logs = method.generation(given, torch.Generator())
    assert float(logs["converted"]) < 0.01, "0.2 is to be diseased, 0.5 to be healthy: both are"


def test_fixed_points_cost_nothing() -> None:
    """A change of atanh(x) - x is none: tanh(x + d) = x. Without it, tanh alone costs its distance from x."""
    method = build("fp-gan")
    assert isinstance(method, FPGAN)
    method.generator.forward = lambda image, target: image.atanh() - image  # type: ignore[method-assign]
    _, generator = terms(method)
    assert generator["identity"] == pytest.approx(0, abs=1e-6) == generator["reconstruction"]
    method.generator.forward = lambda image, target: torch.zeros_like(image)  # type: ignore[method-assign]
    _, generator = terms(method)
    assert generator["identity"] == pytest.approx((0 + 0.5 - math.tanh(0.5)) / 2, rel=1e-4)


def test_stargan_goes_there_and_back() -> None:
    method = build("stargan")
    assert isinstance(method, StarGAN)
    wanted: list[Tensor] = []
    method.made = lambda image, target: wanted.append(target) or image  # type: ignore[method-assign]
    _, generator = terms(method)
    assert generator["reconstruction"] == 0
    assert wanted[-1].tolist() == [0, 0, 1, 1], "back to its own class"
    assert sorted(wanted[-2].tolist()) == [0, 0, 1, 1], "to classes that are drawn, as many of each"


def test_vagan_changes_the_diseased_alone_and_pays_for_it() -> None:
    method = build("vagan", change=100.0)
    assert isinstance(method, VAGAN)
    seen: list[Tensor] = []
    method.generator.forward = lambda image: seen.append(image) or torch.full_like(image, -0.25)  # type: ignore[method-assign]
    _, generator = terms(method)
    assert all(torch.equal(image, torch.full_like(image, 0.5)) for image in seen)
    assert generator["change"] == pytest.approx(0.25)
    assert generator["loss"] == pytest.approx(generator["adversarial"] + 25, rel=1e-5)


def test_slices_are_classed_by_the_contrasts_that_are_there() -> None:
    method = registry.build("stargan", preset="tiny", channels=2, size=SIZE, settings=still() | {"contrasts": "single"})
    assert isinstance(method, StarGAN)
    image = torch.rand(3, 2, *SIZE)
    image[1, 1], image[2] = 0, 0
    logits = torch.tensor([[0.0, 0.0], [-20.0, 20.0]]).repeat(3, 1)  # of the first contrast, and of the second
    found = method.pooled_class(logits, image)
    assert found.tolist() == pytest.approx([0.75, 0.5, 0.0])


@pytest.mark.parametrize("name", ["descargan", "fp-gan"])
def test_resumed_equals_never_stopped(name: str, tmp_path: Path) -> None:
    """Several steps of the discriminator, dropout, batch statistics: to the bit, wherever it was stopped."""
    store = generated(SIZE, 32)

    def train(folder: Path, seed: int, after: int | None = None) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        method = registry.build(name, preset="tiny", channels=4, size=SIZE)
        asked = iter([None] * after) if after is not None else iter(())
        stop = (lambda: next(asked, "SIGUSR1")) if after is not None else (lambda: None)
        folder.mkdir(exist_ok=True)
        fit(method, store, folder, LoopOptions(steps={"main": 3}, batch=8), Reporter(), stop=stop)
        return method.state_dict()

    whole = train(tmp_path / "whole", 0)
    train(tmp_path / "parts", 0, after=2)
    resumed = train(tmp_path / "parts", 1)
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
