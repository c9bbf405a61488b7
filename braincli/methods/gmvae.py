"""GMVAE: Gaussian-mixture VAE with restoration by MAP (You et al. 2019, "Unsupervised lesion detection via image
restoration with a normative prior", MIDL; Chen et al. 2020, arXiv:2005.00031; network of Baur et al. 2021).

Latents z (128) and w (1), a mixture of 9 components: p(z | w, c) is Gaussian with mean and log-sigma linear in w.
Loss per image (sums over pixels and latents):

    L1 + E_c KL(q(z|x) || p(z|w,c)) + KL(q(w|x) || N(0, 1)) + max(KL(p(c|z,w) || uniform), 1)

Restoration: x is changed by gradient descent on that loss plus a weight times the total variation of the change
(x - observed), so that only connected regions are changed; the residual is the change. Unlike the network's own
reconstruction, the result keeps the observed detail.

Mended against the code that the papers' numbers come from: the variation is that of the change, as printed (code: of x
minus its reconstruction); the component's log-likelihood has the right constant; every head gives a log-sigma (code:
read once as log-sigma, once as log-variance). Nothing is sampled in a restoration.

Preset ``paper``: 128 x 128 pixels of 1.875 mm, single contrasts, Adam 5e-5, batch 8, dropout 0.1, 1.77 M parameters,
150 steps of 0.001, weight 1.8 (of the range 0..1.9 of which the papers take the value with the smallest change on
healthy validation data); the number of training steps is ours. Preset ``compact`` is that of VAE with a narrower
network and 12 larger steps.

Deviations that remain: the weight of the variation is not searched on healthy validation data; no prior that keeps the
brightest tenth of the brain alone; numbers of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.methods.base import Losses, Prediction, Task, Tick, masked_mean, no_tick, present
from braincli.methods.families.autoencoding import Variational, VariationalConfig
from braincli.methods.presets import AUTOENCODER_COMPACT, AUTOENCODER_TINY, BAUR, Preset
from braincli.networks.autoencoder import divergence, sample

RANGE = 6.0  # of log-sigmas, so that no variance vanishes


class GMVAEConfig(VariationalConfig):
    """Options of mixture and restoration; the defaults are You's in Baur's network."""

    train_batch: int = 8
    rate: float = 5e-5
    kl_weight: float = Field(default=1.0, ge=0)
    reduction: Literal["mean", "sum"] = "sum"
    spatial: Literal[False] = False
    components: int = Field(default=9, ge=1)
    w_length: int = Field(default=1, ge=1)
    free: float = Field(default=1.0, ge=0)  # divergence of the components that costs nothing
    steps: int = Field(default=150, ge=1)
    step: float = Field(default=1e-3, gt=0)
    variation_weight: float = Field(default=1.8, ge=0)
    soft: float = Field(default=0.01, gt=0)  # changes well below it count quadratically, else finite steps make waves


class GMVAE(Variational):
    """Restores by changing the slice until the mixture finds it likely."""

    config: GMVAEConfig
    Config = GMVAEConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": BAUR,
        "compact": AUTOENCODER_COMPACT | {
            "width": 24, "widest": 96, "steps": 12, "step": 0.025, "variation_weight": 1.0, "soft": 0.1,
            "train_steps": {"main": 3000},
        },
        "tiny": AUTOENCODER_TINY | {"components": 3, "steps": 2, "step": 0.05},
    }  # fmt: skip

    def __init__(self, config: GMVAEConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        self.build_network({"mean": c.latent, "log_sigma": c.latent, "w_mean": c.w_length, "w_log_sigma": c.w_length})
        self.means, self.log_sigmas = (nn.Linear(c.w_length, c.components * c.latent) for _ in range(2))

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        rows = self.fold(batch.image)
        reconstruction, divergences = self.likelihood(rows, generator)
        l1 = masked_mean((self.unfold(reconstruction) - batch.target).abs(), batch.counts)
        kl = divergences.mean()
        yield "net", l1 + self.divergence_weight(rows) * kl, {"l1": l1.detach(), "kl": kl.detach()}

    def likelihood(self, rows: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The network's reconstruction of its input rows, and the sum of the three divergences (rows,)."""
        heads = self.net.encode(rows)
        mean, w_mean = heads["mean"], heads["w_mean"]
        log_sigma, w_log_sigma = (heads[name].clamp(-RANGE, RANGE) for name in ("log_sigma", "w_log_sigma"))
        z, w = sample(mean, log_sigma, generator), sample(w_mean, w_log_sigma, generator)
        parts = (-1, self.config.components, self.config.latent)
        means, log_sigmas = self.means(w).view(parts), self.log_sigmas(w).view(parts).clamp(-RANGE, RANGE)
        shares = responsibilities(z, means, log_sigmas)
        conditional = (shares * gaussian_divergence(mean, log_sigma, means, log_sigmas)).sum(dim=1)
        categorical = (shares * (shares.clamp_min(1e-12) * self.config.components).log()).sum(dim=1)
        total = conditional + divergence(w_mean, w_log_sigma) + categorical.clamp_min(self.config.free)
        return self.net.decode(z, generator), total

    def reconstruct(self, image: Tensor) -> Tensor:
        """The network's own reconstruction, from which the restoration's gradient comes."""
        return self.unfold(self.likelihood(self.fold(image))[0])

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        c = self.config
        # every step follows signs and exponentials of small differences: what 16 bits round would be another path
        exact = (
            torch.autocast(image.device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        )
        with torch.inference_mode(False), torch.enable_grad(), exact[0], exact[1]:
            observed = self.on_canvas(image).clone()
            inside = present(observed) & (self.on_canvas(brain.float()).clone() > 0.5)
            x = observed
            for _ in range(c.steps):
                x = x.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(self.energy(x, observed, inside), x)
                x = x - c.step * gradient * inside
                tick()
            change = x.detach() - observed
        if change.shape != image.shape:
            change = F.interpolate(change, size=tuple(image.shape[2:]), mode="bilinear", align_corners=False)
        return self.prediction(image + change, image, brain)

    def energy(self, x: Tensor, observed: Tensor, inside: Tensor) -> Tensor:
        """What a restoration minimises: loss of ``x`` and variation of its change, summed over all rows."""
        reconstruction, divergences = self.likelihood(self.fold(x))
        l1 = ((x - self.unfold(reconstruction)).abs() * inside).sum()
        return (
            l1 + divergences.sum() + self.config.variation_weight * variation((x - observed) * inside, self.config.soft)
        )

    def calls(self) -> int:
        return self.config.steps


def responsibilities(z: Tensor, means: Tensor, log_sigmas: Tensor) -> Tensor:
    """(B, K) p(c | z, w) under a uniform prior, of ``z`` (B, L) and components (B, K, L)."""
    scaled = (z[:, None] - means) * (-log_sigmas).exp()
    return torch.softmax(-(0.5 * scaled**2 + log_sigmas).sum(dim=2), dim=1)


def gaussian_divergence(mean: Tensor, log_sigma: Tensor, means: Tensor, log_sigmas: Tensor) -> Tensor:
    """(B, K) KL of N(mean, sigma^2) (B, L) from each of the components (B, K, L), summed over L."""
    mean, log_sigma = mean[:, None], log_sigma[:, None]
    spread = ((2 * log_sigma).exp() + (mean - means) ** 2) * (-2 * log_sigmas).exp()
    return (log_sigmas - log_sigma + 0.5 * spread - 0.5).sum(dim=2)


def variation(image: Tensor, soft: float = 0.0) -> Tensor:
    """Anisotropic total variation, summed over everything; each difference d counts sqrt(d^2 + soft^2) - soft."""
    steps = (image[..., 1:, :] - image[..., :-1, :], image[..., 1:] - image[..., :-1])
    return torch.stack([((step**2 + soft**2).sqrt() - soft).sum() for step in steps]).sum()
