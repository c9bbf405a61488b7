"""Adversarial losses: least squares (CycleGAN), log-likelihood (ISCT), Wasserstein with gradient penalty (f-AnoGAN),
and the critic of the last."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.networks.autoencoder import Encoder, halvings


def least_squares(logits: Tensor, *, real: bool) -> Tensor:
    """Mean squared distance of a discriminator's output from 1 (real) or 0 (Mao et al. 2017)."""
    return ((logits - float(real)) ** 2).mean()


def log_likelihood(logits: Tensor, *, real: bool) -> Tensor:
    """-log D or -log(1 - D) of ``logits`` (Goodfellow et al. 2014); a generator's loss takes ``real`` for a fake."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """Mean of (|gradient of the critic| - 1)^2 between real and fake images (Gulrajani et al. 2017, Eq. 3).

    Args:
        real, fake: (B, C, H, W).
        share: (B,) in [0, 1], where between the two each row is looked at.

    Returns:
        The penalty. The norm is that of a whole image: over all pixels and channels of a row.
    """
    fake = fake.detach().to(real)  # autocast makes 16 bits of it, which cannot be mixed
    between = torch.lerp(fake, real, share[:, None, None, None].to(real)).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()


class Critic(nn.Module):
    """Wasserstein critic on Baur's encoder: one value per image.

    Args:
        size: (H, W) of the images. width, widest, least: see :class:`braincli.networks.autoencoder.Autoencoder`.
    """

    def __init__(self, channels: int, size: tuple[int, int], *, width: int, widest: int, least: int) -> None:
        super().__init__()
        levels = halvings(size, least)
        self.features = Encoder(channels, levels, width=width, widest=widest, norm="layer")
        narrow = max(1, self.features.channels // 8)
        self.squeeze = nn.Conv2d(self.features.channels, narrow, 1)
        self.last = nn.Linear(narrow * (size[0] >> levels) * (size[1] >> levels), 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,), unbounded."""
        return self.last(self.squeeze(self.features(image)).flatten(1))[:, 0]
