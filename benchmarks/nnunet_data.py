"""A cohort as nnU-Net's voxels, and nnU-Net's voxels on the cohort's own grids (see ``nnunet.py``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from braincli.errors import InputError, ModelError
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.coverage import cover
from braincli.imaging.reading import load_images
from braincli.imaging.slices import on_one_grid
from braincli.imaging.volume import Volume, load, mask_on_grid_of, onto_grid_of, reorient, resample


def coarser(ras: Volume, mm: float | None) -> Volume:
    """The grid of ``ras`` with voxels of ``mm``, on the same field of view; axes that are as coarse already stay.

    With half the resolution a voxel lies in the middle of eight, so that linear interpolation takes their mean.
    """
    factor = np.maximum(1.0, (mm or 0.0) / np.array(ras.spacing))
    shape = np.ceil(np.array(ras.shape) / factor - 1e-6).astype(int)
    affine = ras.affine.copy()
    affine[:3, 3] += ras.affine[:3, :3] @ ((factor - 1) / 2)
    affine[:3, :3] = ras.affine[:3, :3] * factor
    return Volume(np.broadcast_to(np.float32(0), tuple(shape)), affine)


def channels(case: Case, contrasts: Sequence[Contrast], mm: float | None) -> list[Volume]:
    """A volume for each of ``contrasts``: RAS, float32, 0 where there is no brain.

    Raises:
        InputError: one is missing, or a file cannot be used.
    """
    volumes = load_images(case)
    if missing := [contrast.upper() for contrast in contrasts if contrast not in volumes]:
        raise InputError(
            f"{case.id} has no {', '.join(missing)}, and nnU-Net needs every channel of every case.",
            "Name those that all cases have: --contrasts t1,flair.",
        )
    brain = load(case.brain, labels=True) if case.brain else None
    on_one_grid([*volumes.values(), *([brain] if brain is not None else [])])
    inside = cover(volumes, brain).brain
    shown = [reorient(volumes[c].with_data(np.where(inside, volumes[c].data, 0).astype(np.float32))) for c in contrasts]
    return [resample(one, coarser(one, mm)) for one in shown]


def reference(case: Case, grid: Volume) -> Volume:
    """The lesion of ``case`` as bool on the RAS grid of ``grid``, an image of it.

    Raises:
        InputError: it has none.
    """
    if case.lesion is None:
        raise InputError(f"{case.id} has no lesion mask.", "Put <case>_seg.nii.gz beside the scans.")
    placed = reorient(mask_on_grid_of(load(case.lesion, labels=True), grid)[0])
    return placed.with_data(placed.data > 0)


def labels(case: Case, mm: float | None) -> Volume:
    """1 where half of a voxel or more is lesion, else 0; uint8."""
    ras = reference(case, next(iter(load_images(case).values())))
    share = resample(ras.with_data(ras.data.astype(np.float32)), coarser(ras, mm))
    return share.with_data((share.data >= 0.5).astype(np.uint8))


def named(cases: Sequence[Case]) -> dict[str, Case]:
    """Cases by names that nnU-Net can live with: a number, and what of the id is plain."""
    ordered = sorted(cases, key=lambda case: case.id)
    plain = (re.sub(r"[^A-Za-z0-9]+", "-", case.id).strip("-") for case in ordered)
    return {f"{number:03}-{text}": case for number, (text, case) in enumerate(zip(plain, ordered, strict=True), 1)}


def back(values: np.ndarray, case: Case, mm: float | None) -> tuple[Volume, Volume]:
    """A probability (X, Y, Z) on the converted grid -> probability and mask (above 0.5) on the scan's own grid.

    Raises:
        InputError: the sizes differ.
    """
    scan = next(iter(load_images(case).values()))
    ras = reorient(scan)
    grid = coarser(ras, mm)
    if values.shape != grid.shape:
        sizes = " and ".join(" x ".join(map(str, shape)) for shape in (values.shape, grid.shape))
        raise InputError(f"{case.id}: prediction and converted scan have different sizes: {sizes}.", "Convert anew.")
    likely = onto_grid_of(_spread(grid.with_data(values.astype(np.float32)), ras), scan)
    return likely, likely.with_data(likely.data > 0.5)


def _spread(coarse: Volume, ras: Volume) -> Volume:
    """``coarse`` on the finer grid of ``ras``; voxels at the border, beyond the last centre, have its value."""
    edge = np.pad(coarse.data, 1, mode="edge")
    affine = coarse.affine.copy()
    affine[:3, 3] -= coarse.affine[:3, :3].sum(axis=1)
    return resample(Volume(edge, affine), ras)


def probability(folder: Path, key: str) -> np.ndarray:
    """nnU-Net's softmax of the lesion (X, Y, Z), as ``--save_probabilities`` leaves it (classes, Z, Y, X).

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        with np.load(folder / f"{key}.npz") as content:
            return np.ascontiguousarray(content["probabilities"][1].T)
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise ModelError(f"nnU-Net left no probabilities of {key}: {error}", "See nnUNetv2_predict.log.") from None
