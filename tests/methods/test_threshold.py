"""The intensity baseline: tails of each contrast."""

from __future__ import annotations

import torch

from braincli.methods import registry
from braincli.spec import MapOptions


def residual(channels: int = 4, **settings: str) -> torch.Tensor:
    method = registry.build("threshold", settings=dict(settings), channels=channels, size=(8, 8))
    image, brain = torch.full((1, channels, 8, 8), 0.75), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    restored = method.predict(image, brain, [torch.Generator()]).restored
    assert restored is not None
    return (image - restored).abs()[0, :, 4, 4]


def test_the_residual_is_the_intensity_from_the_healthy_end() -> None:
    assert residual().tolist() == [0.75] * 4
    assert residual(t1="low", t1ce="both", t2="off").tolist() == [0.25, 0.25, 0.0, 0.75]


def test_one_contrast_takes_the_last_tail() -> None:
    assert residual(1, flair="low", t1="off").tolist() == [0.25]


def test_paper_preset_is_flair_alone_and_unfiltered() -> None:
    method = registry.build("threshold", preset="paper", size=(8, 8))
    assert method.tails == ["off", "off", "off", "high"]
    assert method.config.map == MapOptions()


def test_both_tails_meet_at_the_median() -> None:
    method = registry.build("threshold", settings={"flair": "both"}, channels=1, size=(2, 2))
    image = torch.tensor([[[[0.1, 0.5], [0.9, 0.0]]]])
    brain = torch.tensor([[[[True, True], [True, False]]]])
    restored = method.predict(image, brain, [torch.Generator()]).restored
    assert restored is not None
    torch.testing.assert_close((image - restored).abs(), torch.tensor([[[[0.4, 0.0], [0.4, 0.0]]]]))
