"""CycleGAN and f-AnoGAN: what their losses are made of, and in which order they come."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tasks import losses, still, task

from braincli.methods import registry
from braincli.methods.base import Batch, Method, healthy_tissue
from braincli.methods.cyclegan import CycleGAN
from braincli.methods.families.translation import Translation
from braincli.methods.fanogan import FAnoGAN
from braincli.methods.tsgm import TSGM

SIZE = (16, 16)


def build(name: str, **settings: object) -> Method:
    torch.manual_seed(0)
    return registry.build(name, preset="tiny", channels=2, size=SIZE, settings=still() | settings)


def batch(rows: int = 4) -> Batch:
    """Squares of brain; every second row is diseased and holds a bright lesion."""
    brain = torch.zeros(rows, 1, *SIZE, dtype=torch.bool)
    brain[:, :, 2:14, 2:14] = True
    lesion = torch.zeros_like(brain)
    lesion[1::2, :, 6:8, 6:8] = True
    image = (0.4 + 0.2 * torch.rand(rows, 2, *SIZE)) * brain
    image = torch.where(lesion, 0.95, image)
    return Batch(image, brain, torch.arange(rows) % 2, lesion, torch.linspace(0, 1, rows))


class Half(torch.nn.Module):
    """A discriminator that cannot tell."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.full((len(image), 1), 0.5)


