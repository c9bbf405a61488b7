"""DAE: size, loss in the foreground, noise in training only."""

from __future__ import annotations

import pytest
import torch
from tasks import losses, still

from braincli.methods import registry
from braincli.methods.base import Batch
from braincli.methods.dae import DAE

SIZE = (32, 24)


def build(**settings: object) -> DAE:
    torch.manual_seed(0)
    method = registry.build("dae", preset="tiny", settings=settings, size=SIZE)
    assert isinstance(method, DAE)
    return method


def batch(rows: int = 4) -> Batch:
    brain = torch.zeros(rows, 1, *SIZE, dtype=torch.bool)
    brain[..., 4:-4, 4:-4] = True
    image = (0.2 + 0.6 * torch.rand(rows, 4, *SIZE, generator=torch.Generator().manual_seed(0))) * brain
    return Batch(image, brain, torch.zeros(rows, dtype=torch.long), torch.zeros_like(brain), torch.zeros(rows))


def test_paper_size_and_settings() -> None:
    with torch.device("meta"):
        method = registry.build("dae", preset="paper", channels=1, size=(128, 128))
    assert sum(p.numel() for p in method.parameters()) == 7_701_825
    options = method.optimizers("main")["net"].param_groups[0]
    assert options["amsgrad"] and options["lr"] == 1e-4 and options["weight_decay"] == 1e-5


@pytest.mark.parametrize(("kind", "power"), [("l1", 1), ("l2", 2)])
def test_untrained_change_pays_for_the_noise_in_the_foreground(kind: str, power: int) -> None:
    """A network that changes nothing leaves the noise, whose mean size in the brain is the loss."""
    method = build(loss=kind, **still(plant=0.0))
    given = batch()
    ((_, loss, _),) = losses(method, given, "main", seed=3)
    noise = method.noise(given, torch.Generator().manual_seed(3))
    inside = given.brain.expand_as(noise)
    assert loss.item() == pytest.approx((noise[inside].abs() ** power).mean().item(), rel=1e-4)


def test_strength_of_the_noise_varies_from_row_to_row() -> None:
    given = batch(64)
    same, varied = (
        build(std_range=width, cells=(8,)).noise(given, torch.Generator().manual_seed(0)).std(dim=(1, 2, 3))
        for width in (1.0, 4.0)
    )
    assert varied.max() / varied.min() > 2 * same.max() / same.min()


def test_nothing_is_added_at_test_time() -> None:
    method, given = build().eval(), batch(2)
    with torch.inference_mode():
        prediction = method.predict(given.image, given.brain, [torch.Generator().manual_seed(s) for s in (0, 1)])
    assert prediction.restored is not None
    torch.testing.assert_close(prediction.restored, given.image, msg="an untrained change is none")
