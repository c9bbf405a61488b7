"""Model folders for tests: an untrained tiny TSGM, and the intensity baseline, which really finds bright lesions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.slices import SliceSpec
from braincli.methods import registry
from braincli.model.folder import save_model
from braincli.model.info import Calibration, ModelInfo
from braincli.spec import MapOptions

WEIGHTS = {Contrast.T1: 0.1, Contrast.T1CE: 0.1, Contrast.T2: 0.3, Contrast.FLAIR: 0.5}


def write_model(folder: Path, method: str, *, calibrated: bool = True, **calibration: Any) -> Path:
    """Save an untrained ``method`` (preset tiny) as ``folder``, seeing 32 x 32 slices of 4 mm pixels.

    TSGM comes in one pass: what an untrained network suspects is all or nothing.
    """
    torch.manual_seed(0)
    settings: dict[str, Any] = {"redraw": None, "suspect": None} if method == "tsgm" else {}
    normalisation = registry.options(method, "tiny").slices.normalisation
    spec = SliceSpec(pixel_mm=4.0, size=(32, 32), normalisation=normalisation)
    values = {"weights": WEIGHTS, "threshold": 0.8 if method == "threshold" else 0.05, **calibration}
    info = ModelInfo(
        name=folder.name, method=method, preset="tiny", settings=settings, contrasts=CONTRASTS, slices=spec,
        map=MapOptions(smooth_mm=2.0, erode_mm=0.0), calibration=Calibration(**values) if calibrated else None,
        subsets={"flair": Calibration(**values | {"weights": {Contrast.FLAIR: 1.0}})} if calibrated else {},
    )  # fmt: skip
    built = registry.build(method, preset="tiny", settings=settings, channels=4, size=spec.size)
    with torch.no_grad():  # untrained networks end in zeros, which restore every slice to itself
        for parameter in built.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    save_model(folder, built, info)
    return folder


def write_models(folder: Path) -> Path:
    """``threshold`` and ``tsgm`` below ``folder``."""
    only_bright = {contrast: float(contrast is Contrast.FLAIR) for contrast in CONTRASTS}
    write_model(folder / "threshold", "threshold", weights=only_bright, threshold=0.85)
    write_model(folder / "tsgm", "tsgm")
    return folder