class Heal(torch.nn.Module):
    """Takes bright tissue down to 0.5."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.where(image > 0.9, 0.5, image)


def translator(**settings: object) -> CycleGAN:
    method = build("cyclegan", **settings)
    assert isinstance(method, CycleGAN)
    method.to_diseased, method.to_healthy = torch.nn.Identity(), Heal()  # type: ignore[assignment]
    method.discriminator_diseased, method.discriminator_healthy = Half(), Half()  # type: ignore[assignment]
    return method


def translations(method: Translation, given: Batch) -> dict[str, tuple[float, dict[str, float]]]:
    yielded = method.translation_losses(task(method, given, "translate"), torch.Generator().manual_seed(0))
    return {name: (loss.item(), logs) for name, loss, logs in yielded}


def test_paper_sizes_and_shared_first_stage() -> None:
    with torch.device("meta"):
        method = registry.build("cyclegan", preset="paper", size=(256, 256))
    assert isinstance(method, CycleGAN)
    assert sum(p.numel() for p in method.to_healthy.parameters()) == 11_365_633
    assert sum(p.numel() for p in method.discriminator_healthy.parameters()) == 2_762_689
    assert issubclass(TSGM, Translation)


def test_cycle_and_identity_are_weighed() -> None:
    """Healing 4 of the 256 pixels of a diseased row by 0.45 is all that any of the two does."""
    change = 0.45 * 4 / 256
    steps = translations(translator(keep_weight=0), batch())
    total, logs = steps["generators"]
    assert float(logs["adversarial"]) == pytest.approx(2 * 0.5**2)
    assert float(logs["cycle"]) == pytest.approx(change, rel=1e-4)
    assert total == pytest.approx(0.5 + 10 * change, rel=1e-4)  # healing the healthy changes nothing: identity 0
    assert steps["discriminators"][0] == pytest.approx(4 * 0.5**2 / 2)


def test_keeping_counts_changes_outside_lesions_only() -> None:
    given = batch()
    assert translations(translator(keep_weight=1), given)["generators"][1]["keep"] == 0
    unmarked = replace(given, lesion=torch.zeros_like(given.lesion))
    kept = translations(translator(keep_weight=1), unmarked)["generators"][1]["keep"]
    assert kept == pytest.approx(0.45 * 4 / 144, rel=1e-4)


def test_translation_needs_a_slice_of_either_kind_whatever_their_order() -> None:
    given = batch()
    assert not translations(translator(), given.rows(torch.tensor([0])))
    swapped, plain = given.rows(torch.tensor([3, 0, 1, 2])), translations(translator(), given)["generators"][0]
    assert translations(translator(), swapped)["generators"][0] == pytest.approx(plain)


@pytest.mark.parametrize("contrasts", ["single", "stacked"])
def test_cyclegan_restores_with_one_network(contrasts: str) -> None:
    method = build("cyclegan", contrasts=contrasts).eval()
    given = batch()
    image = given.image.clone()
    image[:, 1] = 0
    with torch.inference_mode():
        restored = method.predict(image, given.brain, [torch.Generator()] * 4).restored
    assert restored is not None
    assert restored[:, 0].any()
    assert not restored[:, 1].any()


def test_five_steps_of_the_critic_on_slices_of_their_own() -> None:
    method = build("fanogan", critic_steps=5)
    assert isinstance(method, FAnoGAN)
    given, positions = batch(10), []
    critic_input = method.critic_input
    method.critic_input = lambda image, like: positions.append(like.position) or critic_input(image, like)  # type: ignore[method-assign]
    order = [name for name, _, _ in losses(method, given, "gan")]
    assert order == ["critic"] * 5 + ["generator"]
    assert torch.equal(torch.cat(positions[:10:2]), given.position)


def test_encoder_learns_alone() -> None:
    method = build("fanogan")
    (optimizer,) = method.optimizers("encode").values()
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    names = {name.split(".")[1] for name, p in method.named_parameters() if id(p) in held}
    assert names == {"encoder", "squeeze", "heads"}
    gan = {id(p) for o in method.optimizers("gan").values() for group in o.param_groups for p in group["params"]}
    assert not gan & held
    assert len(gan | held) == len(list(method.parameters()))


def test_perfect_restoration_costs_the_encoder_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    method, given = build("fanogan", **still(plant=0.0)), batch()
    assert isinstance(method, FAnoGAN)
    inside = healthy_tissue(given)
    wrong_in_lesion = torch.where(inside, given.image, 0.3).requires_grad_()
    monkeypatch.setattr(method, "reconstruct", lambda image: wrong_in_lesion)
    ((_, loss, _),) = losses(method, given, "encode")
    assert loss.item() == 0
    monkeypatch.setattr(method, "reconstruct", lambda image: given.image + 0.1)
    ((_, loss, logs),) = losses(method, given, "encode")
    assert float(logs["image"]) == pytest.approx(0.01, rel=1e-3)
    assert loss.item() == pytest.approx(float(logs["image"] + logs["feature"]), rel=1e-4)


def test_critic_sees_real_and_drawn_with_the_same_holes() -> None:
    method, given = build("fanogan"), batch()
    assert isinstance(method, FAnoGAN)
    given = given.with_image(given.image * torch.tensor([1.0, 0.0])[:, None, None])
    output = method.critic_input(torch.ones_like(given.image), task(method, given, "gan"))
    assert not output[:, 1].any(), "an absent contrast"
    assert not output[1, 0, 4:10, 4:10].any(), "a lesion and its rim"
    assert output[1, 0, :4].all(), "what is output outside the brain is judged"
    assert output[0, 0].all()


def test_fanogan_of_tsgm_reaches_sixteen_pixels() -> None:
    with torch.device("meta"):
        method = registry.build("fanogan", preset="wang", size=(256, 256))
    assert isinstance(method, FAnoGAN)
    assert method.net.grid == (16, 16, 16)
    assert method.folded == 4


def test_a_generator_called_once_for_both_kinds_gives_what_two_calls_give() -> None:
    method = build("cyclegan", keep_weight=0.0)
    assert isinstance(method, CycleGAN)
    given = batch(6)
    healthy, diseased = given.image[0::2], given.image[1::2]
    inside = given.brain[:1]
    there = method.to_diseased(healthy) * inside
    back = method.to_healthy(diseased) * inside
    cycle = (method.to_healthy(there) * inside - healthy).abs().mean()
    cycle = cycle + (method.to_diseased(back) * inside - diseased).abs().mean()
    identity = (method.to_healthy(healthy) * inside - healthy).abs().mean()
    identity = identity + (method.to_diseased(diseased) * inside - diseased).abs().mean()
    judges = (method.discriminator_diseased, there), (method.discriminator_healthy, back)
    adversarial = sum(((judge(fake) - 1) ** 2).mean() for judge, fake in judges)
    real = (method.discriminator_diseased, diseased), (method.discriminator_healthy, healthy)
    told = sum(((judge(image) - 1) ** 2).mean() for judge, image in real)
    told = told + sum((judge(fake) ** 2).mean() for judge, fake in judges)
    found = translations(method, given)
    assert found["generators"][0] == pytest.approx((adversarial + 10 * cycle + 5 * identity).item(), rel=1e-5)
    assert found["discriminators"][0] == pytest.approx((told / 2).item(), rel=1e-5)
