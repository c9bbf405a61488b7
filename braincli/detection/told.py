"""What the JSON files beside found volumes say: what it is, what it was made from, where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braincli.imaging.cases import CONTRASTS, Case, Contrast
from braincli.layout.dataset import Dataset
from braincli.layout.found import Derivative
from braincli.layout.sidecar import spatial_reference
from braincli.preprocessing import spaces

WORDS = {
    "mask": "Lesions that the model found.",
    "lesions": "The lesions of the mask by their numbers.",
    "anomaly": "Anomaly map: weighted residual, or the score of the method; no probability.",
    "uncertainty": "Standard deviation of the anomaly map over samples.",
    "restored": "Pseudo-healthy restoration, in the units of the image that was searched.",
    "residual": "Absolute difference of image and restoration, in shares of the intensity range.",
}

COLUMNS = {  # of the lesion table -> what it holds, units
    "voxels": ("Number of voxels on the grid that was searched.", ""),
    "volume_ml": ("Volume on the grid that was searched.", "ml"),
    **{f"{axis}_mm": (f"Centroid on the grid that was searched, {axis} (RAS).", "mm") for axis in "xyz"},
    **{f"atlas_{axis}_mm": (f"Centroid in SRI24, {axis} (RAS).", "mm") for axis in "xyz"},
    **{f"native_{axis}_mm": (f"Centroid in the scan as it was given, {axis} (RAS).", "mm") for axis in "xyz"},
    "native_ml": ("Volume in the scan as it was given.", "ml"),
    "side": ("Side of the brain: left, right or both.", ""),
    "height": ("Of the middle, between the lowest slice of the brain (0) and the highest (1).", ""),
    "depth_mm": ("Mean distance from the surface of the brain.", "mm"),
    "axial_mm": ("Greatest diameter within an axial slice.", "mm"),
    "longest_mm": ("Greatest diameter.", "mm"),
    "mean_score": ("Mean of the anomaly map.", ""),
    "max_score": ("Maximum of the anomaly map.", ""),
    **{f"{c}_z": (f"Mean intensity in {c.upper()}, in SD above the mean of healthy brain.", "") for c in CONTRASTS},
}


@dataclass(frozen=True)
class Told:
    """What is known of a case when its volumes are written.

    Attributes:
        searched: the images on the grid that was searched, and the brain mask there.
        scans: the raw scans, by whose grids outputs are placed; empty of a prepared case.
    """

    dataset: Dataset
    names: Derivative
    searched: Case
    scans: Mapping[Contrast, Path]

    def about(self, kind: str, space: str) -> dict[str, Any]:
        """The content of the JSON file of a volume, see :meth:`braincli.layout.found.Derivative.volume`."""
        what, _, contrast = kind.partition("-")
        told: dict[str, Any] = {"Description": WORDS[what], "Model": self.names.model}
        if kind == "mask":
            told["Type"] = "Lesion"
        elif kind != "lesions":
            told["SkullStripped"] = True
        told["Sources"] = [self.dataset.uri(path) for path in self._sources(kind, space, contrast)]
        if (where := self._where(space)) is not None:
            told["SpatialReference"] = where
        return told

    def table(self) -> dict[str, Any]:
        """The content of the JSON file of the lesion table, which all numbered images share."""
        columns = {
            name: {"Description": words, **({"Units": units} if units else {})}
            for name, (words, units) in COLUMNS.items()
        }
        return self.about("lesions", self.names.searched) | columns

    def _sources(self, kind: str, space: str, contrast: str) -> list[Path]:
        """Of a raw scan's grid: what was brought there and the transform that did; else the images searched."""
        if space in CONTRASTS:
            way = self.names.names.transform(Contrast(space), inverse=True)
            return [self.names.volume(kind, self.names.searched), way]
        chosen = [self.searched.images[Contrast(contrast)]] if contrast else [*self.searched.images.values()]
        return [*chosen, *([self.searched.brain] if self.searched.brain else [])]

    def _where(self, space: str) -> str | None:
        """The scan or atlas whose grid it is; of a prepared scan what its own JSON file says, or it itself."""
        if space in CONTRASTS:
            return self.dataset.uri(self.scans[Contrast(space)])
        if (template := spaces.labelled(self.names.space_of(space))) is not None:
            return template.spatial_reference()
        first = next(iter(self.searched.images.values()))
        return spatial_reference(first) or self.dataset.uri(first)
