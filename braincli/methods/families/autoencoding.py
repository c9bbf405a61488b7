"""What the methods share whose network is an autoencoder (AE, VAE, SVAE, GMVAE, f-AnoGAN), and what those of them
share that are variational."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from braincli.methods.families.reconstruction import Reconstruction, ReconstructionConfig
from braincli.networks.autoencoder import Autoencoder


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
    """A method whose network ``net`` is an autoencoder."""

    config: AutoencoderConfig
    net: Autoencoder

    def build_network(self, heads: dict[str, int]) -> None:
        """Build the network with latent ``heads``."""
        self.net = self.config.build(self.folded, self.size, heads)
        self.fixed_size = not self.config.spatial
        self.stride = 1 if self.fixed_size else self.net.stride


class VariationalConfig(AutoencoderConfig):
    """Options of the network and of the loss; the defaults are Behrendt's."""

    kl_weight: float = Field(default=0.001, ge=0)
    reduction: Literal["mean", "sum"] = "mean"


class Variational(Autoencoding):
    """What the variational methods share: the weight of divergences."""

    config: VariationalConfig

    def divergence_weight(self, rows: Tensor) -> float:
        """What a divergence counts beside an L1 that is averaged over the pixels of the network's input ``rows``."""
        return self.config.kl_weight / (rows[0].numel() if self.config.reduction == "sum" else 1)
