"""What a model made of a case's slices, on the grid of its scans and in their units."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from braincli.detection.residuals import residual
from braincli.detection.restore import Restoration
from braincli.imaging.box import blank, bounding_box, percentiles, values_in
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.slices import Box, SliceSpec, normalise
from braincli.imaging.volume import Volume, view_along, view_onto


class OnGrid:
    """A restoration as volumes on the scans' own grid; whoever is one has these attributes.

    Attributes:
        images: the inputs that were looked at, as given.
        brain: bool.
        restoration: what the model made of their slices.
        spec: how the slices were cut.
    """

    images: Mapping[Contrast, Volume]
    brain: Volume
    restoration: Restoration
    spec: SliceSpec

    @property
    def has_restoration(self) -> bool:
        """Whether the method gave one; the next three need it."""
        return self.restoration.restored is not None and self.restoration.restores

    def restored(self, contrast: Contrast) -> Volume:
        """The restoration on the model's scale: 0 and 1 are the image's 1st and 99th percentile in the brain.

        The network's change, made at its pixel size, is added to the scan: detail that it left alone stays sharp. What
        was redrawn takes the place of the scan, whose finer detail would stay as a ghost of the lesion.
        """
        image, box = self.images[contrast], bounding_box(self.restoration.slices.brain_volume)
        restored = image.with_data(blank(image.data))
        view_along(restored).data[box] = self.restored_in(contrast, box).data  # written to: restored
        return restored

    def restored_in(self, contrast: Contrast, box: Box) -> Volume:
        """:meth:`restored` in a part of the grid that holds the brain.

        Args:
            box: three slices with ends, of the grid in RAS order; so is what is returned.
        """
        slices, scan = self.restoration.slices, view_along(self.images[contrast]).cut(box)
        brain = slices.brain_volume[box]
        seen = brain & ~slices.hidden[contrast][box] if contrast in slices.hidden else brain
        restored = normalise(scan.data, seen, self.spec)
        self._add_change(contrast, restored, box)
        np.clip(restored, 0, 1, out=restored)
        restored *= brain
        return scan.with_data(restored)

    def restored_like_input(self, contrast: Contrast) -> Volume:
        """The restoration in the input's own units, as a viewer expects; outside the brain, the input."""
        image = self.images[contrast]
        inside = values_in(image.data, self._shown(contrast))
        units = image.with_data(image.data.astype(np.float32))
        if self.spec.normalisation == "equalise":
            scan, restored = normalise(image.data, self._shown(contrast), self.spec), self.restored(contrast).data
            changed = (restored != scan) & self.brain.data
            units.data[changed] = quantiles(inside, restored[changed])
        else:
            low, high = percentiles(inside, self.spec.percentiles)
            self._add_change(contrast, view_along(units).data, None, low, high - low)
        return units

    def _shown(self, contrast: Contrast) -> np.ndarray:
        """(X, Y, Z) bool on the input's grid: the brain, where the contrast shows it."""
        slices = self.restoration.slices
        if contrast not in slices.hidden:
            return self.brain.data
        hidden = view_onto(slices.ras.with_data(slices.hidden[contrast]), slices.grid)
        return self.brain.data & ~hidden.data

    def _add_change(
        self, contrast: Contrast, scan: np.ndarray, part: Box | None, low: float = 0.0, unit: float = 1.0
    ) -> None:
        """Turn ``scan`` (X, Y, Z), float32 in RAS order, into its restoration, in place; its background stays.

        Added is restoration minus input at the network's pixel size; where the slice was redrawn, what turns the scan
        into that. Only the part of the head that anything was changed in is enlarged.

        Args:
            part: of the grid that ``scan`` is; None: all of it.
            low, unit: of the scan, where the model has 0, and what it counts as 1.
        """
        slices, (image, restored) = self.restoration.slices, self._pair(contrast)
        within = slices.brain[:, 0]
        differs = restored != image
        changed = differs & within
        if not changed.any():
            return
        box, change = slices.to_box((restored - image) * within, changed)
        target = scan[box if part is None else _relative(box, part)]  # written to: scan
        if self.restoration.suspicion is not None:
            redrawn, fresh, inside = (slices.to_box(each, changed)[1] for each in (differs, restored, within))
            np.maximum(inside, 0.25, out=inside)  # at the edge a voxel has less brain around it, and is no darker
            share, fresh = np.minimum(redrawn / inside, 1, out=redrawn), np.divide(fresh, inside, out=fresh)
            fresh -= (target - low) / max(unit, 1e-6)
            fresh -= change
            fresh *= share
            change += fresh
        change *= unit
        target += change

    def residual(self, contrast: Contrast) -> Volume:
        """|input - restoration| in shares of the intensity range, 0 outside the brain."""
        slices = self.restoration.slices
        return slices.to_volume(residual(*self._pair(contrast)) * slices.brain[:, 0])

    def _pair(self, contrast: Contrast) -> tuple[np.ndarray, np.ndarray]:
        """Input and restoration of a contrast on the canvas."""
        slices, restored, channel = self.restoration.slices, self.restoration.restored, CONTRASTS.index(contrast)
        assert restored is not None
        return slices.image[:, channel], restored[:, channel]


def _relative(box: Box, part: Box) -> Box:
    """``box`` in the coordinates of ``part``, which holds it."""
    return tuple(
        slice(inner.start - outer.start, inner.stop - outer.start) for inner, outer in zip(box, part, strict=True)
    )


def quantiles(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The quantiles of ``values`` (N,) at ``shares`` (M,) in [0, 1], float64, interpolated linearly.

    What ``np.quantile`` gives, which takes minutes where there are a million shares: it partitions once for each.
    """
    return np.interp(shares.astype(np.float64) * (values.size - 1), np.arange(values.size), np.sort(values))
