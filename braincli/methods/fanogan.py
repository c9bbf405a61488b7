"""f-AnoGAN (Schlegl et al. 2019, "f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial networks",
Med Image Anal 54).

Stage ``gan``: a generator G learns to make healthy slices of random latents, against a Wasserstein critic D with
gradient penalty (weight 10), which takes five steps for one of the generator. The slices of a batch are shared out
among those five. Stage ``encode`` ("izi_f"): with G and D fixed an encoder E learns

    L = MSE(x, G(E(x))) + kappa MSE(f_D(x), f_D(G(E(x)))),   kappa = 1, f_D: feature maps of D.

At test time the residual |x - G(E(x))| shows the lesion. E ends in a tanh, G in a sigmoid. The networks are those of
:mod:`braincli.networks.autoencoder` with layer norm, the critic is that encoder with one dense layer.

Mended against public code: the norm in the gradient penalty is that of a whole image (one of them takes it along one
axis), and the critic gives one value per image (there one per position).

Presets:
- ``paper``: as Behrendt et al. compare with it (arXiv:2303.03758): 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63,
  single contrasts, latent 128, Adam 1e-4 with betas (0.5, 0.9), 32 slices per step of the critic, 1600 epochs of 358
  slices in each stage; maps as for AE.
- ``wang``: as TSGM is compared with (arXiv:2311.03074): all four contrasts as channels, 256 x 256 pixels of 1 mm,
  slices 80 to 128, four levels down to 16 x 16, the rate 1e-3 of Baur et al. 2021; residuals are absolute and not
  filtered.
- ``compact``: ours. All contrasts in one stack, dropped at random; half the width, one level more; learns from every
  labelled slice with lesions cut out of the critic's input and of the loss of E; in half of E's inputs a synthetic
  growth is planted, which is to be removed.

Deviations that remain: 3,520 steps whatever the cohort (1600 epochs of Behrendt's 358 slices); those of
:mod:`braincli.methods.ae`. Wang et al. do not say how they tuned it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.diffusion import draws
from braincli.methods.base import Losses, Task, masked_mean, present
from braincli.methods.families.autoencoding import AutoencoderConfig, Autoencoding
from braincli.methods.lengths import Length
from braincli.methods.presets import AUTOENCODER_COMPACT, AUTOENCODER_TINY, BEHRENDT, WANG, Preset
from braincli.networks.gan import Critic, gradient_penalty


class FAnoGANConfig(AutoencoderConfig):
    """Options of both stages; the defaults are Behrendt's."""

    train_steps: dict[str, Length] = Field(default={"gan": 3520, "encode": 3520})
    train_batch: int = 160
    least: int = 16
    spatial: Literal[False] = False
    dropout: float = 0.0
    norm: Literal["batch", "group", "layer"] = "layer"
    critic_steps: int = Field(default=5, ge=1)
    penalty: float = 10.0
    kappa: float = 1.0


class FAnoGAN(Autoencoding):
    """Generator and critic first, then the encoder."""

    config: FAnoGANConfig
    Config = FAnoGANConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": BEHRENDT,
        "wang": WANG | {"rate": 1e-3},
        "compact": AUTOENCODER_COMPACT | {
            "norm": "layer", "width": 16, "widest": 64, "least": 8, "train_batch": 40,
            "train_steps": {"gan": 450, "encode": 350},
        },
        "tiny": AUTOENCODER_TINY | {
            "norm": "layer", "train_batch": 6, "critic_steps": 2, "train_steps": {"gan": 4, "encode": 4},
        },
    }  # fmt: skip
    stages = ("gan", "encode")
    stage_share: ClassVar[dict[str, float]] = {"gan": 2.0, "encode": 1.0}
    optional_weights = ("critic.",)

    def __init__(self, config: FAnoGANConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        self.build_network({"z": c.latent})
        self.critic = Critic(self.folded, size, width=c.width, widest=c.widest, least=c.least)

    def is_judged(self, stage: str) -> bool:
        return stage != "gan"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        net = self.net
        parts: dict[str, list[torch.nn.Module]] = {
            "generator": [net.expand, net.widen, net.decoder],
            "critic": [self.critic],
        }
        if stage == "encode":
            parts = {"encoder": [net.encoder, net.squeeze, net.heads]}
        return {
            name: torch.optim.Adam(torch.nn.ModuleList(modules).parameters(), lr=self.config.rate, betas=(0.5, 0.9))
            for name, modules in parts.items()
        }

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        yield from self._gan(batch, generator) if stage == "gan" else self._encode(batch, generator)

    def _gan(self, batch: Task, generator: torch.Generator) -> Losses:
        """Wasserstein losses with gradient penalty (Gulrajani et al. 2017)."""
        c = self.config
        shares = torch.arange(len(batch), device=batch.image.device).tensor_split(min(c.critic_steps, len(batch)))
        for step in range(c.critic_steps):
            part = batch.rows(shares[step % len(shares)])
            real = self.fold(self.critic_input(part.target, part))
            with torch.no_grad():
                fake = self.fold(self.critic_input(self.sample(part, generator), part))
            along = draws.rand(generator, len(real)).to(real)
            penalty = gradient_penalty(self.critic, real, fake, along)
            distance = self.critic(real).mean() - self.critic(fake).mean()
            logs = {"wasserstein": distance.detach(), "gradient_penalty": penalty.detach()}
            yield "critic", c.penalty * penalty - distance, logs
        fake = self.fold(self.critic_input(self.sample(part, generator), part))
        yield "generator", -self.critic(fake).mean(), {}

    def _encode(self, batch: Task, generator: torch.Generator) -> Losses:
        """Image and feature distance of the encoder's reconstruction; only the encoder is stepped."""
        reconstruction = self.reconstruct(batch.image)
        image_distance = masked_mean((reconstruction - batch.target) ** 2, batch.counts)
        fake, real = (self.critic.features(self.fold(x * batch.counts)) for x in (reconstruction, batch.target))
        feature_distance = F.mse_loss(fake, real)
        loss = image_distance + self.config.kappa * feature_distance
        yield "encoder", loss, {"image": image_distance.detach(), "feature": feature_distance.detach()}

    def sample(self, like: Task, generator: torch.Generator) -> Tensor:
        """As many slices (B, C, H, W) as ``like`` has, from random latents."""
        rows = len(like) * like.image.shape[1] // self.folded
        latent = draws.randn(generator, rows, self.config.latent).to(like.image)
        return self.unfold(self.net.decode(latent).sigmoid())

    def critic_input(self, image: Tensor, like: Task) -> Tensor:
        """``image``, real or generated, with the holes of ``like``: absent contrasts and, where asked for, lesions."""
        return image * (present(like.target) & (like.counts | ~like.brain))

    def reconstruct(self, image: Tensor) -> Tensor:
        latent = self.net.encode(self.fold(image))["z"].tanh()
        return self.unfold(self.net.decode(latent).sigmoid())
