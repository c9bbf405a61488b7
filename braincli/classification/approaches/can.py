"""Contrastive adaptation network (Kang et al. 2019, CVPR): source volumes with their labels, target volumes without.

    L = L_cls(source) + beta CDD,      CDD = mean_c D(c, c) - mean_{c != c'} D(c, c')

D(c, c') is the squared maximum mean discrepancy, by a sum of Gaussian kernels, between source embeddings of class c and
target embeddings that a clustering takes for class c': so the classes of both are drawn together and kept apart. Target
embeddings are clustered by spherical k-means that begins at the centres of the source classes; those further than
``far`` (cosine dissimilarity, 1/2 (1 - cos)) from their centre do not count.

Half of a batch is source, with as many volumes of each class, half is target. Here the embedding adapts (the paper:
several layers), with one kernel width for all pairs of classes; the thesis gives no settings, beta is the paper's.
Clusters are renewed every ``cluster_every`` steps.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.classification.approaches.base import (
    Approach,
    ApproachConfig,
    Batch,
    Losses,
    Weight,
    World,
    cross_entropy,
)

KERNELS, KERNEL_FACTOR = 5, 2.0  # bandwidths: the mean squared distance times 2^-2 ... 2^2
ROUNDS = 20  # of k-means, at most


class CANConfig(ApproachConfig):
    """Options of the adaptation."""

    beta: Weight = 0.3
    cluster_every: int = Field(default=100, ge=1)
    far: float = Field(default=0.25, gt=0, le=1)


class CAN(Approach):
    """Encoder and classifier, and the centres of the clusters of target embeddings."""

    Config = CANConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"compact": {"cluster_every": 20}, "tiny": {"cluster_every": 10}}
    config: CANConfig
    optional_weights = ("clusters",)
    sampling = "halves"
    clusters: Tensor

    def __init__(self, config: CANConfig, world: World) -> None:
        super().__init__(config, world)
        self.register_buffer("clusters", torch.zeros(world.classes, config.latent))

    def looks_at(self, step: int) -> bool:
        return step % self.config.cluster_every == 0

    def meet(self, known: Tensor, label: Tensor, target: Tensor) -> None:
        """Cluster the target embeddings, from the centres of the source classes on."""
        members = F.one_hot(label, self.world.classes).to(known.dtype)
        self.clusters = spherical_means(target, F.normalize(members.T @ known, dim=1))

    def losses(self, batch: Batch, progress: float) -> Losses:
        embedding, half = self.encoder(batch.image), len(batch.label) // 2
        source, target, label = embedding[:half], embedding[half:], batch.label[:half]
        cls = cross_entropy(self.head(source), label)
        assigned, far = nearest(target.detach(), self.clusters)
        members = F.one_hot(assigned, self.world.classes) * (far <= self.config.far)[:, None]
        cdd = discrepancy(source, F.one_hot(label, self.world.classes), target, members)
        yield "main", cls + self.config.beta * cdd, {"cls": cls.detach(), "cdd": cdd.detach()}


def nearest(embedding: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Of (B, m) embeddings the nearest of (n, m) centres, (B,), and its cosine dissimilarity in [0, 1]."""
    far = 0.5 * (1 - embedding @ centres.T)
    least = far.min(dim=1)
    return least.indices, least.values


def spherical_means(embedding: Tensor, centres: Tensor) -> Tensor:
    """Spherical k-means of (B, m) embeddings, begun at (n, m) centres; an empty cluster keeps its centre."""
    for _ in range(ROUNDS):
        members = F.one_hot(nearest(embedding, centres)[0], len(centres)).to(embedding.dtype)
        sums = members.T @ embedding
        centres = torch.where(members.any(dim=0)[:, None], F.normalize(sums, dim=1), centres)
    return centres


def discrepancy(source: Tensor, label: Tensor, target: Tensor, assigned: Tensor) -> Tensor:
    """CDD of source (S, m) and target (T, m) embeddings, and who is in which class: (S, n) and (T, n) of 0 and 1.

    Classes that one of the two lacks do not count; 0 where none is left.
    """
    kernel = gaussians(torch.cat([source, target]))
    here, there, n = label.to(kernel.dtype), assigned.to(kernel.dtype), len(source)
    size_here, size_there = here.sum(0), there.sum(0)
    a = _mean((here.T @ kernel[:n, :n] @ here).diagonal(), size_here.square())
    b = _mean((there.T @ kernel[n:, n:] @ there).diagonal(), size_there.square())
    across = _mean(here.T @ kernel[:n, n:] @ there, size_here[:, None] * size_there)
    squared = a[:, None] + b - 2 * across  # D(c, c')
    known = (size_here[:, None] * size_there > 0).to(kernel.dtype)
    same = torch.eye(len(squared), device=squared.device, dtype=kernel.dtype)
    within, between = known * same, known * (1 - same)
    return _mean((squared * within).sum(), within.sum()) - _mean((squared * between).sum(), between.sum())


def gaussians(points: Tensor) -> Tensor:
    """(N, N) mean of KERNELS Gaussian kernels of (N, m) points."""
    squared = (points[:, None] - points[None]).square().sum(-1)
    width = squared.detach().mean().clamp_min(1e-12)
    scales = [width * KERNEL_FACTOR ** (k - KERNELS // 2) for k in range(KERNELS)]
    return torch.stack([torch.exp(-squared / scale) for scale in scales]).mean(0)


def _mean(total: Tensor, count: Tensor) -> Tensor:
    """``total`` / ``count``; 0 where nothing is counted."""
    return torch.where(count > 0, total / count.clamp_min(1), torch.zeros_like(total))
