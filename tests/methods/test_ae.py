"""AE, VAE and SVAE: sizes of the presets, weights of the divergence, what teaches, larger canvases, runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tasks import losses, still, task

from braincli.errors import UsageError
from braincli.methods import registry
from braincli.methods.base import Batch, Method

SIZE = (32, 24)


def build(name: str, **settings: Any) -> Method:
    torch.manual_seed(0)
    return registry.build(name, preset="tiny", settings=settings, size=SIZE)


def batch(rows: int = 4, size: tuple[int, int] = SIZE) -> Batch:
    generator = torch.Generator().manual_seed(0)
    brain = torch.zeros(rows, 1, *size, dtype=torch.bool)
    brain[..., 2:-2, 2:-2] = True
    image = (0.2 + 0.6 * torch.rand(rows, 4, *size, generator=generator)) * brain
    lesion = torch.zeros_like(brain)
    lesion[-1, 0, 10:14, 8:12] = True
    return Batch(image, brain, torch.zeros(rows, dtype=torch.long), lesion, torch.linspace(0, 1, rows))


def loss(method: Method, given: Batch) -> tuple[float, dict[str, float]]:
    ((name, value, logs),) = losses(method, given, "main", seed=1)
    assert name == "net"
    return value.item(), logs


def size_of(name: str, preset: str, side: int) -> int:
    with torch.device("meta"):
        method = registry.build(name, preset=preset, size=(side, side))
        return sum(p.numel() for p in method.parameters())


def test_presets_have_the_papers_sizes() -> None:
    assert size_of("ae", "baur", 128) == 1_627_249
    assert size_of("vae", "baur", 128) == 1_758_449
    assert round(size_of("ae", "paper", 96), -4) == 1_520_000
    assert round(size_of("vae", "wang", 256), -4) == 2_200_000
    assert size_of("svae", "paper", 96) < 1.1 * size_of("vae", "paper", 96), "comparable to the 2-D VAE"


def test_summed_divergence_counts_one_pixels_share() -> None:
    """Weight 1 beside a sum over pixels is 1 / pixels beside their mean."""
    given = batch()
    for reduction, share in (("mean", 1.0), ("sum", 1 / (4 * 32 * 24))):
        total, logs = loss(build("vae", kl_weight=0.5, reduction=reduction), given)
        assert total == pytest.approx(float(logs["l1"]) + 0.5 * share * float(logs["kl"]), rel=1e-4)


@pytest.mark.parametrize("name", ["ae", "vae", "svae"])
def test_lesions_teach_nothing(name: str) -> None:
    """Drawing is compared with healthy tissue only, so that a lesion's look does not matter."""
    method = build(name, **still(plant=0.0))
    assert method.sampling("main") == "any"
    given = batch()
    mask = task(method, given).counts
    assert not mask[given.lesion.expand_as(mask)].any()
    assert mask[0][given.brain[0].expand_as(mask[0])].all()
    assert not mask[~given.brain.expand_as(mask)].any()
    paper = build(name, **still(leave_out=False, plant=0.0))
    assert paper.sampling("main") == "healthy"
    assert task(paper, given).counts.all()


def test_growth_is_planted_into_the_input_and_not_into_the_target() -> None:
    method, given = build("ae", **still(plant=1.0)), batch()
    made = task(method, given)
    assert torch.equal(made.target, given.image)
    assert (made.image != given.image).flatten(1).any(dim=1).all() and made.with_planted.all()
    untouched = build("ae", **still(plant=0.0))
    assert torch.equal(task(untouched, given).image, given.image)


@pytest.mark.parametrize("name", ["ae", "vae", "svae", "gmvae"])
def test_dense_latents_take_larger_canvases(name: str) -> None:
    method, given = build(name), batch(2, (40, 36))
    assert method.stride == 1
    with torch.inference_mode():
        prediction = method.eval().predict(given.image, given.brain, [torch.Generator()] * 2)
    assert prediction.restored is not None
    assert prediction.restored.shape == given.image.shape


def test_spatial_latents_keep_the_canvas() -> None:
    method, given = build("ae", spatial=True), batch(1, (40, 36))
    with torch.inference_mode():
        prediction = method.eval().predict(given.image, given.brain, [torch.Generator()])
    assert method.stride > 1
    assert prediction.restored is not None and prediction.restored.shape == given.image.shape


def test_slices_of_a_run_know_each_other_and_only_each_other() -> None:
    method, given = build("svae").eval(), batch(20)
    first, last = given.image.clone(), given.image.clone()
    first[0] = first[0].flip(-1)
    last[19] = last[19].flip(-1)

    def reconstruction(image: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return method.reconstruct(image)  # type: ignore[operator, no-any-return]

    before, changed, other = reconstruction(given.image), reconstruction(first), reconstruction(last)
    assert not torch.equal(before[15], changed[15]), "the other end of the run"
    torch.testing.assert_close(before[16:], changed[16:])
    torch.testing.assert_close(before[:16], other[:16])


def test_runs_vary_and_grow_alike() -> None:
    method = build("svae", lesson={"plant": 1.0})
    image = batch(1).image.expand(32, -1, -1, -1)
    given = Batch(image, *(batch(1).rows(torch.zeros(32, dtype=torch.long)).__dict__[k] for k in ("brain", "label")),
                  torch.zeros(32, 1, *SIZE, dtype=torch.bool), torch.zeros(32))  # fmt: skip
    made = task(method, given)
    for part in (made.target, made.image):
        assert torch.equal(part[0], part[15])
        assert not torch.equal(part[15], part[16])


def test_sequences_have_no_spatial_latent() -> None:
    with pytest.raises(UsageError, match="spatial"):
        build("svae", spatial=True)
