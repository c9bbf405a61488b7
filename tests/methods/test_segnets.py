"""SegNet and its two relatives that say where they are unsure; and the VAE of Chen and Konukoglu."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tasks import losses, still, task
from torch import Tensor, nn

from braincli.methods import registry
from braincli.methods.base import Batch, Method
from braincli.methods.families.segnets import SegNets
from braincli.methods.segnet_aleatoric import AleatoricSegNet
from braincli.methods.segnet_bayesian import BayesianSegNet
from braincli.methods.vae_chen import VAEChen
from braincli.networks.segnet import SegNet

SIZE = (16, 16)


def build(name: str, **settings: Any) -> Method:
    torch.manual_seed(0)
    return registry.build(name, preset="tiny", channels=1, size=SIZE, settings=still() | settings)


def batch() -> Batch:
    brain = torch.ones(2, 1, *SIZE, dtype=torch.bool)
    lesion = torch.zeros_like(brain)
    lesion[1, :, 4:8, 4:12] = True
    image = torch.where(lesion, 0.9, 0.4 + 0.1 * torch.rand(2, 1, *SIZE))
    return Batch(image, brain, torch.tensor([0, 1]), lesion, torch.tensor([0.0, 1.0]))


def generators(seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(10 * seed + row) for row in range(2)]


def test_vgg16_and_its_mirror_image() -> None:
    with torch.device("meta"):
        networks = [registry.build(name, preset="paper", channels=4) for name in ("segnet", "segnet-aleatoric")]
        network = SegNet(3)
    assert [sum(p.numel() for p in one.parameters()) for one in networks] == [29_444_161, 29_444_738]
    convolutions = [m for m in network.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert sum(p.numel() for conv in convolutions for p in conv.parameters()) == 14_714_688, "VGG16 without its head"
    assert len([m for m in network.modules() if isinstance(m, nn.Conv2d)]) == 26
    assert network.stride == 32


def test_values_go_back_to_where_their_maxima_were() -> None:
    network = SegNet(1, widths=(1,), convolutions=(1,))
    network.encoder, network.last = nn.ModuleList([nn.Identity()]), nn.Identity()  # type: ignore[assignment]
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 2], image[0, 0, 3, 0] = 0.7, 0.4
    assert torch.equal(network(image), image)


def test_dropout_acts_in_the_three_central_units_of_either_side() -> None:
    with torch.device("meta"):
        network, image = SegNet(1, widths=(2, 2, 4, 4, 8)), torch.empty(1, 1, 64, 64)
        shapes: list[tuple[int, int]] = []
        network(image, lambda x: shapes.append((x.shape[1], x.shape[2])) or x)
    assert shapes == [(4, 8), (4, 4), (8, 2), (4, 4), (4, 8), (2, 16)]


def test_passes_of_bayesian_segnet_differ_and_their_mean_less() -> None:
    spreads = {}
    for ensemble in (1, 16):
        method = build("segnet-bayesian", ensemble=ensemble).eval()
        assert isinstance(method, BayesianSegNet)
        given = batch()
        with torch.inference_mode():
            drawn = [method.predict(given.image, given.brain, generators(seed)).score for seed in range(6)]
        spreads[ensemble] = float(torch.stack(drawn).std(dim=0).mean())  # type: ignore[arg-type]
    assert 0 < spreads[16] < 0.5 * spreads[1]


def aleatoric(logit: float, log_sigma: float, **settings: Any) -> AleatoricSegNet:
    method = build("segnet-aleatoric", **settings)
    assert isinstance(method, AleatoricSegNet)

    def network(rows: Tensor) -> Tensor:
        both = torch.tensor([logit, log_sigma])[None, :, None, None]
        return both.expand(len(rows), 2, *rows.shape[2:]).clone().requires_grad_()

    method.network.forward = network  # type: ignore[method-assign]
    return method


def test_aleatoric_loss_is_the_cross_entropy_of_the_mean_probability() -> None:
    """Without spread it is the plain cross-entropy; with it, being wrong costs less and being right more."""
    share = 32 / 512
    plain = -(share * math.log(1 / (1 + math.e**2)) + (1 - share) * math.log(1 / (1 + math.e**-2)))
    certain = next(losses(aleatoric(-2.0, -20.0), batch()))
    assert certain[1].item() == pytest.approx(plain, rel=1e-4)
    unsure = aleatoric(-2.0, 1.0, ensemble=500)
    _, loss, logs = next(losses(unsure, batch()))
    expected = torch.sigmoid(-2 + math.e * torch.randn(200_000, generator=torch.Generator().manual_seed(0))).mean()
    wanted = -(share * math.log(expected) + (1 - share) * math.log(1 - expected))
    assert loss.item() == pytest.approx(wanted, rel=0.02)
    assert float(logs["sigma"]) == pytest.approx(math.e, rel=1e-5)


def test_aleatoric_samples_spread_as_the_network_says() -> None:
    given = batch()
    spreads = []
    for log_sigma in (-20.0, 0.0):
        method = aleatoric(0.0, log_sigma, ensemble=1).eval()
        with torch.inference_mode():
            drawn = [method.predict(given.image, given.brain, generators(seed)).score for seed in range(4)]
        spreads.append(float(torch.stack(drawn).std()))  # type: ignore[arg-type]
    assert spreads[0] < 1e-6
    assert spreads[1] == pytest.approx(0.208, abs=0.02), "the standard deviation of a sigmoid of N(0, 1)"


@pytest.mark.parametrize("name", ["segnet", "segnet-bayesian", "segnet-aleatoric"])
def test_lesions_of_the_task_are_what_is_learnt(name: str) -> None:
    method = build(name, dice=0.0)
    assert isinstance(method, SegNets)
    given = task(method, batch())
    sure = torch.where(given.lesion, 30.0, -30.0)
    assert method.loss(sure, given).item() == pytest.approx(0, abs=1e-6)
    assert method.loss(-sure, given).item() == pytest.approx(30, rel=1e-4)


def test_the_error_of_vae_chen_is_the_norm_of_an_image() -> None:
    method = build("vae-chen", **still(leave_out=False, plant=0.0), kl_weight=0.0)
    assert isinstance(method, VAEChen)
    given = batch()
    method.net.decode = lambda latent, generator=None: given.image + 0.1  # type: ignore[method-assign]
    _, loss, logs = next(losses(method, given))
    assert loss.item() == pytest.approx(0.1 * 16, rel=1e-4) == float(logs["norm"])


def test_consistency_is_the_distance_of_latents() -> None:
    method, given = build("vae-chen", consistency=0.5), batch()
    _, loss, logs = next(losses(method, given))
    assert float(logs["consistency"]) > 0
    parts = float(logs["norm"] + logs["kl"] + 0.5 * logs["consistency"])
    assert loss.item() == pytest.approx(parts, rel=1e-5)
