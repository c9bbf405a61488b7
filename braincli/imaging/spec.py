"""How a model wants its slices. Loads nothing heavy: ``model.json`` can be read at once."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class SliceSpec(BaseModel):
    """How a model wants its slices; stored in ``model.json``.

    Attributes:
        pixel_mm: in-plane pixel size; through the plane the scan's own slices are kept.
        size: (H, W) of the training canvas; a larger brain gets a larger canvas.
        normalisation: ``percentile`` (1st..99th inside the brain to 0..1, clipped) or ``equalise`` (share of brain
            voxels that are darker).
        min_brain_mm2: slices with less brain are left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pixel_mm: float = 2.0
    size: tuple[int, int] = (96, 80)
    normalisation: str = "percentile"
    percentiles: tuple[float, float] = (1.0, 99.0)
    min_brain_mm2: float = 150.0
