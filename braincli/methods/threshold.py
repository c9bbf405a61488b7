"""Intensity baseline: bright is abnormal (Meissen et al. 2022, "Challenging current semi-supervised anomaly
segmentation methods for brain MRI").

The image is histogram-equalised inside the brain (once per volume, by the slice stage), so that its value is the
share of brain voxels that are darker. The "restoration" is zero, hence the residual is the equalised intensity
itself and contrast weights, threshold and smallest lesion are calibrated as for every other method.

Deviations: the paper uses FLAIR alone; here any contrast takes part, weighted by calibration (default FLAIR only).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from braincli.methods.base import Batch, Callback, Losses, Method, MethodConfig, Prediction


class ThresholdConfig(MethodConfig):
    """Nothing to choose: threshold and weights are calibration, not training."""


class Threshold(Method):
    """Restores every slice to zero, so that the residual is the equalised intensity."""

    Config = ThresholdConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "compact": {}, "tiny": {}}
    normalisation = "equalise"
    trained = False

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {}

    def losses(self, batch: Batch, stage: str, generator: torch.Generator) -> Losses:
        yield from ()

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        callback: Callback | None = None,
    ) -> Prediction:
        if callback is not None:
            callback(1, 1)
        return Prediction(restored=torch.zeros_like(image))
