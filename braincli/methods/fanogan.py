"""f-AnoGAN (Schlegl et al. 2019, "f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial networks",
Med Image Anal 54).

Stage ``gan``: a generator G learns to draw healthy slices from random latents, against a Wasserstein critic D with
gradient penalty (weight 10), which takes five steps for one of the generator. The slices of a batch are shared out
among those five. Stage ``encode`` ("izi_f"): with G and D fixed an encoder E learns

    L = MSE(x, G(E(x))) + kappa MSE(f_D(x), f_D(G(E(x)))),   kappa = 1, f_D: feature maps of D.

At test time the residual |x - G(E(x))| shows the lesion. E ends in a tanh, G in a sigmoid. The networks are those of
:mod:`braincli.networks.autoencoder` with layer norm, the critic is that encoder with one dense layer.

Mended against public code: the norm in the gradient penalty is that of a whole image (one of them takes it along one
axis), and the critic gives one value per image (there one per position). The training loop clips gradients to norm 1.

Presets:
- ``paper``: as Behrendt et al. compare with it (arXiv:2303.03758): single contrasts, latent 128, Adam 1e-4 with betas
  (0.5, 0.9), 32 slices per step of the critic, 1600 epochs of 358 slices in each stage; maps as for AE.
- ``wang``: as TSGM is compared with (arXiv:2311.03074): all four contrasts as channels, 256 x 256, four levels down to
  16 x 16, the rate 1e-3 of Baur et al. 2021; residuals are absolute and not filtered.
- ``compact``: ours. All contrasts in one stack, dropped at random; half the width, one level more; learns from every
  labelled slice with lesions cut out of what the critic sees and of the loss of E; in half of E's inputs a synthetic
  growth is planted, which is to be drawn over.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.methods.ae import BEHRENDT_MAP, COMPACT, TINY, AutoencoderConfig, Autoencoding
from braincli.methods.base import Batch, Losses, known, masked_mean, present
from braincli.methods.vae import WANG_MAP
from braincli.networks.gan import Critic, gradient_penalty


class FAnoGANConfig(AutoencoderConfig):
    """Options of both stages; the defaults are Behrendt's."""

    train_steps: dict[str, int] = Field(default={"gan": 3520, "encode": 3520})
    train_batch: int = 160
    least: int = 16
    spatial: Literal[False] = False
    dropout: float = 0.0
    norm: Literal["batch", "group", "layer"] = "layer"
    critic_steps: int = Field(default=5, ge=1)
    penalty: float = 10.0
    kappa: float = 1.0


OWN: dict[str, Any] = {"norm": "layer", "train_steps": {"gan": 450, "encode": 350}}


class FAnoGAN(Autoencoding):
    """Generator and critic first, then the encoder."""

    Config = FAnoGANConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "wang": {"contrasts": "stacked", "rate": 1e-3, "map": WANG_MAP},
        "compact": COMPACT | OWN | {"width": 16, "widest": 64, "least": 8, "train_batch": 40},
        "tiny": TINY | OWN | {"train_batch": 6, "critic_steps": 2, "train_steps": {"gan": 4, "encode": 4}},
    }
    stages = ("gan", "encode")
    stage_share: ClassVar[dict[str, float]] = {"gan": 2.0, "encode": 1.0}
    optional_weights = ("critic.",)
    map = BEHRENDT_MAP

    def __init__(self, config: FAnoGANConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.options = c = config
        self.hold(c, {"z": c.latent})
        self.critic = Critic(self.folded, size, width=c.width, widest=c.widest, least=c.least)

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        net = self.net
        parts: dict[str, list[torch.nn.Module]] = {
            "generator": [net.expand, net.widen, net.decoder],
            "critic": [self.critic],
        }
        if stage == "encode":
            parts = {"encoder": [net.encoder, net.squeeze, net.heads]}
        return {
            name: torch.optim.Adam(torch.nn.ModuleList(held).parameters(), lr=self.options.rate, betas=(0.5, 0.9))
            for name, held in parts.items()
        }

    def losses(self, batch: Batch, stage: str, generator: torch.Generator) -> Losses:
        yield from self._gan(batch, generator) if stage == "gan" else self._encode(batch, generator)

    def _gan(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Wasserstein losses with gradient penalty (Gulrajani et al. 2017)."""
        c = self.options
        shares = torch.arange(len(batch), device=batch.image.device).tensor_split(min(c.critic_steps, len(batch)))
        for step in range(c.critic_steps):
            part = self.varied(batch.rows(shares[step % len(shares)]), generator)
            real = self.fold(self.judged(part.image, part))
            with torch.no_grad():
                fake = self.fold(self.judged(self.imagined(part, generator), part))
            along = torch.rand(len(real), generator=generator).to(real)
            penalty = gradient_penalty(self.critic, real, fake, along)
            distance = self.critic(real).mean() - self.critic(fake).mean()
            yield "critic", c.penalty * penalty - distance, {"distance": distance.item(), "penalty": penalty.item()}
        fake = self.fold(self.judged(self.imagined(part, generator), part))
        yield "generator", -self.critic(fake).mean(), {}

    def _encode(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Image and feature distance of what the encoder finds; only the encoder is stepped."""
        batch, seen = self.pair(batch, generator)
        taught = self.taught(batch)
        drawn = self.draw(seen)
        image = masked_mean((drawn - batch.image) ** 2, taught)
        found, wanted = (self.critic.features(self.fold(x * taught)) for x in (drawn, batch.image))
        feature = F.mse_loss(found, wanted)
        loss = image + self.options.kappa * feature
        yield "encoder", loss, {"image": image.item(), "feature": feature.item()}

    def imagined(self, like: Batch, generator: torch.Generator) -> Tensor:
        """As many slices (B, C, H, W) as ``like`` has, from random latents."""
        rows = len(like) * like.image.shape[1] // self.folded
        latent = torch.randn(rows, self.options.latent, generator=generator).to(like.image)
        return self.unfold(self.net.decode(latent).sigmoid())

    def judged(self, image: Tensor, like: Batch) -> Tensor:
        """``image``, real or drawn, with the holes of ``like``: absent contrasts and, where asked for, lesions."""
        seen = present(like.image)
        return image * (seen & (known(like) | ~like.brain) if self.options.known_only else seen)

    def draw(self, image: Tensor) -> Tensor:
        latent = self.net.encode(self.fold(image))["z"].tanh()
        return self.unfold(self.net.decode(latent).sigmoid())
