"""Grey matter, white matter and fluid: probabilities per voxel, for methods that learn from them (ISCT).

Maps of another program beside the scan are taken as they are; without them a Gaussian mixture is fitted to T1 and T2,
whose classes like to have neighbours of their own kind: a hidden Markov random field as in FSL FAST (Zhang et al.
2001, IEEE TMI 20:45), with mean-field updates, one covariance for all classes, and no model of the bias field, which
preprocessing has taken out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from braincli.errors import InputError
from braincli.imaging.cases import CONTRASTS, TISSUES, Case, Contrast
from braincli.imaging.volume import load, mask_on_grid_of, reorient

if TYPE_CHECKING:
    from braincli.imaging.slices import Slices, SliceSpec

SHARES = {"csf": 0.15, "gm": 0.45, "wm": 0.40}  # of the brain, from dark to bright on T1: where the fit begins
SIGN = {Contrast.T1: 1, Contrast.T1CE: 1, Contrast.FLAIR: 1, Contrast.T2: -1}  # white matter is brighter than fluid
ROUNDS = 25
COUPLING = 1.5  # how much a voxel heeds its six neighbours
FAR = 2.5  # standard deviations from every class: left out of the fit (skull, vessels, what is no tissue)
FLOOR = 0.03  # least standard deviation of the classes, in shares of the intensity range


def of_case(case: Case, slices: Slices, spec: SliceSpec, lesion: np.ndarray | None) -> np.ndarray:
    """Tissue probabilities of a case's slices.

    Args:
        lesion: (S, H, W), above 0 where tissue is known to be diseased; the mixture does not look at it.

    Returns:
        (S, 3, H, W) float32 in the order of ``TISSUES``: they sum to 1 in the brain (1/3 each where nothing is known,
        so in lesions) and are 0 elsewhere.

    Raises:
        InputError: maps of some tissues only, or on another grid.
    """
    brain = slices.brain[:, 0]
    if case.tissue:
        if missing := [name for name in TISSUES if name not in case.tissue]:
            raise InputError(
                f"{case.id}: tissue maps, but none of {missing[0]}.",
                "Put gm, wm and csf beside the scan, or none of them.",
            )
        volumes = [mask_on_grid_of(load(case.tissue[name]), slices.grid)[0] for name in TISSUES]
        shares = np.stack([slices.to_canvas(reorient(volume).data, spec) for volume in volumes]).clip(min=0)
    else:
        images = {c: slices.image[:, CONTRASTS.index(c)] for c in slices.contrasts}
        healthy = brain if lesion is None else brain & (lesion <= 0)
        if slices.shown is not None:
            healthy = healthy & slices.shown[:, [CONTRASTS.index(c) for c in slices.contrasts]].all(axis=1)
        shares = mixture(images, healthy)
    total = shares.sum(axis=0)
    shares = np.where(total > 0.01, shares / np.maximum(total, 0.01), 1 / 3) * brain
    return np.ascontiguousarray(shares.swapaxes(0, 1), dtype=np.float32)


def mixture(images: Mapping[Contrast, np.ndarray], inside: np.ndarray) -> np.ndarray:
    """Fit three classes to intensities.

    Args:
        images: float32 in [0, 1] by contrast, (X, Y, Z) each. T1 and T2 are looked at, where T1 is missing T1ce, where
            all are missing FLAIR (on which the names of grey and white matter mean little).
        inside: (X, Y, Z) bool, healthy brain; a lesion would be taken for a tissue.

    Returns:
        (3, X, Y, Z) float32, probabilities in the order of ``TISSUES``: they sum to 1 ``inside`` and are 0 elsewhere.
        Where there is nothing to tell classes apart they are all 1/3.
    """
    from scipy.ndimage import convolve

    classes = np.zeros((3, *inside.shape), dtype=np.float32)
    used = _used(images)
    values = np.stack([images[contrast][inside] for contrast in used], axis=1).astype(np.float64)
    if len(values) < 100 or (values.std(axis=0) == 0).any():
        classes[:, inside] = 1 / 3
        return classes
    belief = _begin(values, [SIGN[contrast] for contrast in used])
    cross = np.zeros((3, 3, 3), dtype=np.float32)
    cross[[0, 2, 1, 1, 1, 1], [1, 1, 0, 2, 1, 1], [1, 1, 1, 1, 0, 2]] = 1
    typical = np.ones(len(values), dtype=bool)
    for _ in range(ROUNDS):
        classes[:, inside] = belief
        neighbours = np.stack([convolve(part, cross, mode="constant")[inside] for part in classes])
        share = neighbours / np.maximum(neighbours.sum(axis=0), 1e-6)
        likelihood = _likelihood(values, belief * typical)
        typical = likelihood.max(axis=0) > -0.5 * FAR**2
        logits = likelihood + COUPLING * share
        belief = np.exp(logits - logits.max(axis=0))
        belief /= belief.sum(axis=0)
    classes[:, inside] = belief
    return classes


def _used(images: Mapping[Contrast, np.ndarray]) -> list[Contrast]:
    first = [c for c in (Contrast.T1, Contrast.T1CE) if c in images][:1]
    return first + [c for c in (Contrast.T2,) if c in images] or [Contrast.FLAIR]


def _begin(values: np.ndarray, signs: list[int]) -> np.ndarray:
    """(3, n) hard classes from the summed ranks of the contrasts, in the order of ``TISSUES``."""
    ranks = sum(sign * values[:, k].argsort().argsort() for k, sign in enumerate(signs))
    place = np.argsort(np.argsort(ranks)) / len(values)
    edges = np.cumsum(list(SHARES.values()))
    kind = np.array([TISSUES.index(name) for name in SHARES])[np.searchsorted(edges[:-1], place, side="right")]
    return (kind == np.arange(3)[:, None]).astype(np.float64)


def _likelihood(values: np.ndarray, belief: np.ndarray) -> np.ndarray:
    """(3, n) log densities, up to a constant, of Gaussians fitted to the voxels weighted by ``belief``.

    They share one covariance: with one each, a wide class takes whatever is odd instead of a tissue.
    """
    means = belief @ values / np.maximum(belief.sum(axis=1, keepdims=True), 1)
    off = values - means[:, None]
    covariance = np.einsum("kn,kni,knj->ij", belief, off, off, optimize=True) / max(belief.sum(), 1)
    whiten = np.linalg.cholesky(np.linalg.inv(covariance + FLOOR**2 * np.eye(values.shape[1])))
    return -0.5 * ((off @ whiten) ** 2).sum(axis=2)
