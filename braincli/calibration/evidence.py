"""What calibration needs of a case: the filtered residuals or score, and where the lesion is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from braincli.calibration.search import dsc_curves, levels, present_only
from braincli.detection.maps import channels, counting, fuse, renormalise, rise, segment, suspected
from braincli.detection.restore import restore
from braincli.errors import InputError
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.slices import Slices, load_case
from braincli.imaging.volume import Volume, load, mask_on_grid_of, reorient, warned
from braincli.model.folder import LoadedModel
from braincli.model.info import Calibration, ModelInfo
from braincli.runtime import files
from braincli.runtime.cohort import Outcome, each, results
from braincli.runtime.progress import Reporter

if TYPE_CHECKING:
    import torch

MARGIN = 2  # slices between a lesion and the tissue that counts as healthy


@dataclass(frozen=True)
class Evidence:
    """A restored case with its lesion.

    Attributes:
        maps: (C, S, H, W) filtered residuals, or (1, S, H, W) score.
        lesion: (S, H, W) bool on the canvas.
        reference: (X, Y, Z) bool on the RAS grid, in the slices that the model looks at.
        counts: (C, S, H, W) bool, where each contrast's weight counts; None: all over.
        prior: weights of the contrasts in the model's map options.
        alone: (S, H, W) suspicion, which may be the map without any residuals; None where the method gives none.
        curves: DSC curves and levels that were asked for before.
    """

    case: Case
    slices: Slices
    maps: np.ndarray
    lesion: np.ndarray
    reference: np.ndarray
    counts: np.ndarray | None = None
    prior: Mapping[Contrast, float] = field(default_factory=lambda: {c: 1 / len(Contrast) for c in Contrast})
    alone: np.ndarray | None = None
    curves: dict[tuple[bytes, bytes], np.ndarray] = field(default_factory=dict)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel of the scan."""
        return self.slices.ras.voxel_ml * 1000

    @property
    def scored(self) -> bool:
        """Whether the map is a score: there are no contrasts to weigh."""
        return len(self.maps) == 1

    def by_suspicion(self) -> Evidence | None:
        """The same with suspicion alone as the map; None where the method gives none."""
        return None if self.alone is None else replace(self, maps=self.alone[None], counts=None, alone=None, curves={})

    def dsc(self, vectors: np.ndarray, tops: float | np.ndarray) -> np.ndarray:
        """(K, BINS) DSC on the canvas of weight ``vectors`` (K, C), see :func:`.search.dsc_curves`.

        Args:
            tops: (K,) the largest threshold of each vector, or one for all.
        """
        tops = np.broadcast_to(np.asarray(tops, dtype=np.float64), len(vectors))
        key = (vectors.tobytes(), tops.tobytes())
        if key not in self.curves:
            values, counts = self._pixels()
            inside = self.slices.brain[:, 0]
            self.curves[key] = dsc_curves(
                values, self.lesion[inside], int(self.lesion.sum()), self._weights(vectors), tops, counts
            )
        return self.curves[key]

    def levels(self, vectors: np.ndarray) -> np.ndarray:
        """(2, K) level and largest value of the map of each of ``vectors`` (K, C), see :func:`.search.levels`."""
        key = (vectors.tobytes(), b"levels")
        if key not in self.curves:
            values, counts = self._pixels()
            self.curves[key] = levels(values, self._weights(vectors), counts)
        return self.curves[key]

    def _weights(self, vectors: np.ndarray) -> np.ndarray:
        return vectors if self.scored else present_only(vectors, self.slices.contrasts)

    def _pixels(self) -> tuple[np.ndarray, np.ndarray | None]:
        """(C, n) maps of the brain's pixels, and where they count."""
        inside = self.slices.brain[:, 0]
        counts = None if self.counts is None or self.scored else self.counts[:, inside]
        return self.maps[:, inside].astype(np.float32), counts

    def fused(self, weights: Mapping[Contrast, float]) -> np.ndarray:
        """(S, H, W) anomaly map on the canvas, as :func:`braincli.detection.maps.anomaly_map` would make it."""
        if not weights and self.alone is not None:
            return self.alone
        return fuse(self.maps, renormalise(weights, self.slices.contrasts), self.counts)

    def anomaly(self, weights: Mapping[Contrast, float]) -> np.ndarray:
        """(X, Y, Z) anomaly map on the RAS grid, as ``detect`` would make it."""
        return reorient(self.slices.to_volume(self.fused(weights))).data

    def rise(self, fit: Calibration) -> float:
        """What the threshold of ``fit`` is multiplied by for this case, as in ``detect``."""
        return rise(self.fused(fit.weights), self.slices.brain[:, 0], fit.rises_from)

    def mask(self, fit: Calibration) -> np.ndarray:
        """(X, Y, Z) bool on the RAS grid, exactly as ``detect`` would segment it."""
        threshold = fit.threshold * self.rise(fit)
        return segment(self.anomaly(fit.weights), threshold, self.voxel_mm3, fit.min_lesion_mm3)

    def healthy_slices(self) -> np.ndarray:
        """(S,) bool: slices at least MARGIN away from the lesion."""
        sick = self.slices.numbers(np.flatnonzero(self.reference.any(axis=(0, 1))))
        if not len(sick):
            return np.ones(len(self.slices.index), dtype=bool)
        distance = np.abs(self.slices.index[:, None] - sick[None]).min(axis=1)
        healthy: np.ndarray = distance >= MARGIN
        return healthy


