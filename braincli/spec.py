"""How a method wants its slices, and how its maps are made: options of every method, plain data for all rooms.

Loads nothing heavy, so that ``model.json`` can be read at once.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

PIXEL_MM = (0.2, 10.0)
CANVAS = (4, 1024)  # rows or columns

Share = Annotated[float, Field(ge=0, le=1)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SliceSpec(_Options):
    """Axial slices as a method sees them.

    Attributes:
        pixel_mm: in-plane pixel size.
        size: (H, W) of the training canvas; a larger brain gets a larger canvas.
        slice_mm: distance of the slices, to which scans are resampled through the plane; ``own``: the scan's.
        range: first and last slice that is looked at, both included, counted from 0 at the bottom of the scan (after
            resampling to ``slice_mm``); ``all``: every slice. Papers give ranges for scans in SRI24 space, as BraTS is.
        normalisation: ``percentile`` (1st..99th inside the brain to 0..1, clipped) or ``equalise`` (share of brain
            voxels that are darker).
        min_brain_mm2: slices with less brain are left out.
    """

    pixel_mm: float = 2.0
    size: tuple[int, int] = (96, 80)
    slice_mm: float | Literal["own"] = "own"
    range: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] | Literal["all"] = "all"
    normalisation: Literal["percentile", "equalise"] = "percentile"
    percentiles: tuple[float, float] = (1.0, 99.0)
    min_brain_mm2: float = 150.0

    @field_validator("pixel_mm", "slice_mm")
    @classmethod
    def _fine(cls, mm: float | str) -> float | str:
        if not isinstance(mm, str) and not PIXEL_MM[0] <= mm <= PIXEL_MM[1]:
            raise ValueError(f"is not {PIXEL_MM[0]:g} to {PIXEL_MM[1]:g} mm")
        return mm

    @field_validator("size")
    @classmethod
    def _sensible(cls, size: tuple[int, int]) -> tuple[int, int]:
        """The canvas is the first thing that memory is taken for."""
        if not all(CANVAS[0] <= side <= CANVAS[1] for side in size):
            raise ValueError(f"are not {CANVAS[0]} to {CANVAS[1]} each")
        return size

    @field_validator("range")
    @classmethod
    def _rising(cls, planes: tuple[int, int] | str) -> tuple[int, int] | str:
        if not isinstance(planes, str) and planes[0] > planes[1]:
            raise ValueError("ends before it begins")
        return planes

    @field_validator("percentiles")
    @classmethod
    def _in_order(cls, percentiles: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError("must rise, from 0 to 100")
        return percentiles

    @field_validator("min_brain_mm2")
    @classmethod
    def _not_negative(cls, area: float) -> float:
        if not 0 <= area < math.inf:
            raise ValueError("must be 0 or more")
        return area

    def fits(self, stride: int) -> bool:
        """Whether the canvas is a multiple of ``stride``."""
        return all(side % stride == 0 for side in self.size)


class MapOptions(_Options):
    """How residuals (or a method's scores) become the anomaly map, in this order.

    Attributes:
        residual: from input and restoration, see :func:`braincli.detection.residuals.residual`.
        median: median filter of each contrast, odd width in pixels and slices (papers: 5); 0 or 1 is none.
        smooth_mm: Gaussian smoothing, as one standard deviation.
        erode_mm: what is taken off the brain's rim.
        weights: shares of T1, T1ce, T2 and FLAIR in the map until a calibration has fitted some; ``equal``: as much of
            each.
    """

    residual: Literal["absolute", "squared", "positive", "ssim", "ssim3d"] = "absolute"
    median: int = Field(default=0, ge=0, le=51)
    smooth_mm: float = Field(default=0.0, ge=0, le=50)
    erode_mm: float = Field(default=0.0, ge=0, le=50)
    weights: tuple[Share, Share, Share, Share] | Literal["equal"] = "equal"

    @field_validator("median")
    @classmethod
    def _odd(cls, width: int) -> int:
        if width > 1 and width % 2 == 0:
            raise ValueError("is even; the width of a median filter is odd")
        return width

    @field_validator("weights")
    @classmethod
    def _whole(cls, weights: tuple[float, ...] | str) -> tuple[float, ...] | str:
        if not isinstance(weights, str) and not math.isclose(sum(weights), 1, abs_tol=1e-3):
            raise ValueError(f"sums to {sum(weights):g}, not to 1")
        return weights
