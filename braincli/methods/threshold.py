"""Intensity baseline: bright is abnormal (Meissen et al. 2022, "Challenging current semi-supervised anomaly
segmentation methods for brain MRI").

The image is histogram-equalised inside the brain (once per volume, by the slice stage), so that its value is the
share of brain voxels that are darker. Each contrast has a tail: with ``high`` (the paper's) the "restoration" is 0,
hence the residual is the equalised intensity itself; with ``low`` it is 1, and dark tissue stands out (tumours on T1);
with ``both`` it is the median, and either end stands out; ``off`` leaves the contrast out. Contrast weights (one
contrast, or several fused), threshold and smallest lesion are calibrated as for every other method.

Presets: ``paper`` is FLAIR alone, 128 x 128 pixels of 1.875 mm, slices 15 to 125, its map not filtered. ``compact``
lets all contrasts take part, weighted by calibration, and smooths the map by 2 mm. Deviations of ``paper``: one
threshold per calibration cohort instead of the best of the test set; the component filter is calibrated, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from braincli.methods.base import Losses, Method, PlainConfig, Prediction, Task, Tick, no_tick, present
from braincli.methods.presets import COMPACT_MAP, MEISSEN_128, Preset

Tail = Literal["high", "low", "both", "off"]
HEALTHY = {"high": 0.0, "low": 1.0, "both": 0.5}  # the value that counts as healthy


class ThresholdConfig(PlainConfig):
    """Which end of each contrast's histogram is abnormal; images with other than four channels take the last ones."""

    t1: Tail = "high"
    t1ce: Tail = "high"
    t2: Tail = "high"
    flair: Tail = "high"


COMPACT: Preset = {"slices": {"normalisation": "equalise"}, "map": COMPACT_MAP}


class Threshold(Method):
    """Restores every slice to the end of the histogram that is healthy."""

    config: ThresholdConfig  # type: ignore[assignment]  # nothing is trained: no options of training
    Config = ThresholdConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"t1": "off", "t1ce": "off", "t2": "off", "slices": MEISSEN_128},
        "compact": COMPACT,
        "tiny": COMPACT,
    }
    trained = False
    restores = False
    stages = ()

    def __init__(self, config: ThresholdConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        tails: list[Tail] = [config.t1, config.t1ce, config.t2, config.flair]
        self.tails = tails[-channels:] if channels <= len(tails) else [config.flair] * channels

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        yield from ()

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        tick()
        restored = image.clone()
        for channel, tail in enumerate(self.tails):
            if tail != "off":
                restored[:, channel] = HEALTHY[tail]
        return Prediction(restored=restored * (brain & present(image)))
