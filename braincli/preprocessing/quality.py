"""Quality figures of a preprocessed case, and the limits beyond which a person should look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from braincli.imaging.coverage import BRAIN_ML, SHOWN

LIMITS: dict[str, tuple[float, float]] = {
    "brain_ml": BRAIN_ML,
    "atlas_dsc": (0.88, 1.0),
    "atlas_mutual_information": (0.25, float("inf")),
    "affine_determinant": (0.6, 1.6),
    "affine_rotation_degrees": (0.0, 45.0),
    "coverage": SHOWN,
    "coregistration_rotation_degrees": (0.0, 30.0),
    "coregistration_mutual_information": (0.2, float("inf")),
}
WORDS = {
    "brain_ml": "The brain mask holds {value:.0f} ml, an adult's brain {low:.0f} to {high:.0f} ml: look at the mask",
    "atlas_dsc": "The brain overlaps the atlas brain with DSC {value:.2f} (expected at least {low:.2f}): the "
    "registration to the atlas, or the brain mask, may have failed",
    "atlas_mutual_information": "The reference scan shares little information with the atlas ({value:.2f} nats, "
    "expected at least {low:.2f}): the registration to the atlas may have failed",
    "affine_determinant": "The transform to the atlas changes volume by a factor of {value:.2f} (expected {low:.1f} "
    "to {high:.1f}): the registration may have failed",
    "affine_rotation_degrees": "The transform to the atlas turns the head by {value:.0f} degrees (expected at most "
    "{high:.0f}): check the orientation of the scan",
    "coverage": "{what} covers {percent:.0f} % of the brain: the field of view ends inside it",
    "coregistration_rotation_degrees": "{what} was turned by {value:.0f} degrees to match the reference: check it",
    "coregistration_mutual_information": "{what} shares little information with the reference ({value:.2f} nats, "
    "expected at least {low:.2f}): check its alignment",
}


def rotation_degrees(transform: np.ndarray) -> float:
    """Angle of the rotation nearest to the linear part of a (4, 4) transform, in degrees (0..180)."""
    left, _, right = np.linalg.svd(transform[:3, :3])
    cosine = (np.trace(left @ right) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """DSC of two bool masks; 1 for two empty ones."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def each(figures: dict[str, Any]) -> Iterator[tuple[str, str, float, tuple[float, float]]]:
    """Name, contrast (or empty), value and limits of every figure that has limits; figures per contrast are dicts."""
    for name, limits in LIMITS.items():
        values = figures.get(name)
        for what, value in (values if isinstance(values, dict) else {"": values}).items():
            if value is not None:
                yield name, what, value, limits


def outside(figures: dict[str, Any]) -> list[str]:
    """The figures beyond their limits, as ``name`` or ``name of contrast``."""
    beyond = [(name, what) for name, what, value, (low, high) in each(figures) if not low <= value <= high]
    return [f"{name} of {what}" if what else name for name, what in beyond]


def warnings(figures: dict[str, Any]) -> list[str]:
    """One sentence for every figure outside :data:`LIMITS`."""
    sentences = []
    for name, what, value, (low, high) in each(figures):
        if not low <= value <= high:
            text = WORDS[name].format(what=what, value=value, low=low, high=high, percent=100 * value)
            sentences.append(f"{text}.")
    return sentences
