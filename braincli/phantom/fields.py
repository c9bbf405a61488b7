"""Smooth random fields, the raw material of the generated patient."""

from __future__ import annotations

import numpy as np


def smooth_noise(shape: tuple[int, ...], length: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of unit variance with a correlation length of about ``length`` voxels.

    White noise on nodes ``length`` / 2 apart, convolved with a Gaussian and evaluated at the voxels;
    separable, so that it costs three small matrix products.

    Returns:
        (X, Y, Z) float32.
    """
    step = max(length / 2, 1.0)
    nodes = [int(np.ceil(n / step)) + 5 for n in shape]
    field = rng.standard_normal(nodes, dtype=np.float32)
    for size, count in zip(shape, nodes, strict=True):  # each product moves the axis done to the end
        position = np.arange(size)[:, None] / step + 2
        weights = np.exp(-((position - np.arange(count)) ** 2) / 2)
        field = np.tensordot(field, weights.astype(np.float32), axes=(0, 1))
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)
