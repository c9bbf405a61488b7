"""ISCT: tissue maps in and out, and lesions left out of every loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tasks import losses, still

from braincli.errors import InputError
from braincli.methods import registry
from braincli.methods.base import Batch
from braincli.methods.isct import CLASSES, ISCT, targets
from braincli.runtime.progress import Reporter
from braincli.training.loop import LoopOptions, fit
from braincli.training.store import SliceStore

SIZE = (16, 24)


def build(**settings: object) -> ISCT:
    torch.manual_seed(0)
    method = registry.build("isct", preset="tiny", channels=2, size=SIZE, settings=still() | settings)
    assert isinstance(method, ISCT)
    return method


def batch() -> Batch:
    torch.manual_seed(1)
    brain = torch.zeros(2, 1, *SIZE, dtype=torch.bool)
    brain[:, :, 2:14, 2:22] = True
    lesion = torch.zeros_like(brain)
    lesion[1, :, 6:9, 8:12] = True
    tissue = torch.rand(2, 3, *SIZE).softmax(dim=1) * brain
    return Batch(torch.rand(2, 2, *SIZE) * brain, brain, torch.tensor([0, 1]), lesion, torch.zeros(2), tissue)


def run(method: ISCT, given: Batch, stage: str) -> list[tuple[str, float]]:
    return [(name, loss.item()) for name, loss, _ in losses(method, given, stage)]


def test_background_is_the_fourth_class() -> None:
    given = batch()
    maps = targets(given)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(2, *SIZE))
    assert torch.equal(maps[:, 3:] == 1, ~given.brain)
    with pytest.raises(InputError, match="no tissue maps"):
        targets(replace(given, tissue=None))


def test_discrete_maps_are_one_hot_of_the_continuous() -> None:
    image = batch().image
    with torch.no_grad():
        soft, hard = build().semantics(image), build(discrete=True).semantics(image)
        cold = build(temperature=0.01).semantics(image)
    assert soft.shape == (2, CLASSES, *SIZE)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(2, *SIZE))
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(hard.argmax(dim=1), soft.argmax(dim=1))
    assert (cold.amax(dim=1) >= soft.amax(dim=1) - 1e-6).all()


@pytest.mark.parametrize("stage", ["segment", "synthesise"])
def test_lesions_teach_nothing(stage: str) -> None:
    given = batch()
    assert given.tissue is not None
    expected = run(build(), given, stage)
    other = given.lesion.expand(-1, 2, -1, -1)
    if stage == "segment":  # what is asked for in the lesion does not count (what is seen there does)
        changed = replace(given, tissue=torch.where(given.lesion, given.tissue.flip(1), given.tissue))
    else:
        changed = given.with_image(torch.where(other, 1 - given.image, given.image))
    assert run(build(), changed, stage) == expected
    healthy = replace(changed, lesion=torch.zeros_like(given.lesion))
    assert run(build(), healthy, stage) != expected


@pytest.mark.parametrize("conditional", [False, True])
def test_reconstruction_is_weighed_ten_times(conditional: bool) -> None:
    method, given = build(conditional=conditional), batch()
    (name, loss, logs), (discriminator, _, _) = losses(method, given, "synthesise")
    assert (name, discriminator) == ("generator", "discriminator")
    assert loss.item() == pytest.approx(float(logs["adversarial"]) + 10 * float(logs["l1"]), rel=1e-5)


def test_fine_tuning_hands_over_what_the_segmentor_gives() -> None:
    method, given = build(), batch()
    inputs: list[torch.Tensor] = []
    method.generator.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    run(method, given, "synthesise")
    run(method, given, "finetune")
    torch.testing.assert_close(inputs[0], targets(given))
    torch.testing.assert_close(inputs[1], method.semantics(given.image).detach())
    assert {"generator", "discriminator"} == set(method.optimizers("finetune"))


def test_trains_from_a_store_with_tissue(tmp_path: Path) -> None:
    given = batch()
    assert given.tissue is not None
    store = SliceStore(
        (given.image.numpy() * 255).astype(np.uint8), given.brain.numpy(), given.lesion.numpy(),
        given.label.numpy().astype(np.int8), np.zeros(2, np.int32), np.zeros(2, np.float32), {"a": []},
        tissue=(given.tissue.numpy() * 255).astype(np.uint8),
    )  # fmt: skip
    steps = {"segment": 2, "synthesise": 1, "finetune": 1}
    assert fit(build(), store, tmp_path, LoopOptions(steps=steps), Reporter())


def test_paper_is_as_large_as_said() -> None:
    with torch.device("meta"):
        method = registry.build("isct", preset="paper", channels=1, size=(128, 128))
    assert isinstance(method, ISCT)
    assert round(sum(p.numel() for p in method.segmentor.parameters()) / 1e6, 1) == 31.0
    assert sum(p.numel() for p in method.generator.parameters()) == 7_834_561
    assert sum(p.numel() for p in method.discriminator.parameters()) == 2_762_689
