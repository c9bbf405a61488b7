"""AnoDDPM, pDDPM and cDDPM: published sizes, patches, noise, chains, and the encoder's pre-training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tasks import losses, still

from braincli.methods import registry
from braincli.methods.base import Batch
from braincli.methods.families.denoising import Denoising
from braincli.networks import masked, patches

SIZE = (32, 24)
NAMES = ("anoddpm", "pddpm", "cddpm")


def build(name: str, preset: str = "tiny", **settings: Any) -> Denoising:
    torch.manual_seed(0)
    method = registry.build(name, preset=preset, settings=settings, size=SIZE)
    assert isinstance(method, Denoising)
    return method


def batch(rows: int = 4) -> Batch:
    brain = torch.zeros(rows, 1, *SIZE, dtype=torch.bool)
    brain[..., 4:-4, 4:-4] = True
    image = (0.2 + 0.6 * torch.rand(rows, 4, *SIZE, generator=torch.Generator().manual_seed(0))) * brain
    return Batch(image, brain, torch.zeros(rows, dtype=torch.long), torch.zeros_like(brain), torch.zeros(rows))


def generators(rows: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(rows)]


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "preset", "parameters"),
    [
        ("anoddpm", "paper", 25_079_553),
        ("anoddpm", "reference", 37_513_857),
        ("anoddpm", "original", 131_649_793),
        ("pddpm", "paper", 25_079_553),
        ("pddpm", "reference", 37_513_857),
        ("cddpm", "paper", 29_799_169),
        ("cddpm", "reference", 44_068_481),
    ],
)
def test_published_sizes(name: str, preset: str, parameters: int) -> None:
    registry.method_class(name)
    with torch.device("meta"):
        method = registry.build(name, preset=preset, size=(96, 96))
        assert count(method.get_submodule("net")) == parameters
        if name == "cddpm":
            assert count(method.get_submodule("encoder")) == 24_550_848


def test_printed_settings_and_those_of_the_code() -> None:
    kind = registry.method_class("pddpm")
    paper, code = (kind.Config(**kind.PRESETS[name]) for name in ("paper", "reference"))
    assert (paper.schedule, paper.rate, paper.levels, paper.sizes, paper.inside) == (
        "linear",
        1e-5,
        (500,),
        (48,),
        True,
    )  # type: ignore[attr-defined]
    assert (code.schedule, code.rate, code.shared_noise) == ("cosine", 1e-4, True)  # type: ignore[attr-defined]
    assert paper.train_batch == 32 and str(paper.train_steps["main"]) == "1600 epochs of one slice per case"


@pytest.mark.parametrize(("size", "number"), [(48, 4), (60, 4), (32, 9), (40, 9), (16, 36), (80, 4), (200, 1)])
def test_the_grid_covers_the_slice(size: int, number: int) -> None:
    masks = patches.masks((96, 96), size)
    assert len(masks) == number
    assert masks.any(dim=0).all()
    assert patches.masks((96, 96), 48, 24).sum(dim=0).float().mean() > 1.5, "smaller steps overlap"


def test_patches_are_put_together_as_their_mean() -> None:
    mask = patches.masks((8, 6), 4)
    image = torch.rand(2, 3, 8, 6)
    torch.testing.assert_close(patches.stitch(image[:, None].expand(-1, len(mask), -1, -1, -1), mask), image)
    levels = torch.arange(float(len(mask)))[None, :, None, None, None].expand(1, -1, 1, 8, 6)
    assert patches.stitch(levels, mask)[0, 0, 0].tolist() == [0, 0, 0.5, 0.5, 1, 1]


class Copy(torch.nn.Module):
    """Says that the slice is what it sees."""

    def forward(self, x: torch.Tensor, t: torch.Tensor, **_: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("sizes", [(16,), (20,), (12, 20)])
def test_pddpm_with_a_copying_network_and_no_noise_gives_the_input(sizes: tuple[int, ...]) -> None:
    """x0 from a network that says x: at t = 1 hardly any noise is there."""
    method, given = build("pddpm", sizes=sizes, levels=(1,)).eval(), batch(2)
    method.net = Copy()  # type: ignore[assignment]
    restored = method.predict(given.image, given.brain, generators(2)).restored
    assert restored is not None
    torch.testing.assert_close(restored, given.image, rtol=0, atol=0.05)


def test_pddpm_noises_one_patch_alone() -> None:
    for positions in ("fixed", "random"):
        method = build("pddpm", positions=positions, sizes=(16,))
        x, noisy = torch.zeros(6, 1, *SIZE), torch.ones(6, 1, *SIZE)
        rows, noised = method.noised_part(noisy, x, torch.Generator().manual_seed(0))
        assert torch.equal(rows.bool(), noised.expand_as(rows))
        area = rows.flatten(1).sum(dim=1)
        assert (area > 0).all() and (area <= 256).all()
        assert positions == "random" or (area == 256).all()
    assert build("pddpm", inside=False).noised_part(noisy, x, torch.Generator())[1].all()


@pytest.mark.parametrize("kind", ["gauss", "coarse", "simplex"])
def test_noise_is_of_unit_size_and_belongs_to_its_row(kind: str) -> None:
    method, like = build("anoddpm", noise=kind), torch.empty(3, 2, 48, 48)
    whole = method.noise(like, generators(3))
    assert float(whole.mean()) == pytest.approx(0, abs=0.25) and float(whole.std()) == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(method.noise(like[1:2], generators(3)[1:2])[0], whole[1])
    trained = method.noise(like, torch.Generator().manual_seed(1))
    assert trained.shape == like.shape and not torch.equal(trained[0], trained[1])


def test_the_shared_field_is_the_same_in_every_prediction() -> None:
    method, like = build("anoddpm", shared_noise=True, normalised_noise=False), torch.empty(2, 4, *SIZE)
    one, two = method.noise(like, generators(2)), method.noise(like, generators(2)[::-1])
    assert torch.equal(one, two) and torch.equal(one[0, 0], one[1, 3])


@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "heun", "dpm-solver-2m"])
@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_chains_of_a_perfect_network_give_the_slice_back(sampler: str, target: str) -> None:
    """All slices are the same constant: the exact network knows x0 whatever it sees."""
    method = build(
        "anoddpm", mode="iterative", sampler=sampler, target=target, steps=8, levels=(300,), **still(plant=0.0)
    ).eval()  # fmt: skip
    schedule, value = method.process.schedule, 0.2

    class Exact(torch.nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            sigma = schedule.sigma(t.round().long())
            a = (1 / (1 + sigma**2)).sqrt().float()[:, None, None, None]
            s = (1 - a**2).sqrt()
            noise = (x - a * value) / s
            return {"eps": noise, "x0": torch.full_like(x, value), "v": a * noise - s * value}[target]

    method.net = Exact()  # type: ignore[assignment]
    ticks: list[None] = []
    given = batch(2)
    image = 0.6 * given.brain.expand(-1, 4, -1, -1)
    with torch.inference_mode():
        restored = method.predict(image, given.brain, generators(2), lambda: ticks.append(None)).restored
    assert restored is not None
    torch.testing.assert_close(restored, image * 1.0, rtol=0, atol=0.02)
    assert len(ticks) == method.calls()


def test_planted_growths_need_the_slice_as_target() -> None:
    from braincli.errors import UsageError

    with pytest.raises(UsageError, match="x0"):
        build("anoddpm", target="eps", **still(plant=0.5))
    with pytest.raises(UsageError, match="1000"):
        build("anoddpm", levels=(1500,))


def test_hidden_cells() -> None:
    """A grid of 3 x 3 cells keeps three at a share of 0.65; hidden pixels reach no feature map."""
    visible = masked.cells((96, 96), 4, 32, 0.65, torch.Generator().manual_seed(0))
    assert visible.shape == (4, 1, 3, 3) and visible.sum(dim=(1, 2, 3)).tolist() == [3] * 4
    torch.manual_seed(0)
    encoder = masked.plain(1, 4, (4, 8))
    shown = torch.zeros(1, 1, 4, 4)
    shown[..., :2] = 1
    image = torch.rand(1, 1, 16, 16)
    other = image.clone()
    other[..., 8:] = 5
    for one, two in zip(encoder.maps(image, shown), encoder.maps(other, shown), strict=True):
        assert torch.equal(one, two) and not one[..., one.shape[3] // 2 :].any()


def test_cddpm_learns_in_two_stages() -> None:
    method, given = build("cddpm"), batch()
    (name, loss, _), *rest = losses(method, given, "pretrain")
    assert name == "encoder" and not rest and loss.item() > 0
    loss.backward()
    assert all(p.grad is None for p in method.net.parameters())
    held = {id(p) for group in method.optimizers("main")["net"].param_groups for p in group["params"]}
    assert held == {id(p) for module in (method.net, method.get_submodule("encoder")) for p in module.parameters()}


@pytest.mark.parametrize("name", NAMES)
def test_single_contrasts_are_rows_of_their_own(name: str) -> None:
    method, given = build(name, contrasts="single").eval(), batch(2)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
        restored = method.predict(given.image, given.brain, generators(2)).restored
    assert restored is not None and restored.shape == given.image.shape
