"""Classifiers of slices, DenseNet-169 and DeScarGAN's alone: sizes, loss, class of a slice, class activation map."""

from __future__ import annotations

import math

import pytest
import torch
from tasks import losses, still
from torch import Tensor, nn

from braincli.methods import registry
from braincli.methods.base import Batch
from braincli.methods.descargan import DeScarGAN
from braincli.methods.families.telling import Classifier
from braincli.networks.densenet import DenseNet

SIZE = (16, 16)
NAMES = ("densenet169", "descargan-classifier")


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def build(name: str, channels: int = 1, **settings: object) -> Classifier:
    torch.manual_seed(0)
    method = registry.build(name, preset="tiny", channels=channels, size=SIZE, settings=still() | settings)
    assert isinstance(method, Classifier)
    return method.eval()


def predict(method: Classifier, image: Tensor) -> tuple[Tensor, Tensor]:
    brain = torch.ones(len(image), 1, *SIZE, dtype=torch.bool)
    with torch.inference_mode():
        made = method.predict(image, brain, [])
    assert made.restored is None and made.score is not None and made.diseased is not None
    return made.score, made.diseased


def test_published_sizes() -> None:
    """Of DenseNet-169 as trained on ImageNet; of D_cls what DeScarGAN's discriminator has but for two judges."""
    with torch.device("meta"):
        assert count(DenseNet(3, 1000)) == 14_149_480
        assert count(DenseNet(3, 1000, blocks=(6, 12, 24, 16))) == 7_978_856, "DenseNet-121"
        alone = registry.build("descargan-classifier", preset="paper", channels=1)
        whole = registry.build("descargan", preset="paper", channels=1)
    assert isinstance(whole, DeScarGAN)
    assert count(alone) == count(whole.discriminator) - count(whole.discriminator.judges) == 8_729_922


def test_every_layer_sees_what_all_before_it_made() -> None:
    network = DenseNet(1, 2, blocks=(3,), growth=4, width=8).eval()
    seen: list[Tensor] = []
    for layer in network.features[4:7]:
        layer.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.inference_mode():
        network(torch.rand(1, 1, 16, 16))
    assert [len(output[0]) for output in seen] == [12, 16, 20]
    assert torch.equal(seen[2][:, :16], seen[1]) and torch.equal(seen[1][:, :12], seen[0])


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_cross_entropy_of_the_class(name: str) -> None:
    method = build(name)
    method.logits = lambda rows, generator=None: torch.tensor([[2.0, 0.0]]).expand(len(rows), 2)  # type: ignore[method-assign]
    label = torch.tensor([0, 0, 0, 1])
    brain = torch.ones(4, 1, *SIZE, dtype=torch.bool)
    given = Batch(torch.rand(4, 1, *SIZE), brain, label, torch.zeros_like(brain), torch.linspace(0, 1, 4))
    ((optimizer, loss, logs),) = losses(method, given)
    assert optimizer == "classifier" and logs["accuracy"] == 0.75
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-2)) + 2 / 4, rel=1e-6)


class Bright(nn.Module):
    """A classifier whose log-odds are the mean brightness: its class activation map is the image."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Identity()

    def forward(self, rows: Tensor) -> Tensor:
        mean = self.features(rows).mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(mean), mean], dim=1)


def test_the_map_shows_what_the_class_rests_on() -> None:
    method = build("densenet169")
    method.network = Bright()  # type: ignore[assignment]
    image = torch.zeros(2, 1, *SIZE)
    image[0, 0, 4:8, 4:8], image[1] = 0.9, 0.2  # networks see [-1, 1]
    score, diseased = predict(method, image)
    places = SIZE[0] * SIZE[1]
    assert torch.allclose(score, (image * 2 - 1).clamp_min(0) / places, atol=1e-7)
    mean = (image * 2 - 1).mean(dim=(1, 2, 3))
    assert torch.allclose(diseased, mean.sigmoid(), atol=1e-6) and not score[1].any()


@pytest.mark.parametrize("name", NAMES)
def test_contrasts_that_are_absent_have_no_say(name: str) -> None:
    method, image = build(name, channels=2, contrasts="single"), torch.rand(2, 2, *SIZE)
    image[0, 1] = 0
    both, alone = predict(method, image), predict(method, image[:1, :1])
    assert torch.allclose(both[1][:1], alone[1], atol=1e-6), "the class of the contrast that is there"
    with torch.inference_mode():
        verdict = method.verdict()
        odds = verdict.value(image[1:])
        each = [verdict.value(image[1:, channel, None]) for channel in range(2)]
    assert torch.allclose(odds, (each[0] + each[1]) / 2, atol=1e-5)


def test_the_class_is_that_of_the_training_canvas() -> None:
    """Dense layers take one size alone: a larger slice of the same look is of the same class, and has a map."""
    method = build("descargan-classifier")
    small = torch.linspace(0.1, 0.9, SIZE[1]).expand(1, 1, *SIZE)
    large = nn.functional.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    with torch.inference_mode():
        made = method.predict(large, torch.ones(1, 1, 32, 32, dtype=torch.bool), [])
    assert made.score is not None and made.score.shape == (1, 1, 32, 32) and made.diseased is not None
    assert torch.allclose(made.diseased, predict(method, small)[1], atol=0.02)
