"""The voxels: not finite, constant, labels that are none."""

from __future__ import annotations

import numpy as np

from braincli.imaging.checks.problem import Level, Problem, Refused

NON_FINITE_REFUSED = 1e-3  # fraction of voxels that are NaN or infinite


def clean_image(raw: np.ndarray, slope: float, intercept: float) -> tuple[np.ndarray, list[Problem]]:
    """Scaled float32 voxels, with NaN and infinities replaced by 0.

    Raises:
        Refused: more than 0.1 % of the voxels are not finite, or all are equal.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        data = raw.astype(np.float32)
        if (slope, intercept) != (1.0, 0.0):
            data *= np.float32(slope)
            data += np.float32(intercept)
    problems = _replace_non_finite(data)
    low, high = float(data.min()), float(data.max())
    if low == high:
        raise Refused("constant", f"is constant: every voxel is {low:g}.", "Export the scan again.")
    return data, problems


def clean_labels(raw: np.ndarray, slope: float, intercept: float) -> tuple[np.ndarray, list[Problem]]:
    """Labels as int32, rounded; a constant mask is fine (an empty one, say).

    Raises:
        Refused: more than 0.1 % of the voxels are not finite, or a label does not fit into 32 bits.
    """
    problems: list[Problem] = []
    if raw.dtype.kind == "f" or (slope, intercept) != (1.0, 0.0):
        scaled = raw.astype(np.float64) * slope + intercept
        problems += _replace_non_finite(scaled)
        raw = np.rint(scaled)
        if np.abs(raw - scaled).max() > 1e-3:
            text = "is no label image (it has fractions); values are rounded."
            problems.append(Problem(Level.WARNING, "fractional-labels", text, "Is it a probability map, or a scan?"))
    if max(abs(int(raw.min())), abs(int(raw.max()))) > np.iinfo(np.int32).max:
        raise Refused("label-range", "has labels that do not fit into 32 bits.", "Is it a mask?")
    return raw.astype(np.int32), problems


def _replace_non_finite(data: np.ndarray) -> list[Problem]:
    finite = np.isfinite(data)
    count = data.size - int(np.count_nonzero(finite))
    if not count:
        return []
    share = count / data.size
    if share > NON_FINITE_REFUSED:
        text = f"has {count:,} voxels ({share:.1%}) that are NaN or infinite."
        raise Refused("non-finite", text, "Export the scan again, or replace them by 0.")
    data[~finite] = 0
    return [Problem(Level.WARNING, "non-finite", f"has {count:,} voxels that are NaN or infinite; read as 0.")]
