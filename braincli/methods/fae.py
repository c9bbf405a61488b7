"""FAE: an autoencoder of ImageNet features (Meissen et al. 2022, "Unsupervised anomaly localization with structural
feature-autoencoders", arXiv:2208.10992).

A frozen network turns a slice into feature maps, which are brought to one size and stacked; an autoencoder learns to
reproduce those of healthy slices. Loss and score compare given and reproduced features by SSIM, channel by channel:
local structure of features instead of intensities, which is why dark lesions count like bright ones.
The published code's map is -SSIM, which is negative where all is well; here it is (1 - SSIM) / 2, the same order in
[0, 1]: 0 for alike, 0.5 for unrelated. SSIM is made for values within [0, 1], which features are not; preset
``paper`` keeps that, ``compact`` brings them there (three deviations of healthy tissue to either side of the mean). Its
features have signs, too: with two negative factors SSIM would call opposite features alike.

Preset ``paper``: ResNet-18 (stem, layers 1 and 2: 256 channels at a quarter of the slice's size), 128 x 128 pixels of
1.875 mm, slices 15 to 125, histogram-equalised, one contrast at a time, 10,285,048 trained parameters. Each contrast
gives a score; their mean is the result (the paper has T1 alone).

Preset ``behrendt2024``: as SADM is compared with it: 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63, scaled by
percentiles, 1600 epochs of one slice per case in batches of 32; the score's median of 5. Their rate is not given; it is
the paper's.

Preset ``compact`` deviates deliberately:
- EfficientNet-Lite0 (its first stages are 54,048 parameters and travel with the model);
- slices are scaled by percentiles, for which the synthetic growths are made;
- two halvings instead of four, since three bring a slice to 3 x 3 cells at this size, which few steps do not teach;
- the autoencoder gets the features of all contrasts side by side and some of them are dropped in training, so that any
  subset can be scored; the contrasts' scores are averaged with TSGM's weights;
- three quarters of the slices get a synthetic growth (:mod:`braincli.anomalies.growth`), and the autoencoder is to
  give the features that the slice had without it, so that the code may be wide enough to keep healthy detail;
- slices with a known lesion take part, their lesion left out of the loss; geometry and intensity are augmented.
Preset ``tiny`` has a random backbone and is for tests only.

Deviations that remain: scores are (1 - SSIM) / 2, as said; the image-level score (the mean of the map's top tenth) is
not made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.methods.base import Losses, Prediction, Task, Tick, no_tick
from braincli.methods.families.feature import BackboneName, FeatureConfig, FeatureMethod, cover
from braincli.methods.lengths import Length
from braincli.methods.presets import (
    BEHRENDT_2024_SCORE,
    EPOCHS_1600,
    FEATURE_COMPACT,
    FEATURE_TINY,
    LEFT_OUT,
    MEISSEN_128,
    Preset,
)
from braincli.networks.feature_autoencoder import FeatureAutoencoder
from braincli.networks.ssim import ssim

SPREAD = 3.0  # deviations from the mean to 0 and to 1, where features are standardised


class FAEConfig(FeatureConfig):
    """Options of the autoencoder; the defaults are the paper's."""

    train_steps: dict[str, Length] = Field(default={"main": 10_000})
    train_batch: int = 32
    backbone: BackboneName = "resnet18"
    rate: float = 2e-4
    grid: int = Field(default=4, ge=1)  # the slice's size over the feature maps'
    widths: tuple[int, ...] = (100, 150, 200, 300)
    kernel: int = 5
    dropout: float = Field(default=0.1, ge=0, lt=1)
    window: int = 5
    sigma: float = 1.5
    span: float = Field(default=1.0, gt=0)  # range of features that the constants of SSIM are made for


COMPACT: Preset = FEATURE_COMPACT | {
    "lesson": LEFT_OUT | {"plant": 0.75},
    "grid": 4, "widths": (128, 192), "kernel": 3, "dropout": 0.0,
    "rate": 2e-3, "train_steps": {"main": 320},
}  # fmt: skip


class FAE(FeatureMethod):
    """Frozen features, autoencoder, SSIM."""

    config: FAEConfig
    Config = FAEConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": MEISSEN_128},
        "behrendt2024": BEHRENDT_2024_SCORE | {"train_steps": EPOCHS_1600},
        "compact": COMPACT,
        "tiny": COMPACT | FEATURE_TINY | {"widths": (8, 12)},
    }

    def __init__(self, config: FAEConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size, centred=config.backbone == "resnet18")
        c = config
        self.autoencoder = FeatureAutoencoder(
            self.width(sum(self.backbone.channels)), c.widths, kernel=c.kernel, dropout=c.dropout
        )

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {"main": torch.optim.Adam(self.autoencoder.parameters(), lr=self.config.rate)}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        """1 - SSIM of the reproduced features and the healthy slice's own."""
        target = self.stack(batch.target, batch.counts)
        features = target if batch.image is batch.target else self.stack(batch.image)
        dissimilarity = self._dissimilarity(target, self._reconstruct(features))
        weight = cover(batch.counts.flatten(0, 1)[:, None], dissimilarity).view_as(dissimilarity)
        loss = (dissimilarity * weight).sum() / weight.sum().clamp_min(1e-6)
        yield "main", loss, {"ssim": loss.detach()}

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        features = self.stack(image)
        dissimilarity = self._dissimilarity(features, self._reconstruct(features))
        tick()
        return Prediction(None, self.fused([dissimilarity.float() / 2], image, brain))

    def stack(self, image: Tensor, tissue: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, c, H / grid, W / grid): all levels of the backbone at one size."""
        size = [length // self.config.grid for length in image.shape[2:]]
        levels = self.features(image, tissue)
        resized = [
            F.interpolate(f.flatten(0, 1).float(), size=size, mode="bilinear", align_corners=False, antialias=True)
            for f in levels
        ]
        stacked = torch.cat(resized, dim=1).unflatten(0, image.shape[:2])
        return stacked.clamp(-SPREAD, SPREAD) if self.config.standardise else stacked

    def _reconstruct(self, features: Tensor) -> Tensor:
        return self.autoencoder(self.rows(features)).reshape(features.shape)

    def _dissimilarity(self, features: Tensor, reconstruction: Tensor) -> Tensor:
        """(B, C, h, w) mean over channels of 1 - SSIM, in [0, 2]."""
        flat = [f.flatten(0, 1).float() for f in (features, reconstruction)]
        if self.config.standardise:
            flat = [f / (2 * SPREAD) + 0.5 for f in flat]
        c = self.config
        dissimilarity = 1 - ssim(flat[0], flat[1], window=c.window, sigma=c.sigma, span=c.span)
        return dissimilarity.mean(dim=1).view(features.shape[0], features.shape[1], *features.shape[-2:])
