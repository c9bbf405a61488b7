"""Quality limits speak in words."""

from __future__ import annotations

import numpy as np
import pytest
from heads import turned

from braincli.preprocessing import quality


def test_rotation_and_dice() -> None:
    assert quality.rotation_degrees(turned(25.0, (1, 2, 3)) @ np.diag([1.2, 0.9, 1, 1])) == pytest.approx(25, abs=2)
    empty, full = np.zeros(4, bool), np.ones(4, bool)
    assert (quality.dice(empty, empty), quality.dice(empty, full), quality.dice(full, full)) == (1, 0, 1)


def test_limits_speak() -> None:
    assert quality.warnings({"brain_ml": 1400.0, "atlas_dsc": 0.95, "coverage": {"t1": 1.0}}) == []
    said = quality.warnings({"brain_ml": 300.0, "coverage": {"t1": 1.0, "flair": 0.5}})
    assert len(said) == 2
    assert "300 ml" in said[0] and "flair covers 50 %" in said[1]
