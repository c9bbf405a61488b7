"""DenseNet-169 (Huang et al. 2017, "Densely connected convolutional networks", CVPR, arXiv:1608.06993) as a classifier
of healthy and diseased slices, as DeScarGAN's class score is compared with it (Wolleb 2022, PhD thesis, ch. 6).

It restores nothing. How likely a slice is diseased is what it is for; the class activation map (Zhou et al. 2016) of
its log-odds is its score, a coarse hint at where.

Presets:
- ``paper``: 256 x 256 pixels of 1 mm, from the smallest to the largest intensity; of one channel and two classes. The
  chapter names no hyperparameter of it: Adam, batch and epochs are DeScarGAN's.
- ``compact``: ours. Three short blocks on slices of 2 mm, all contrasts in one stack, dropped at random, geometry and
  intensity augmented.

Deviation that remains in ``paper``: weights begin at random (the thesis does not say; ImageNet's know photographs).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from braincli.methods.families.telling import Classifier, ClassifierConfig
from braincli.methods.presets import CLASSIFIER_COMPACT, CLASSIFIER_TINY, WHOLE_256, Preset
from braincli.networks.densenet import BLOCKS_169, DenseNet


class DenseNet169Config(ClassifierConfig):
    """Options of the network; the defaults are DenseNet-169's."""

    blocks: tuple[int, ...] = Field(default=BLOCKS_169, min_length=1)
    growth: int = Field(default=32, ge=1)
    width: int = Field(default=64, ge=2)


class DenseNet169(Classifier):
    """Tells how likely a slice is diseased."""

    config: DenseNet169Config
    Config = DenseNet169Config
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_256 | {"percentiles": (0.0, 100.0)}},
        "compact": CLASSIFIER_COMPACT | {"blocks": (4, 4, 4), "growth": 16, "width": 32},
        "tiny": CLASSIFIER_COMPACT | CLASSIFIER_TINY | {"blocks": (1, 1), "growth": 4, "width": 8},
    }

    def __init__(self, config: DenseNet169Config, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.network = DenseNet(self.folded, 2, blocks=config.blocks, growth=config.growth, width=config.width)
        self.stride = self.network.stride

    @property
    def features(self) -> nn.Module:
        return self.network.features

    def logits(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        logits: Tensor = self.network(rows * 2 - 1)
        return logits
