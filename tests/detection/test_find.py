"""One case in memory."""

from __future__ import annotations

import time

import numpy as np

from braincli.detection.find import quantiles


def test_quantiles_are_numpys_and_quick() -> None:
    rng = np.random.default_rng(0)
    values = (1000 * rng.gamma(2.0, size=50_000)).astype(np.float32)
    shares = np.concatenate([rng.uniform(size=500), [0, 1, 0.5]]).astype(np.float32)
    expected = np.quantile(values, shares)
    assert np.abs(quantiles(values, shares) - expected).max() < 1e-5 * np.ptp(values)
    begin = time.perf_counter()
    quantiles(np.tile(values, 30), rng.uniform(size=1_500_000).astype(np.float32))
    assert time.perf_counter() - begin < 10
    assert quantiles(np.array([3.0]), np.array([0.0, 1.0])).tolist() == [3, 3]
