"""Both preconditionings describe denoisers of one model; only what the network must learn differs."""

from __future__ import annotations

import pytest
import torch

from braincli.diffusion.preconditioning import VE, Centred

SIGMAS = torch.tensor([0.01, 0.3, 5.0, 348.0])


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    condition = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    clean = condition - 0.1
    noise = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    return clean.double() + SIGMAS[:, None, None, None] * noise, condition


def test_centred_network_of_zero_copies_the_condition_at_high_noise() -> None:
    noisy, condition = pair()
    clean = Centred(0.1).denoise(lambda joint, _: torch.zeros_like(joint[:, :2]), noisy, SIGMAS, condition)
    torch.testing.assert_close(clean[3], condition[3].double(), rtol=0, atol=1e-3)
    assert (clean[0] - noisy[0]).abs().max() < 2e-3, "at low noise the noisy slice itself is kept"


def test_the_input_of_the_network_has_unit_size_and_the_condition_unnoised() -> None:
    noisy, condition = pair()
    inputs: list[torch.Tensor] = []

    def network(joint: torch.Tensor, log_sigma: torch.Tensor) -> torch.Tensor:
        inputs.append(joint)
        torch.testing.assert_close(log_sigma, SIGMAS.log())
        return torch.zeros_like(joint[:, :2])

    Centred(0.1).denoise(network, noisy, SIGMAS, condition)
    assert float(inputs[0][1:, :2].std()) == pytest.approx(1, rel=0.3)
    assert torch.equal(inputs[0][:, 2:], condition * 2 - 1)
    VE().denoise(network, noisy, SIGMAS, condition)
    assert torch.equal(inputs[1][:, 2:], condition * 2 - 1)


@pytest.mark.parametrize("precondition", [VE(), Centred(0.1)])
def test_the_loss_weighs_every_sigma_alike(precondition: VE | Centred) -> None:
    """An error of one in the network's output costs one, at every sigma."""
    noisy, condition = pair()
    outputs = [
        precondition.denoise(lambda joint, _, v=value: torch.full_like(joint[:, :2], v), noisy, SIGMAS, condition)
        for value in (0.0, 1.0)
    ]
    cost = precondition.weight(SIGMAS.double()) * ((outputs[1] - outputs[0]) ** 2).mean(dim=(1, 2, 3))
    torch.testing.assert_close(cost, torch.ones(4, dtype=torch.float64), rtol=1e-3, atol=0)
