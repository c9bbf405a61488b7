"""How sure a mean is, and whether two runs differ: bootstrap intervals and the paired sign-flip test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CHUNK = 2_000_000  # random numbers drawn at once


def bootstrap_interval(values: np.ndarray, *, rounds: int = 10_000, seed: int = 0) -> tuple[float, float] | None:
    """Percentile bootstrap 95 % interval of the mean over cases.

    Args:
        values: (N,) one finite figure per case.

    Returns:
        Lower and upper bound; None for fewer than two cases or without rounds.
    """
    count = len(values)
    if count < 2 or rounds < 1:
        return None
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK // count)
    means = [
        values[generator.integers(count, size=(min(step, rounds - begin), count))].mean(axis=1)
        for begin in range(0, rounds, step)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class PairedTest:
    """Outcome of :func:`sign_flip_test`; ``p`` is two-sided, ``exact`` if all sign patterns were tried."""

    difference: float
    p: float
    pairs: int
    exact: bool


def sign_flip_test(first: np.ndarray, second: np.ndarray, *, rounds: int = 10_000, seed: int = 0) -> PairedTest | None:
    """Paired two-sided permutation test on the mean difference ``first - second`` of (N,) figures.

    Under the null hypothesis each difference may as well have the other sign. All 2^N sign patterns are tried
    where they are no more than ``rounds``; else ``rounds`` random ones, and p = (1 + hits) / (1 + rounds).

    Returns:
        None without pairs or rounds.
    """
    delta = np.asarray(first, float) - np.asarray(second, float)
    count = len(delta)
    if not count or rounds < 1:
        return None
    observed = abs(delta.mean()) * (1 - 1e-12) - 1e-15  # a pattern that ties with the observed one counts as a hit
    if count < 63 and 1 << count <= rounds:
        patterns = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
        share = np.mean(np.abs((1 - 2 * patterns) @ delta) / count >= observed)
        return PairedTest(float(delta.mean()), float(share), count, True)
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK // count)
    hits = 0
    for begin in range(0, rounds, step):
        signs = 1 - 2 * generator.integers(2, size=(min(step, rounds - begin), count))
        hits += int(np.count_nonzero(np.abs(signs @ delta) / count >= observed))
    return PairedTest(float(delta.mean()), (1 + hits) / (1 + rounds), count, False)
