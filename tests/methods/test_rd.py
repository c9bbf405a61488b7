"""RD: sizes of the paper, the cosine distance per position and flattened, and that training lowers it."""

from __future__ import annotations

import pytest
import torch
from tasks import losses, still
from torch.nn import functional as F

from braincli.errors import ModelError
from braincli.methods import registry
from braincli.methods.base import Batch
from braincli.methods.rd import RD, cosine_distance

SIZE = (32, 24)


def tiny(**settings: object) -> RD:
    torch.manual_seed(0)
    method = registry.build("rd", preset="tiny", channels=4, size=SIZE, settings=settings)
    assert isinstance(method, RD)
    return method


def slices(rows: int = 2) -> Batch:
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE[0]), torch.linspace(-1, 1, SIZE[1]), indexing="ij")
    brain = ((y**2 + x**2) < 0.8).expand(rows, 1, *SIZE).clone()
    image = (0.5 + 0.3 * torch.sin(9 * y + torch.arange(4 * rows).reshape(rows, 4, 1, 1))) * brain
    label = torch.zeros(rows, dtype=torch.long)
    return Batch(image, brain, label, torch.zeros_like(brain), torch.linspace(0, 1, rows))


def test_paper_has_the_published_size() -> None:
    with torch.device("meta"):
        method = registry.build("rd", preset="paper")
    assert isinstance(method, RD)
    assert method.backbone.channels == [256, 512, 1024]
    assert sum(p.numel() for p in method.bottleneck.parameters()) == 58_885_120
    assert sum(p.numel() for p in method.student.parameters()) == 24_917_504
    # 24,862,528 up to layer 3; of the 19,776 channels' norms, merging leaves a bias of the two figures
    assert sum(p.numel() for p in method.backbone.parameters()) == 24_862_528 - 19_776
    assert not any(p.requires_grad for p in method.backbone.parameters())
    assert method.pretrained == "wide_resnet50_2"


def test_compact_is_small_and_refuses_random_features() -> None:
    method, given = registry.build("rd", preset="compact", size=SIZE), slices()
    assert sum(v.numel() for v in method.state_dict().values()) < 3_500_000
    with pytest.raises(ModelError, match="were not loaded"):
        method.predict(given.image, given.brain, [])


def test_distance_is_one_minus_cosine_at_every_position() -> None:
    teacher, student = torch.randn(2, 2, 3, 5, 4, 4)
    distance = cosine_distance(teacher, student)
    assert distance.shape == (2, 3, 4, 4)
    a, b = teacher[1, 2, :, 3, 0], student[1, 2, :, 3, 0]
    torch.testing.assert_close(distance[1, 2, 3, 0], 1 - a @ b / (a.norm() * b.norm()))
    assert float(cosine_distance(teacher, teacher).abs().max()) < 1e-5
    torch.testing.assert_close(cosine_distance(teacher, -teacher), torch.full((2, 3, 4, 4), 2.0))


def test_flattened_loss_is_one_cosine_per_map_and_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    method, given = tiny(flatten=True, **still(leave_out=False, plant=0.0)), slices()
    student = [torch.randn_like(f) for f in method.eval().features(given.image)]
    monkeypatch.setattr(method, "_student_features", lambda features: student)
    loss = next(iter(losses(method, given, "main")))[1].item()
    pairs = zip(method.features(given.image), student, strict=True)
    expected = sum(float((1 - F.cosine_similarity(t.flatten(2), s.flatten(2), dim=2)).mean()) for t, s in pairs)
    assert loss == pytest.approx(expected, rel=1e-4)


def test_training_lowers_the_distance() -> None:
    method, given = tiny(**still(plant=0.0)).train(), slices()
    optimizer = method.optimizers("main")["main"]
    history = []
    for _ in range(25):
        _, loss, _ = next(iter(losses(method, given, "main")))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.6 * history[0]
