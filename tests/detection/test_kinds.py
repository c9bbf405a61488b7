"""Every kind of prediction becomes a map: restorations, scores, both; slices one by one or in runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from phantoms import affine, brain, lesion
from torch import Tensor

from braincli.config import DetectConfig
from braincli.detection.find import Findings, find_lesions
from braincli.detection.maps import channels
from braincli.detection.residuals import median, residual
from braincli.detection.restore import Restoration, in_runs, restore, whole_runs
from braincli.errors import InputError, ModelError, UsageError
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.slices import Slices, SliceSpec, from_volumes
from braincli.imaging.volume import Volume
from braincli.methods.base import Method, MethodConfig, Prediction, Tick, no_tick
from braincli.model.folder import LoadedModel
from braincli.model.info import Calibration, ModelInfo
from braincli.runtime.progress import Reporter
from braincli.spec import MapOptions

SHAPE = (40, 48, 16)
SPEC = SliceSpec(pixel_mm=4.0, size=(32, 32))
WEIGHTS = {Contrast.T1: 0.07, Contrast.T1CE: 0.19, Contrast.T2: 0.30, Contrast.FLAIR: 0.44}
CPU = torch.device("cpu")


class Toy(Method):
    """Calls bright tissue a lesion; gives what ``gives`` says. In runs: adds the mean of the run."""

    Config = MethodConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"tiny": {}}
    gives: str = "both"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {}

    def losses(self, batch: Any, stage: str, generator: torch.Generator) -> Any:
        yield from ()

    def predict(
        self, image: Tensor, brain: Tensor, generators: Sequence[torch.Generator], tick: Tick = no_tick
    ) -> Prediction:
        assert len(image) % self.sequence == 0, "whole runs"
        runs = image.reshape(-1, self.sequence, *image.shape[1:])
        shared = runs.mean(dim=(1, 2, 3, 4)).repeat_interleave(self.sequence)[:, None, None, None]
        score = (3 * image[:, 3:] + shared) * brain
        restored = (image * 0.5) * brain
        return Prediction(
            restored if self.gives in ("restored", "both") else None, score if self.gives in ("score", "both") else None
        )


def toy(gives: str, sequence: int = 1) -> LoadedModel:
    kind = type("Toy", (Toy,), {"sequence": sequence, "gives": gives})
    info = ModelInfo(
        name="toy", method="toy", preset="tiny",
        options=MethodConfig(slices=SPEC, map=MapOptions(smooth_mm=0, erode_mm=0)),
        calibration=Calibration(weights={} if gives == "score" else WEIGHTS, threshold=0.4),
    )  # fmt: skip
    return LoadedModel(info, kind(MethodConfig(), channels=4, size=SPEC.size), Path(), CPU)


def images(*contrasts: Contrast) -> dict[Contrast, Volume]:
    data = brain(SHAPE) + 40 * lesion(SHAPE) * (brain(SHAPE) > 0)
    return {c: Volume(data, affine("RAS", (3.0, 3.0, 4.0))) for c in contrasts or CONTRASTS}


def find(model: LoadedModel, *contrasts: Contrast, **options: Any) -> Findings:
    return find_lesions("p", images(*contrasts), model, DetectConfig(**options))


def slices() -> Slices:
    return from_volumes(images(), SPEC)


def test_a_score_is_the_map_and_contrasts_do_not_weigh() -> None:
    alone, both, restored = (find(toy(kind)) for kind in ("score", "both", "restored"))
    assert np.array_equal(alone.anomaly.data, both.anomaly.data)
    assert alone.anomaly.data.max() > 1, "scores may exceed 1"
    assert alone.weights == both.weights == {} and sum(restored.weights.values()) == pytest.approx(1)
    assert not alone.has_restoration and both.has_restoration
    assert both.restored_like_input(Contrast.T1).data.shape == SHAPE
    np.testing.assert_array_equal(
        both.restored_like_input(Contrast.T1).data, restored.restored_like_input(Contrast.T1).data
    )
    assert not np.allclose(restored.anomaly.data, both.anomaly.data)


def test_progress_tells_which_sample_is_drawn() -> None:
    titles: list[str] = []

    class Titles(Reporter):
        def step(self, name: str, total: int | None = None) -> Any:
            titles.append(name)
            return super().step(name, total)

    for sample, samples in ((0, 1), (1, 3)):
        restore(slices(), toy("score"), case_id="p", sample=sample, samples=samples, reporter=Titles())
    assert titles == ["restore p", "restore p, sample 2 of 3"]


def test_missing_contrasts_of_a_score_are_said_without_weights() -> None:
    with pytest.raises(InputError, match="not calibrated for scans with FLAIR alone"):
        find(toy("score"), Contrast.FLAIR)
    text, *_ = find(toy("score"), Contrast.FLAIR, uncalibrated=True).warnings
    assert "not calibrated for flair" in text and "weights" not in text


@pytest.mark.parametrize("option", ["restored", "residual"])
def test_a_restoration_that_does_not_exist_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="no restoration") as error:
        find(toy("score"), **{option: True})
    assert "--restored" in error.value.hint


def test_runs_cover_every_slice_once_and_in_whole() -> None:
    assert in_runs(7, 1).tolist() == list(range(7))
    assert in_runs(7, 3).tolist() == [0, 1, 2, 3, 4, 5, 4, 5, 6]
    assert in_runs(2, 4).tolist() == [0, 1, 1, 1]
    for count in range(1, 12):
        for run in range(1, 6):
            order = in_runs(count, run)
            assert set(order.tolist()) == set(range(count)) and len(order) % run == 0
    assert [whole_runs(b, 4) for b in (1, 4, 7, 8, 16)] == [4, 4, 4, 8, 16]


@pytest.mark.parametrize("run", [1, 4])
def test_batches_change_nothing(run: int) -> None:
    given = slices()
    assert len(given.index) % 4, "the last run is not whole"
    maps = [restore(given, toy("both", run), case_id="p", batch=batch).score for batch in (1, 5, 8, 64)]
    for other in maps[1:]:
        assert maps[0] is not None and other is not None
        np.testing.assert_allclose(other, maps[0], atol=1e-6)


def test_out_of_memory_keeps_runs_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = toy("score", 4), slices()
    real, seen = model.method.predict, []

    def scarce(image: Tensor, *rest: Any) -> Prediction:
        seen.append(len(image))
        if len(image) > 4:
            raise RuntimeError("out of memory")
        return real(image, *rest)

    whole = restore(given, model, case_id="p", batch=12).score
    monkeypatch.setattr(model.method, "predict", scarce)
    found = restore(given, model, case_id="p", batch=12).score
    assert seen[:2] == [12, 4] and set(seen[1:]) == {4}
    assert whole is not None and found is not None
    np.testing.assert_allclose(found, whole, atol=1e-6)


def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 6, 2, 24, 20), dtype=np.float32)
    x[:, 1] = y[:, 1] = 0
    return x, y


@pytest.mark.parametrize(("kind", "formula"), [
    ("absolute", lambda x, y: abs(x - y)), ("squared", lambda x, y: (x - y) ** 2),
    ("positive", lambda x, y: np.clip(x - y, 0, None)),
])  # fmt: skip
def test_residuals_by_pixel(kind: str, formula: Any) -> None:
    x, y = pair()
    np.testing.assert_allclose(residual(x, y, kind), formula(x, y), atol=1e-7)
    assert residual(x, y, kind).dtype == np.float32


def test_ssim_is_that_of_scikit_image() -> None:
    from skimage.metrics import structural_similarity

    x, y = pair()
    options = {
        "gaussian_weights": True, "sigma": 1.0, "truncate": 4.0, "use_sample_covariance": False,
        "data_range": 1.0, "full": True,
    }  # fmt: skip
    flat, deep = residual(x, y, "ssim"), residual(x, y, "ssim3d")
    np.testing.assert_allclose(flat[2, 0], 1 - structural_similarity(x[2, 0], y[2, 0], **options)[1], atol=1e-5)
    x9, y9 = (np.concatenate([v, v]) for v in (x, y))  # scikit-image wants at least 9 slices
    deep9 = residual(x9, y9, "ssim3d")
    np.testing.assert_allclose(deep9[:, 0], 1 - structural_similarity(x9[:, 0], y9[:, 0], **options)[1], atol=1e-5)
    for found in (flat, deep):
        assert found.min() >= 0 and 0.1 < found.max() <= 2
        assert not found[:, 1].any(), "absent contrasts add nothing"
    assert residual(x, x, "ssim").max() < 1e-9


def test_median_is_that_of_scipy_inside_the_brain() -> None:
    from scipy.ndimage import median_filter

    stack = np.random.default_rng(0).random((7, 12, 10)).astype(np.float32)
    inside = np.zeros(stack.shape, bool)
    inside[1:6, 2:9, 1:8] = True
    np.testing.assert_array_equal(median(stack, inside, 5), np.where(inside, median_filter(stack, 5), 0))


def test_options_shape_the_map() -> None:
    given = slices()
    rng = np.random.default_rng(1)
    restored = (given.image + rng.normal(0, 0.1, given.image.shape).astype(np.float32)).clip(0, 1)
    found = Restoration(given, restored, None, "cpu")
    plain = MapOptions(smooth_mm=0, erode_mm=0)
    maps = {
        name: channels(found, plain.model_copy(update=update))
        for name, update in {
            "plain": {}, "median": {"median": 3}, "eroded": {"erode_mm": 8.0}, "ssim": {"residual": "ssim"}
        }.items()
    }  # fmt: skip
    np.testing.assert_allclose(maps["plain"][3], np.abs(given.image - restored)[:, 3] * given.brain[:, 0], atol=1e-6)
    assert maps["median"].std() < maps["plain"].std()
    assert (maps["eroded"] > 0).sum() < (maps["plain"] > 0).sum()
    assert maps["ssim"].max() > maps["plain"].max()
    with pytest.raises(ValueError, match="odd"):
        MapOptions(median=4)


def test_a_network_without_numbers_is_an_error_not_an_empty_mask() -> None:
    for gives in ("restored", "score"):
        model = toy(gives)
        sound = model.method.predict
        model.method.predict = lambda *given, sound=sound: Prediction(
            *(None if part is None else part * float("nan") for part in sound(*given))
        )
        with pytest.raises(ModelError, match="not finite"):
            find(model)


def test_what_a_contrast_does_not_show_is_not_marked_and_others_judge_it() -> None:
    given = images(Contrast.T2, Contrast.FLAIR)
    whole = find_lesions("p", given, toy("restored"), DetectConfig(uncalibrated=True))
    cut = {**given, Contrast.FLAIR: given[Contrast.FLAIR].with_data(given[Contrast.FLAIR].data.copy())}
    cut[Contrast.FLAIR].data[:, :, : SHAPE[2] // 2] = 0
    part = find_lesions("p", cut, toy("restored"), DetectConfig(uncalibrated=True))
    assert any("FLAIR shows" in text for text in part.warnings)
    below = np.s_[:, :, : SHAPE[2] // 2]
    assert np.allclose(part.anomaly.data[below], whole.anomaly.data[below], atol=0.02), "T2 has all of the weight there"
    assert not part.residual(Contrast.FLAIR).data[below].any()
    assert not part.restored(Contrast.FLAIR).data[below].any()


@pytest.mark.slow
def test_bias_fields_of_prepared_scans_are_corrected_on_request() -> None:
    x = np.linspace(-1, 1, SHAPE[0])[:, None, None]
    shaded = {c: v.with_data((v.data * np.exp(0.8 * x)).astype(np.float32)) for c, v in images().items()}
    plain, corrected = (find_lesions("p", shaded, toy("restored"), DetectConfig(n4=n4)) for n4 in (False, True))
    inside = plain.brain.data

    def trend(findings: Findings) -> float:
        data = findings.images[Contrast.FLAIR].data
        return abs(np.corrcoef(np.broadcast_to(x, SHAPE)[inside], data[inside])[0, 1])

    assert np.array_equal(corrected.brain.data, inside)
    assert trend(corrected) < 0.8 * trend(plain)


def test_the_class_of_every_slice_goes_to_the_record() -> None:
    model = toy("restored")
    sound = model.method.predict
    model.method.predict = lambda image, *given: sound(image, *given)._replace(  # type: ignore[method-assign]
        diseased=image[:, 3].amax(dim=(1, 2)).clamp(max=1)
    )
    found = find(model)
    told = found.restoration.slice_classes["slices_diseased"]
    assert [one["slice"] for one in told] == found.restoration.slices.index.tolist()
    brightest = found.restoration.slices.image[:, 3].max(axis=(1, 2))
    assert [one["probability"] for one in told] == pytest.approx(brightest.tolist(), abs=1e-4)
    assert find(toy("restored")).restoration.slice_classes == {}