def gather(
    cases: Sequence[Case],
    model: LoadedModel,
    *,
    seed: int,
    batch: int | None,
    reporter: Reporter,
    masks: bool = True,
    dtype: torch.dtype | None = None,
) -> list[Outcome[Evidence]]:
    """Restore ``cases`` and keep what the search needs; one that cannot be read is reported, and the others go on.

    Args:
        masks: every case needs a lesion mask, and one of them a lesion; else a case without a mask is healthy.
        dtype: see :func:`braincli.detection.restore.restore`.

    Raises:
        InputError: a case was trained on, or says what is normal (by id or image hash), or none holds a lesion.
        CohortError: none of several cases can be used.
        BraincliError: there is only one case, and this went wrong.
    """
    if not cases:
        return []
    refuse_trained(cases, model.info)
    spec = model.info.slices

    def mask_of(case: Case) -> Volume | None:
        if masks and case.lesion is None:
            raise InputError(f"{case.id} has no lesion mask.", "Put <case>_seg.nii.gz beside the scans.")
        return _lesion(case, reporter)

    def evidence(case: Case) -> Evidence:
        slices, _ = load_case(replace(case, lesion=None), spec, stride=model.method.stride)
        for text in slices.warnings:
            reporter.warn(f"{case.id}: {text}")
        mask = lesions.pop(case.id)
        reference = np.zeros(slices.brain_volume.shape, dtype=bool)
        if mask is not None:
            reference = (reorient(mask_on_grid_of(mask, slices.grid)[0]).data > 0) & slices.looked_at(spec)
        result = restore(
            slices, model, case_id=case.id, seed=seed, batch=batch, dtype=dtype, reporter=reporter
        )  # fmt: skip
        lesion = slices.to_canvas(reference, spec) > 0.5
        maps, counts = channels(result, model.info.map), counting(slices, model.info.map)
        alone = suspected(result, model.info.map)
        return Evidence(case, _light(slices), maps, lesion, reference, counts, model.info.fusion, alone)

    readings = each(cases, mask_of, reporter, title="masks")
    lesions = {reading.id: reading.result for reading in readings if reading.error is None}
    if masks and lesions and not any(mask is not None and mask.data.any() for mask in lesions.values()):
        raise InputError(
            "No case has a lesion.", "Calibrate on cases with lesions, or by --objective healthy-quantile."
        )
    unread = [Outcome[Evidence](reading.id, error=reading.error) for reading in readings if reading.error is not None]
    outcomes = unread + each([case for case in cases if case.id in lesions], evidence, reporter)
    if outcomes and all(outcome.error is not None for outcome in outcomes):
        results(outcomes, again="Mend them, or calibrate by --objective healthy-quantile, which needs no masks")
    return outcomes


def _lesion(case: Case, reporter: Reporter) -> Volume | None:
    """The case's lesion mask as bool, on its own grid."""
    if case.lesion is None:
        return None
    labels = load(case.lesion, labels=True)
    for text in warned(labels):
        reporter.warn(f"{case.id}: {text}")
    return labels.with_data(labels.data > 0)


def _light(slices: Slices) -> Slices:
    """``slices`` without intensities: a cohort of them stays in memory during the search."""

    def empty(volume: Volume) -> Volume:
        return volume.with_data(np.broadcast_to(np.float32(0), volume.shape))

    return replace(
        slices, image=slices.image[:, :0].copy(), hidden={}, shown=None, grid=empty(slices.grid), ras=empty(slices.ras)
    )


def hashes(evidence: Sequence[Evidence]) -> dict[str, list[str]]:
    """By id the SHA-256 of each image: what a later test set must not hold."""
    return {e.case.id: [files.sha256(path) for path in e.case.images.values()] for e in evidence}


def refuse_trained(cases: Sequence[Case], info: ModelInfo) -> None:
    """Raise if a case took part in training, or in the normal map.

    Raises:
        InputError: its id or the hash of one of its images is among the model's.
    """
    parts = {"was trained on": info.training.cases, "says what is normal": info.normal.cases if info.normal else {}}
    for case in cases:
        readable = {files.sha256(path) for path in case.images.values() if path.is_file()}
        for words, cases_there in parts.items():
            if case.id in cases_there or any(readable.intersection(images) for images in cases_there.values()):
                raise InputError(f"{case.id} {words}.", "Calibrate on other cases: residuals of seen ones are smaller.")
