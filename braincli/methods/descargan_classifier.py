"""DeScarGAN's classifier without the GAN: D_cls alone, learnt from slice labels (Wolleb et al. 2020,
arXiv:2007.14118; Wolleb 2022, PhD thesis, ch. 6), which shows what translation adds to the class of a slice.

It restores nothing. How likely a slice is diseased is what it is for; the class activation map (Selvaraju et al. 2017)
of its log-odds is its score, a coarse hint at where.

Presets:
- ``paper``: D_cls with what it shares with the rest of the discriminator, 8,729,922 parameters, on 256 x 256 pixels of
  1 mm, from the smallest to the largest intensity. Adam, batch, epochs and dropout are DeScarGAN's.
- ``compact``: ours. DeScarGAN's compact discriminator, on 2 x 2 pixels, all contrasts in one stack, dropped at random,
  geometry and intensity augmented.

Deviation that remains in ``paper``: gradients are not clipped (DeScarGAN's code clips those of its whole
discriminator).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from braincli.methods.families.telling import Classifier, ClassifierConfig
from braincli.methods.presets import CLASSIFIER_COMPACT, CLASSIFIER_TINY, WHOLE_256, Preset
from braincli.networks.descargan import BLOCKS, BranchedDiscriminator


class DeScarGANClassifierConfig(ClassifierConfig):
    """Options of the network; the defaults are the paper's."""

    discriminator_width: int = 32
    discriminator_blocks: tuple[tuple[int, ...], ...] = BLOCKS
    dropout: float = Field(default=0.1, ge=0, lt=1)
    patch: int = Field(default=1, ge=1)  # pixels per side folded into channels


class DeScarGANClassifier(Classifier):
    """Tells how likely a slice is diseased."""

    config: DeScarGANClassifierConfig
    Config = DeScarGANClassifierConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_256 | {"percentiles": (0.0, 100.0)}},
        "compact": CLASSIFIER_COMPACT | {
            "discriminator_width": 16, "discriminator_blocks": ((1,), (2,), (4,), (4,)), "patch": 2,
        },
        "tiny": CLASSIFIER_COMPACT | CLASSIFIER_TINY | {
            "discriminator_width": 4, "discriminator_blocks": ((1,), (2,)),
        },
    }  # fmt: skip

    def __init__(self, config: DeScarGANClassifierConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        self.network = BranchedDiscriminator(
            self.folded, size, width=c.discriminator_width, blocks=c.discriminator_blocks, patch=c.patch,
            share=c.dropout, judging=False,
        )  # fmt: skip
        self.stride = 8 * c.patch  # DeScarGAN's, whose canvases these are

    @property
    def features(self) -> nn.Module:
        return self.network.seen

    def logits(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.network.classed(self.network.trunk(self.on_canvas(rows) * 2 - 1), generator)
