"""Rigid transforms of the head for the tests of preprocess."""

from __future__ import annotations

import numpy as np


def turned(degrees: float, shift: tuple[float, float, float]) -> np.ndarray:
    """A rigid transform: a turn about the x axis at the middle of the atlas, then a shift (mm)."""
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    centre = np.array([-120.0, 120.0, 77.0])
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + shift
    return matrix
