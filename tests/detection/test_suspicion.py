"""Suspicion is measured against what is normal at its place."""

from __future__ import annotations

import numpy as np
import pytest

from braincli.detection.suspicion import beyond_normal, log_odds, normally, places, probability


def ball(shift: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    z, y, x = np.ogrid[:20, :40, :36]
    return (z - 8 - shift[0]) ** 2 / 49 + (y - 18 - shift[1]) ** 2 / 196 + (x - 16 - shift[2]) ** 2 / 121 <= 1


def test_odds_and_probabilities_are_each_others_inverse_and_stay_finite() -> None:
    p = np.array([0, 1e-3, 0.5, 0.9, 1], np.float32)
    odds = log_odds(p)
    assert odds.dtype == np.float32 and np.isfinite(odds).all() and odds[2] == 0 and odds[-1] > 10
    np.testing.assert_allclose(probability(odds), p, atol=2e-6)


def test_a_place_is_a_share_of_the_brains_box() -> None:
    here, there = places(ball(), (6, 8, 6)), places(ball((2, 3, 1)), (6, 8, 6))
    for one, other, moved in zip(here, there, (2, 3, 1), strict=True):
        np.testing.assert_allclose(one[:-moved], other[moved:], atol=1e-6)
    z, y, x = here
    assert (y[4], y[32]) == pytest.approx((-0.5 + 4 / 29, 7.5 - 4 / 29)), "the box goes from edge to edge, in 8 cells"
    assert z[0] == -0.5 and x[-1] == 5.5, "what lies beyond is moved to its edge"


def test_what_is_normal_is_taken_off_and_nothing_else_changes() -> None:
    brain = ball()[:, None]
    normal = np.zeros((6, 8, 6), np.float32)
    normal[:, :4] = 2.0
    suspicion = np.where(brain, np.float32(0.8), np.float32(0))
    less = beyond_normal(suspicion, brain, normal)
    assert less.shape == suspicion.shape and not less[~brain].any()
    assert less[8, 0, 8, 16] == pytest.approx(float(probability(log_odds(np.float32(0.8)) - 2)), abs=1e-5)
    assert less[8, 0, 30, 16] == pytest.approx(0.8, abs=1e-5)
    np.testing.assert_allclose(beyond_normal(suspicion, brain, 0 * normal), suspicion, atol=1e-6)
    middle = normally(normal, ball())[8, 18, 16]
    assert 0.5 < middle < 1.5, "linear between cells"
