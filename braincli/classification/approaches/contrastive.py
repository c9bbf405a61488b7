"""Supervised contrastive learning (Khosla et al. 2020, NeurIPS; L_out, their Eq. 2).

    L = mean_i - 1 / |P(i)| sum_{p in P(i)} log( exp(f_i f_p / tau) / sum_{a != i} exp(f_i f_a / tau) )

over two augmented views of each volume; P(i) are the others of i's class. The encoder learns from it alone, the
classifier from L_cls on embeddings that it cannot change; both at once, where the paper trains them one after the
other. The thesis gives no settings; tau is the paper's.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from braincli.classification.approaches.base import Approach, ApproachConfig, Batch, Losses, cross_entropy


class ContrastiveConfig(ApproachConfig):
    """The temperature."""

    temperature: float = Field(default=0.1, gt=0)


class Contrastive(Approach):
    """Encoder and classifier with a loss each."""

    Config = ContrastiveConfig
    config: ContrastiveConfig
    views = 2

    def losses(self, batch: Batch, progress: float) -> Losses:
        embedding = self.encoder(batch.image)
        cls = cross_entropy(self.head(embedding.detach()), batch.label)
        apart = supervised_contrast(embedding, batch.label, self.config.temperature)
        yield "main", cls + apart, {"cls": cls.detach(), "contrast": apart.detach()}


def supervised_contrast(embedding: Tensor, label: Tensor, temperature: float) -> Tensor:
    """L of (B, m) embeddings of length 1 and their (B,) classes; rows without another of their class do not count."""
    alike = embedding @ embedding.T / temperature
    itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
    share = alike - torch.logsumexp(alike.masked_fill(itself, -torch.inf), dim=1, keepdim=True)
    positive = (label[:, None] == label[None]) & ~itself
    count = positive.sum(dim=1)
    each = -(share * positive).sum(dim=1) / count.clamp_min(1)
    return each.sum() / (count > 0).sum().clamp_min(1)
