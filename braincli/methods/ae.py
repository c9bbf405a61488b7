"""AE: autoencoder with a dense or spatial latent (Baur et al. 2021, "Autoencoders for unsupervised anomaly segmentation
in brain MR images: a comparative study", Med Image Anal 69).

What does not fit through the latent is not drawn, hence the residual shows what healthy brains do not have. The
network is that of :mod:`braincli.networks.autoencoder`; the loss is L1. At test time a scan that needs a larger canvas
than the training's is scaled to it where the latent is dense.

Presets:
- ``paper``: as Behrendt et al. compare with it (arXiv:2303.03758, arXiv:2403.15316): single contrasts, Adam 1e-4 (the
  former prints 1e-5, its configuration has 1e-4), batch 32, 1600 epochs of 11 steps. Residual maps as there: absolute,
  rim of 6 mm off, median of 5. Three levels at 96 x 96, down to 12 x 12: 1.52 M parameters.
- ``baur``: Baur et al.: batch 128, four levels at 128 x 128, down to 8 x 8; 1,627,249 parameters. The number of steps
  is ours (early stopping there). Maps of positive residuals.
- ``spatial``: ``baur`` with the 8 x 8 x 16 map itself as the latent, no dense layers.
- ``compact``: ours. All contrasts in one stack, dropped at random; spatial latent; learns from every labelled slice
  with lesions left out of the loss; in half of the inputs a synthetic growth is planted, which is to be drawn over;
  group norm (averaged weights and batch norm's statistics do not go together in short trainings); maps smoothed by
  2 mm.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from braincli.methods.base import Batch, Losses, masked_mean
from braincli.methods.families.reconstruction import Reconstruction, ReconstructionConfig
from braincli.networks.autoencoder import Autoencoder

# maps of Behrendt et al. 2023 (rim: 3 pixels of 2 mm) and of Baur et al. 2021 (12 pixels of 1 mm)
BEHRENDT_MAP: dict[str, Any] = {"residual": "absolute", "median": 5, "smooth_mm": 0.0, "erode_mm": 6.0}
BAUR_MAP: dict[str, Any] = {"residual": "positive", "median": 5, "smooth_mm": 0.0, "erode_mm": 12.0}
COMPACT_MAP: dict[str, Any] = {"residual": "absolute", "median": 0, "smooth_mm": 2.0, "erode_mm": 2.0}
BAUR: dict[str, Any] = {"train_batch": 128, "map": BAUR_MAP}
COMPACT: dict[str, Any] = {
    "contrasts": "stacked", "variation": 1.0, "contrast_dropout": 0.15, "known_only": True, "planted": 0.5,
    "norm": "group", "dropout": 0.0, "rate": 1e-3, "train_batch": 8, "train_steps": {"main": 1800}, "warmup": 50,
    "decay": True, "map": COMPACT_MAP,
}  # fmt: skip
TINY: dict[str, Any] = COMPACT | {
    "width": 4, "widest": 16, "least": 4, "latent": 8, "train_batch": 4, "train_steps": {"main": 4}, "warmup": 2,
}  # fmt: skip


class AutoencoderConfig(ReconstructionConfig):
    """Options of the network; the defaults are Baur's."""

    latent: int = 128
    width: int = 32
    widest: int = 128
    least: int = 8
    spatial: bool = False
    dropout: float = Field(default=0.1, ge=0, lt=1)
    norm: Literal["batch", "group", "layer"] = "batch"

    def build(self, channels: int, size: tuple[int, int], heads: dict[str, int]) -> Autoencoder:
        """The network for images (B, channels, *size) with these ``heads``."""
        names = ("latent", "width", "widest", "least", "spatial", "dropout", "norm")
        return Autoencoder(channels, size, heads, **{name: getattr(self, name) for name in names})


class Autoencoding(Reconstruction):
    """What the methods share whose network is an autoencoder."""

    net: Autoencoder

    def hold(self, config: AutoencoderConfig, heads: dict[str, int]) -> None:
        """Build the network with latent ``heads``."""
        self.net = config.build(self.folded, self.size, heads)
        self.bound = not config.spatial
        self.stride = 1 if self.bound else self.net.stride


class AE(Autoencoding):
    """Draws each slice through a narrow latent."""

    Config = AutoencoderConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "baur": BAUR,
        "spatial": BAUR | {"spatial": True},
        "compact": COMPACT | {"spatial": True},
        "tiny": TINY,
    }
    map = BEHRENDT_MAP

    def __init__(self, config: AutoencoderConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.hold(config, {"z": config.latent})

    def losses(self, batch: Batch, stage: str, generator: torch.Generator) -> Losses:
        batch, seen = self.pair(batch, generator)
        drawn = self.unfold(self.net.decode(self.net.encode(self.fold(seen))["z"], generator))
        loss = masked_mean((drawn - batch.image).abs(), self.taught(batch))
        yield "net", loss, {"l1": loss.item()}

    def draw(self, image: Tensor) -> Tensor:
        return self.unfold(self.net.decode(self.net.encode(self.fold(image))["z"]))
