"""SADM: published sizes, what is frozen, what is learnt from, how error and segmentation are fused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter
from tasks import losses, still, task

from braincli.calibration.evidence import refuse_trained
from braincli.errors import InputError
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.slices import SliceSpec
from braincli.methods import registry
from braincli.methods.base import Batch
from braincli.methods.sadm import SADM, reconstruction_error
from braincli.model.folder import read_info, save_model
from braincli.model.info import ModelInfo
from braincli.networks.median import median
from braincli.runtime import files
from braincli.training.data import pools
from braincli.training.store import SliceStore

SIZE = (32, 24)
NAMES = ("sadm", "sadm-res", "unet-res")
STILL = still(plant=0.0)


def build(name: str = "sadm-res", preset: str = "tiny", **settings: Any) -> SADM:
    torch.manual_seed(0)
    method = registry.build(name, preset=preset, settings=settings, size=SIZE)
    assert isinstance(method, SADM)
    return method


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(rows: int = 6) -> Batch:
    brain = torch.zeros(rows, 1, *SIZE, dtype=torch.bool)
    brain[..., 4:28, 4:20] = True
    image = (0.2 + 0.6 * torch.rand(rows, 4, *SIZE, generator=generator())) * brain
    lesion = torch.zeros_like(brain)
    lesion[0, 0, 10:16, 8:14] = True
    return Batch(image, brain, torch.arange(rows) % 2, lesion, torch.linspace(0, 1, rows))


def inputs(method: SADM, given: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return method.segmentation_inputs(task(method, given, "segment"), generator())


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"), [("sadm", 7_701_825), ("sadm-res", 16_736_705), ("unet-res", 16_736_705)]
)
def test_published_and_shipped_sizes(name: str, parameters: int) -> None:
    with torch.device("meta"):
        paper, code, compact = (build(name, preset) for preset in ("paper", "reference", "compact"))
    assert count(paper.segmenter) == count(code.segmenter) == parameters
    assert (count(code.net), count(code.encoder)) == (44_068_481, 24_550_848)
    assert count(compact) < 3_500_000


def test_the_variants_differ_in_what_is_seen_and_what_counts() -> None:
    options = {name: (build(name).config.residual, build(name).config.beta) for name in NAMES}
    assert options == {"sadm": (False, None), "sadm-res": (True, None), "unet-res": (True, 0.0)}


@pytest.mark.parametrize("encoder", [(8, 8), ()])
def test_the_last_stage_leaves_the_diffusion_model_as_it_is(encoder: tuple[int, ...]) -> None:
    """Batch statistics of the ResNet included."""
    method = build(encoder=encoder).train()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    optimizer = method.optimizers("segment")["segmenter"]
    for name, loss, _ in losses(method, batch(2), "segment"):
        assert name == "segmenter"
        loss.backward()
        optimizer.step()
    changed = {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith("segmenter.") for key in changed)
    assert all(p.grad is None for p in (*method.net.parameters(), *method.encoder.parameters()))


def test_diets() -> None:
    synthetic, real, some = build(), build(masks="real"), build(masks="real", balanced=False)
    assert [synthetic.sampling(stage) for stage in synthetic.stages] == ["any"] * 3
    assert [real.sampling(stage) for stage in real.stages] == ["any", "any", "balanced"]
    assert some.sampling("segment") == "any"
    with torch.device("meta"):
        paper = build("sadm-res", "paper")
    assert [paper.sampling(stage) for stage in paper.stages] == ["healthy"] * 3


def test_real_masks_are_the_truth_and_synthetic_ones_avoid_them() -> None:
    given = batch()
    image, target, mask = inputs(build(masks="real", **STILL), given)
    assert torch.equal(image, given.image) and torch.equal(target, given.lesion.float())
    assert mask[0, :, 10:16, 8:14].all() and not mask[~given.brain.expand_as(mask)].any()
    image, target, mask = inputs(build(masks="synthetic", clean=0.5, **STILL), batch(20))
    assert not mask[0, :, 8:18, 6:16].any() and mask[1, :, 8:18, 6:16].all()
    planted = target.flatten(1).any(dim=1)
    assert 2 < int(planted.sum()) < 18
    assert ((image != batch(20).image).flatten(1).any(dim=1) | ~planted).all()


def test_cases_without_expert_masks_teach_no_segmentation() -> None:
    """Their label is unknown, so real masks sample none of their slices."""

    class Store:
        label = np.array([0, -1, 1, -1, 1])
        unsure = None

    store: SliceStore = Store()  # type: ignore[assignment]
    for balanced in (True, False):
        sampled = np.concatenate(pools(store, build(masks="real", balanced=balanced).sampling("segment"), "segment"))
        assert sorted(sampled.tolist()) == [0, 2, 4]


@pytest.mark.parametrize("name", NAMES)
def test_cases_that_were_trained_on_do_not_calibrate(name: str, tmp_path: Path) -> None:
    image = tmp_path / "a_t1.nii.gz"
    image.write_bytes(b"scan")
    method = build(name, masks="real")
    for cases in ({"a": []}, {"other": [files.sha256(image)]}):
        info = ModelInfo(
            name="m", method=name, preset="tiny", settings=method.config.model_dump(mode="json"),
            slices=SliceSpec(size=SIZE), training={"cases": cases},
        )  # fmt: skip
        save_model(tmp_path / "m", method, info)
        stored = read_info(tmp_path / "m")
        with pytest.raises(InputError, match="a was trained on"):
            refuse_trained([Case("a", {Contrast.T1: image})], stored)
    refuse_trained([Case("b", {})], stored)


def test_median_agrees_with_scipy() -> None:
    x = torch.rand(2, 3, 9, 11, generator=generator())
    expected = median_filter(x.numpy(), size=(1, 1, 5, 5), mode="mirror")
    assert np.array_equal(median(x, 5).numpy(), expected)
    assert torch.equal(median(x, 1), x)


def test_error_is_zero_where_both_are_alike_and_averages_present_contrasts() -> None:
    given = batch(2)
    assert not reconstruction_error(given.image, given.image, given.brain).any()
    image, restored = given.image.clone(), given.image.clone()
    image[:, 2:], restored[:, 2:] = 0, 0
    restored[:, 0] = restored[:, 0].flip(1)
    alone = reconstruction_error(image[:, :1], restored[:, :1], given.brain)
    assert 0.2 < float(alone[given.brain].mean()) < 2 and not alone[~given.brain].any()
    torch.testing.assert_close(reconstruction_error(image, restored, given.brain), alone / 2)


def test_fusion_is_equation_3_or_4() -> None:
    given = batch(2)
    restored, p = given.image.flip(3), torch.rand(2, 1, *SIZE, generator=generator()) * given.brain
    a = reconstruction_error(given.image, restored, given.brain)
    fused = {
        beta: build(beta=beta).fused(given.image, restored, given.brain, p) for beta in (None, 0.0, 0.25, 0.5, 1.0)
    }
    torch.testing.assert_close(fused[None], a + p)
    torch.testing.assert_close(fused[0.25], 0.25 * a + 0.75 * p)
    torch.testing.assert_close(2 * fused[0.5], fused[None])
    assert torch.equal(fused[0.0], p) and torch.equal(fused[1.0], a)


def test_scores_are_averaged_over_levels_and_none_sees_the_residual_without_the_option() -> None:
    given, levels = batch(2), (100, 300, 500)
    for name, calls in (("sadm", 1), ("sadm-res", 3)):
        method = build(name, levels=levels, beta=0.0).eval()
        inputs: list[tuple[torch.Tensor, ...]] = []

        class Noted(torch.nn.Module):
            def forward(self, *images: torch.Tensor) -> torch.Tensor:
                inputs.append(images)  # noqa: B023
                return torch.full_like(images[0][:, :1], float(len(inputs)))  # noqa: B023

        method.segmenter = Noted()  # type: ignore[assignment]
        ticks: list[None] = []
        with torch.inference_mode():
            prediction = method.predict(given.image, given.brain, [generator()] * 2, lambda: ticks.append(None))  # noqa: B023
        assert len(inputs) == calls and len(ticks) == method.calls() == 3
        expected = torch.arange(1.0, calls + 1).sigmoid().mean()
        assert prediction.score is not None and prediction.restored is not None
        torch.testing.assert_close(prediction.score, expected * given.brain)
        if calls == 3:
            mean = torch.stack([residual for residual, _ in inputs]).mean(dim=0)
            torch.testing.assert_close(mean, given.image - prediction.restored)


@pytest.mark.parametrize("masks", ["synthetic", "real"])
def test_single_contrasts_are_rows_of_their_own(masks: str) -> None:
    method, given = build(contrasts="single", masks=masks), batch(2)
    (_, loss, _), *rest = losses(method, given, "segment")
    assert not rest and torch.isfinite(loss)
    with torch.inference_mode():
        prediction = method.eval().predict(given.image, given.brain, [generator()] * 2)
    assert prediction.score is not None and prediction.score.shape == (2, 1, *SIZE)
