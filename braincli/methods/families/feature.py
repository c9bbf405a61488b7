"""What the methods of ImageNet features share: frozen backbone, contrasts, fusion of scores.

The backbone gets every contrast as a grey image of its own, so that an absent contrast changes nothing of the others.
What is trained gets one contrast at a time (``contrasts`` = single, as in the papers) or the features of all of them
side by side (stacked), those of absent contrasts being 0. The scores of the contrasts that are present are averaged
with ``shares``.

The weights of the backbone are not trained here and not random either: whoever trains hands them over
(:meth:`FeatureMethod.load_pretrained`), and they are saved with the model, so that a model needs nothing else to
predict. Without them the methods refuse to work (but for preset ``tiny``, whose backbone is random on purpose).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.errors import ModelError
from braincli.methods.base import Method, MethodConfig, present
from braincli.networks.features import BACKBONES, CENTRED, Features, Standardise

BackboneName = Literal["resnet18", "wide_resnet50_2", "efficientnet_lite0", "random"]


class FeatureConfig(MethodConfig):
    """Options of backbone and fusion.

    Attributes:
        backbone: whose features; ``random`` is for tests.
        levels: which stages of it, see ``stages()`` of the networks.
        zoom: by how much slices are enlarged for the backbone.
        standardise: features are scaled to mean 0 and deviation 1 per channel over healthy tissue.
        shares: of T1, T1ce, T2 and FLAIR in the score; those of absent contrasts go to the others.
        rate: learning rate.
    """

    backbone: BackboneName = "efficientnet_lite0"
    levels: tuple[int, ...] = (0, 1, 2)
    zoom: int = Field(default=1, ge=1)
    standardise: bool = False
    shares: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    rate: float = 1e-4


class FeatureMethod(Method):
    """A frozen backbone and what is made of its features."""

    config: FeatureConfig
    renamed_weights: ClassVar[dict[str, str]] = {"eyes.": "backbone."}

    def __init__(self, config: FeatureConfig, *, channels: int, size: tuple[int, int], centred: bool = False) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        self.backbone = Features(c.backbone, c.levels, CENTRED if centred else None)
        self.scales = torch.nn.ModuleList(Standardise(k) for k in self.backbone.channels if c.standardise)
        self.stride = 8

    @property
    def pretrained(self) -> str:
        return self.config.backbone if BACKBONES[self.config.backbone].pretrained else ""

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        self.backbone.load(state)

    def features(self, image: Tensor, tissue: Tensor | None = None) -> list[Tensor]:
        """(B, C, H, W) -> per level (B, C, c, h, w); 0 for absent contrasts.

        Args:
            tissue: (B, C, H, W) bool, where to learn the scale of features from (in training).

        Raises:
            ModelError: the backbone has no weights.
        """
        if not self.backbone.ready:
            raise ModelError(
                f"The ImageNet weights of {self.config.backbone} were not loaded; random features detect nothing.",
                "Train with braincli train, which looks for them, or call load_pretrained.",
            )
        b, channels = image.shape[:2]
        there = present(image).flatten()
        rows = image.flatten(0, 1)[:, None]
        if self.config.zoom > 1:
            rows = F.interpolate(rows, scale_factor=self.config.zoom, mode="bilinear", align_corners=False)
        with torch.no_grad():
            levels = self.backbone(rows)
            for index, scale in enumerate(self.scales):
                weight = None if tissue is None else cover(tissue.flatten(0, 1)[:, None], levels[index])
                levels[index] = scale(levels[index], weight)
            return [(f * there[:, None, None, None]).unflatten(0, (b, channels)) for f in levels]

    def rows(self, features: Tensor) -> Tensor:
        """(B, C, c, h, w) -> the rows of what is trained: (B * C, c, h, w), or (B, C * c, h, w) if stacked."""
        return features.flatten(1, 2) if self.config.contrasts == "stacked" else features.flatten(0, 1)

    def width(self, channels: int) -> int:
        """Channels of such a row."""
        return channels * self.channels if self.config.contrasts == "stacked" else channels

    def fused(self, maps: Sequence[Tensor], image: Tensor, brain: Tensor) -> Tensor:
        """Score of (B, C, h, w) maps (any sizes): their mean, over contrasts by share; (B, 1, H, W), 0 outside."""
        large = [F.interpolate(m, size=image.shape[2:], mode="bilinear", align_corners=False) for m in maps]
        shares = torch.tensor(self.config.shares[: self.channels], device=image.device)[:, None, None] * present(image)
        total = shares.sum(dim=1, keepdim=True).clamp_min(1e-6)
        return (torch.stack(large).mean(dim=0) * shares).sum(dim=1, keepdim=True) / total * brain


def cover(mask: Tensor, like: Tensor) -> Tensor:
    """(B, 1, H, W) bool -> share of each cell of ``like`` (B, c, h, w) that it covers, in [0, 1]."""
    return F.adaptive_avg_pool2d(mask.float(), (like.shape[-2], like.shape[-1]))
