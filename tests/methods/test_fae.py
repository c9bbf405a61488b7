"""FAE: sizes of the paper, range and meaning of the score, and no silent random backbone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tasks import losses, still

from braincli.config import TrainConfig
from braincli.errors import ModelError
from braincli.imaging.cases import Case
from braincli.imaging.slices import SliceSpec
from braincli.methods import registry
from braincli.methods.base import Batch
from braincli.methods.fae import FAE
from braincli.model.folder import load_model, save_model
from braincli.model.info import ModelInfo
from braincli.runtime.progress import Reporter
from braincli.training.run import train_cases
from braincli.weights import inventory as weights
from braincli.weights import pretrained

SIZE = (32, 24)


def tiny(**settings: object) -> FAE:
    torch.manual_seed(0)
    method = registry.build("fae", preset="tiny", channels=4, size=SIZE, settings=settings)
    assert isinstance(method, FAE)
    return method


def slices(rows: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    brain = torch.ones(rows, 1, *SIZE, dtype=torch.bool)
    lesion = torch.zeros_like(brain)
    image = 0.1 + 0.8 * torch.rand(rows, 4, *SIZE, generator=generator)
    return Batch(image, brain, torch.zeros(rows, dtype=torch.long), lesion, torch.linspace(0, 1, rows))


def test_paper_has_the_published_size() -> None:
    method = registry.build("fae", preset="paper")
    assert isinstance(method, FAE)
    assert method.backbone.channels == [64, 64, 128]
    assert sum(p.numel() for p in method.parameters() if p.requires_grad) == 10_285_048
    assert method.pretrained == "resnet18"
    assert method.config.slices.normalisation == "equalise"
    with torch.device("meta"):
        assert method.rows(torch.empty(2, 4, 256, 24, 20)).shape == (8, 256, 24, 20), "one contrast at a time"


@pytest.mark.parametrize("preset", ["paper", "compact"])
def test_random_features_are_refused(preset: str) -> None:
    method, given = registry.build("fae", preset=preset, size=SIZE), slices()
    with pytest.raises(ModelError, match="were not loaded") as error:
        method.predict(given.image, given.brain, [])
    assert "braincli train" in error.value.hint
    with pytest.raises(ModelError, match="were not loaded"):
        next(iter(losses(method, given, "main")))


def test_compact_is_small() -> None:
    method = registry.build("fae", preset="compact")
    assert sum(v.numel() for v in method.state_dict().values()) < 3_500_000
    assert method.pretrained == "efficientnet_lite0"
    assert method.config.slices.normalisation == "percentile"


def test_score_is_nought_where_features_are_reconstruct(monkeypatch: pytest.MonkeyPatch) -> None:
    method, given = tiny().eval(), slices()
    monkeypatch.setattr(method, "_reconstruct", lambda features: features)
    with torch.inference_mode():
        score = method.predict(given.image, given.brain, []).score
    assert score is not None and float(score.max()) < 1e-5


def test_unlike_features_score_high() -> None:
    method, features = tiny(), torch.randn(2, 4, 5, 8, 6)
    dissimilarity = method._dissimilarity(features, -features)
    assert dissimilarity.shape == (2, 4, 8, 6)
    assert float(dissimilarity.mean()) > 1.4 and float(dissimilarity.max()) <= 2
    assert 0.6 < float(method._dissimilarity(features, torch.randn_like(features)).mean()) < 1.2, "unrelated: about 1"


def test_shares_of_absent_contrasts_go_to_the_others() -> None:
    method, image = tiny(shares=(1, 1, 2, 4)), slices(1).image
    image[:, 3] = 0
    maps = torch.tensor([0.1, 0.2, 0.4, 0.9])[None, :, None, None].expand(1, 4, 8, 6)
    brain = torch.ones(1, 1, *SIZE, dtype=torch.bool)
    brain[..., :4] = False
    fused = method.fused([maps], image, brain)
    torch.testing.assert_close(fused[0, 0, 5, 5], torch.tensor((0.1 + 0.2 + 2 * 0.4) / 4))
    assert not fused[..., :4].any()
    assert not method.fused([maps], 0 * image, brain).any()


def test_lesions_are_left_out_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    given = slices()
    given.lesion[:, :, 8:24, 8:20] = True
    method = tiny(**still(plant=0.0), window=1)
    reconstruct = method._reconstruct

    def loss(spoilt: bool) -> float:
        def spoil(features: torch.Tensor) -> torch.Tensor:
            reconstruction = reconstruct(features)
            centre = torch.zeros_like(reconstruction)
            centre[..., 2:6, 2:5] = 1e3 * spoilt  # the lesion's cells, at a quarter of the size
            return reconstruction + centre

        monkeypatch.setattr(method, "_reconstruct", spoil)
        method.eval()
        return next(iter(losses(method, given, "main")))[1].item()

    assert loss(True) == pytest.approx(loss(False), rel=1e-5)
    given.lesion[:] = False
    assert loss(True) != pytest.approx(loss(False), rel=1e-3)


def test_training_needs_the_extra_and_a_trained_model_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, given = registry.build("fae", preset="compact", size=SIZE).eval(), slices()
    try:
        method.load_pretrained(pretrained.load("efficientnet_lite0"))
    except ModelError:
        pytest.skip("the extra imagenet is not installed")
    info = ModelInfo(name="m", method="fae", preset="compact", slices=SliceSpec(size=SIZE))
    save_model(tmp_path / "m", method, info)
    monkeypatch.setattr(weights, "LITE0", "no_such_package")
    loaded = load_model(str(tmp_path / "m"), torch.device("cpu")).method
    with torch.inference_mode():
        score, expected = (m.predict(given.image, given.brain, []).score for m in (loaded, method))
    assert score is not None and expected is not None and torch.equal(score, expected)

    with pytest.raises(ModelError, match="not installed"):
        train_cases([Case("a", {})], TrainConfig(method="fae"), tmp_path / "new", Reporter())
    assert not (tmp_path / "new").exists()
