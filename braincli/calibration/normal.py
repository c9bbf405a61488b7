"""What healthy tissue is suspected of, place by place: the normal map of a method that suspects, fitted on cases.

They may be those of training, since no threshold is fitted on them: it is only asked where healthy tissue looks more
like a lesion than elsewhere. What lies within AWAY_MM of a known lesion is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from braincli.detection.restore import restore
from braincli.detection.suspicion import log_odds, places
from braincli.errors import UsageError
from braincli.imaging.cases import Case
from braincli.imaging.slices import load_case
from braincli.model.folder import LoadedModel
from braincli.model.info import Normal, subset
from braincli.model.normal import GRID, packed
from braincli.runtime import files
from braincli.runtime.cohort import each, results
from braincli.runtime.progress import Reporter

if TYPE_CHECKING:
    import torch

AWAY_MM = 8.0  # from a lesion: what it presses on and what it soaks is not normal
SMOOTH = 1.0  # cells, as one standard deviation
FEW = 0.01  # of the pixels that a cell has on average: as many of the mean of all are added to each


def with_normal(
    model: LoadedModel,
    cases: Sequence[Case],
    *,
    seed: int,
    batch: int | None,
    reporter: Reporter,
    dtype: torch.dtype | None = None,
) -> LoadedModel:
    """``model`` with the normal map for the contrasts of ``cases``, which all have the same; nothing is stored.

    Args:
        cases: those without a lesion mask count as healthy.
        dtype: see :func:`braincli.detection.restore.restore`.

    Raises:
        UsageError: the method suspects nothing, or the cases have different contrasts.
        CohortError: one of several cases cannot be used.
        BraincliError: there is only one case, and this went wrong.
    """
    sets = {subset(case.images) for case in cases if case.problem is None}
    if len(sets) > 1:
        raise UsageError(
            f"The normal cases have different contrasts ({' and '.join(sorted(sets)[:2])}).", "Use --all-contrasts."
        )
    bare = replace(model, normal={})

    def one(case: Case) -> np.ndarray:
        slices, lesion = load_case(case, model.info.slices, stride=model.method.stride)
        made = restore(slices, bare, case_id=case.id, seed=seed, batch=batch, dtype=dtype, reporter=reporter)
        if made.suspicion is None:
            raise UsageError(f"The method {model.info.method} suspects nothing.", "Leave out --normal.")
        inside = slices.brain[:, 0]
        healthy = inside if lesion is None else inside & away(lesion > 0, slices.spacing)
        return tally(log_odds(made.suspicion[:, 0]), inside, healthy)

    sums = np.sum(results(each(cases, one, reporter, title="normal"), again="Mend them, or leave them out"), axis=0)
    known = model.info.normal.cases if model.info.normal else {}
    named = known | {case.id: [files.sha256(path) for path in case.images.values()] for case in cases}
    maps = {**model.normal, sets.pop(): smoothed(*sums).astype(np.float16).astype(np.float32)}  # as they are stored
    said = Normal(sha256=hashlib.sha256(packed(maps)).hexdigest(), cases=named)
    return replace(model, info=model.info.model_copy(update={"normal": said}), normal=maps)


def away(lesion: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """(S, H, W) bool: further than AWAY_MM from ``lesion`` (S, H, W) bool; ``spacing`` (z, y, x) in mm."""
    from scipy.ndimage import distance_transform_edt

    if not lesion.any():
        return ~lesion
    return np.asarray(distance_transform_edt(~lesion, sampling=spacing) > AWAY_MM)


def tally(odds: np.ndarray, inside: np.ndarray, healthy: np.ndarray) -> np.ndarray:
    """(2, *GRID) by cell of a brain's box the sum of ``odds`` (S, H, W) where ``healthy``, and how many pixels.

    Args:
        inside, healthy: (S, H, W) bool: the brain, and what of it counts.
    """
    nearest = [
        np.clip(np.round(along).astype(int), 0, cells - 1)
        for along, cells in zip(places(inside, GRID), GRID, strict=True)
    ]
    cells = np.ravel_multi_index(np.ix_(*nearest), GRID)[healthy]
    sums = [np.bincount(cells, weights, int(np.prod(GRID))) for weights in (odds[healthy], None)]
    return np.reshape(sums, (2, *GRID)).astype(np.float64)


def smoothed(sums: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(GRID) float32 log odds less their mean over all, from the sums and numbers of pixels of all cases.

    Both sides of the brain are one: lesions lie on either.
    """
    from scipy.ndimage import gaussian_filter

    sums, pixels = (gaussian_filter(part + part[..., ::-1], SMOOTH, mode="nearest") for part in (sums, pixels))
    mean, few = sums.sum() / max(float(pixels.sum()), 1e-6), max(FEW * float(pixels.mean()), 1e-6)
    normal: np.ndarray = ((sums + few * mean) / (pixels + few) - mean).astype(np.float32)
    return normal
