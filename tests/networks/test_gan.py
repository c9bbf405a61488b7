"""Adversarial losses by hand, and the networks that go with them."""

from __future__ import annotations

import math

import pytest
import torch

from braincli.networks.cyclegan import ResNetGenerator
from braincli.networks.descargan import BranchedGenerator
from braincli.networks.gan import Critic, gradient_penalty, least_squares, log_likelihood
from braincli.networks.wsunet import WSUNet


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_sizes() -> None:
    with torch.device("meta"):
        assert count(ResNetGenerator(1, blocks=6)) == 7_825_153
        assert count(ResNetGenerator(1, blocks=6, inputs=4)) == 7_834_561
        assert round(count(WSUNet(1, 4, widths=(64, 128, 256, 512, 1024))) / 1e6, 1) == 31.0


def test_losses_of_known_judgements() -> None:
    logits = torch.tensor([0.0, 1.0])
    assert least_squares(logits, real=True).item() == 0.5
    assert least_squares(logits + 1, real=False).item() == 2.5
    assert log_likelihood(torch.zeros(3), real=True).item() == pytest.approx(math.log(2))
    assert log_likelihood(torch.full((3,), 9.0), real=True).item() < 1e-3 < log_likelihood(torch.ones(3), real=False)


def test_penalty_takes_the_norm_of_a_whole_image() -> None:
    """A linear critic has the same slope everywhere; its norm over 2 x 4 x 8 pixels of 0.5 is 4."""
    real, fake = torch.rand(3, 2, 4, 8), torch.rand(3, 2, 4, 8)
    share = torch.rand(3)
    assert gradient_penalty(lambda x: 0.5 * x.sum(dim=(1, 2, 3)), real, fake, share).item() == pytest.approx(
        9, rel=1e-5
    )
    assert gradient_penalty(lambda x: 0.125 * x.sum(dim=(1, 2, 3)), real, fake, share).item() < 1e-9


def test_penalty_looks_between_the_two_and_teaches_the_critic() -> None:
    between: list[torch.Tensor] = []
    weight = torch.tensor(2.0, requires_grad=True)

    def critic(x: torch.Tensor) -> torch.Tensor:
        between.append(x.detach())
        return weight * x.flatten(1)[:, 0]

    real, fake = torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    gradient_penalty(critic, real, fake, torch.tensor([0.25, 1.0])).backward()
    assert between[0][:, 0, 0, 0].tolist() == [0.25, 1.0]
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(2 * (2 - 1))


def test_critic_gives_one_value_per_image() -> None:
    torch.manual_seed(0)
    critic = Critic(2, (16, 24), width=4, widest=8, least=4)
    image = torch.rand(3, 2, 16, 24)
    value = critic(image)
    assert value.shape == (3,)
    torch.testing.assert_close(critic(image[1:2]), value[1:2])


def test_generator_may_be_given_other_channels() -> None:
    torch.manual_seed(0)
    output = ResNetGenerator(2, width=4, blocks=1, inputs=4)(torch.rand(1, 4, 16, 8)).detach()
    assert output.shape == (1, 2, 16, 8)
    assert 0 <= float(output.min()) <= float(output.max()) <= 1


def test_the_penalty_takes_fakes_that_autocast_made() -> None:
    """16-bit fakes beside real images in float32 could not be mixed."""
    torch.manual_seed(0)
    critic = Critic(1, (16, 16), width=4, widest=8, least=4)
    real, share = torch.rand(3, 1, 16, 16), torch.rand(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty = gradient_penalty(critic, real, torch.rand(3, 1, 16, 16).bfloat16(), share)
    assert torch.isfinite(penalty)
    assert all(
        torch.isfinite(g).all()
        for g in torch.autograd.grad(penalty, critic.features.parameters(), allow_unused=True)
        if g is not None
    )


def test_a_branch_predicts_with_the_statistics_of_its_own_class() -> None:
    """What it gives in training it gives afterwards, whatever the other branch has seen meanwhile."""
    torch.manual_seed(0)
    net = BranchedGenerator(1, width=4)
    for norm in net.norms:
        norm.momentum = 0.1  # is soon there
    with torch.no_grad():  # planes that shift the features far, as they may in training
        net.downs[0][0][0].weight[:, 1:] += 3 * torch.randn(4, 2, 3, 3)  # type: ignore[index]
        image = torch.rand(8, 1, 32, 32)
        for _ in range(100):
            expected = [net(image, target) for target in (0, 1)]
        net.eval()
        for target in (0, 1):  # variances are those of a sample there
            assert (net(image, target) - expected[target]).abs().mean() < 0.02
