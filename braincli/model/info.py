"""What a trained model says of itself: the contents of ``model.json``, typed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.imaging.cases import CONTRASTS, Contrast

FORMAT = 1
# of TSGM (Wang et al. 2023, Sec. III): what a model without calibration takes
PAPER_WEIGHTS = {Contrast.T1: 0.07, Contrast.T1CE: 0.19, Contrast.T2: 0.30, Contrast.FLAIR: 0.44}


class Calibration(BaseModel):
    """What turns residuals into a mask, and where it comes from.

    ``weights`` over contrasts sum to 1 (none for methods that give a score instead of a restoration); ``threshold`` is
    in units of the anomaly map; ``provenance`` names objective, cases and figures.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: dict[Contrast, float]
    threshold: float = Field(ge=0)
    min_lesion_mm3: float = Field(default=0.0, ge=0)
    provenance: dict[str, Any] = {}


class MapOptions(BaseModel):
    """How residuals (or a method's scores) become the anomaly map, in this order.

    Attributes:
        residual: from input and restoration, see :func:`braincli.detection.residuals.residual`.
        median: median filter of each contrast, odd width in pixels and slices (papers: 5); 0 or 1 is none.
        smooth_mm: Gaussian smoothing, as one standard deviation.
        erode_mm: what is taken off the brain's rim.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    residual: Literal["absolute", "squared", "positive", "ssim", "ssim3d"] = "absolute"
    median: int = Field(default=0, ge=0)
    smooth_mm: float = Field(default=2.0, ge=0)
    erode_mm: float = Field(default=2.0, ge=0)

    @field_validator("median")
    @classmethod
    def _odd(cls, width: int) -> int:
        if width > 1 and width % 2 == 0:
            raise ValueError("the width of a median filter is odd")
        return width


class ModelInfo(BaseModel):
    """Contents of ``model.json``."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    braincli: str = __version__
    name: str
    method: str
    preset: str
    settings: dict[str, Any] = {}  # the method's full configuration
    contrasts: tuple[Contrast, ...] = CONTRASTS
    slices: dict[str, Any] = {}  # a slices.SliceSpec
    map: MapOptions = MapOptions()
    calibration: Calibration | None = None
    subsets: dict[str, Calibration] = {}  # for scans that lack contrasts, by those that they have (``t1+flair``)
    training: dict[str, Any] = {}  # case ids, image hashes, steps, minutes, data and licences
    figures: dict[str, Any] = {}  # what the card reports
    weights: dict[str, str] = {}  # file name -> SHA-256
    parameters: int = 0
    licence: str = "Apache-2.0"
    notice: str = RESEARCH_USE_ONLY

    def calibration_for(self, contrasts: Collection[Contrast]) -> Calibration | None:
        """The calibration for scans with just these contrasts, or else the one for all."""
        return self.subsets.get(subset(contrasts), self.calibration)


def subset(contrasts: Collection[Contrast]) -> str:
    """The key of ``contrasts`` in :attr:`ModelInfo.subsets`."""
    return "+".join(c for c in CONTRASTS if c in contrasts)
