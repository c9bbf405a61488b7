"""Bootstrap intervals and the sign-flip test."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from braincli.scoring.statistics import bootstrap_interval, sign_flip_test


def test_bootstrap_is_seeded_and_near_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(0.7, 0.1, size=200)
    low, high = bootstrap_interval(values) or (0.0, 0.0)
    half = 1.96 * values.std() / np.sqrt(200)
    assert low == pytest.approx(values.mean() - half, abs=2e-3)
    assert high == pytest.approx(values.mean() + half, abs=2e-3)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval(values, seed=1) != (low, high)


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    intervals = [bootstrap_interval(generator.normal(size=40), rounds=500) or (0, 0) for _ in range(200)]
    covered = sum(low <= 0 <= high for low, high in intervals)
    assert 0.88 < covered / 200 < 0.99


def test_too_few_cases_have_no_interval() -> None:
    assert bootstrap_interval(np.array([0.5])) is None
    assert bootstrap_interval(np.array([0.5, 0.6]), rounds=0) is None


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_small_runs_try_every_sign_pattern(count: int) -> None:
    generator = np.random.default_rng(count)
    first, second = generator.random(count), generator.random(count)
    delta = first - second
    patterns = [abs(np.mean(np.array(signs) * delta)) for signs in product((1, -1), repeat=count)]
    expected = np.mean(np.array(patterns) >= abs(delta.mean()) - 1e-12)
    test = sign_flip_test(first, second)
    assert test is not None and test.exact and test.pairs == count
    assert test.p == pytest.approx(expected)
    assert test.difference == pytest.approx(delta.mean())


def test_random_patterns_agree_with_all_of_them() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.normal(0.05, 0.1, 12), np.zeros(12)
    exact, sampled = sign_flip_test(first, second), sign_flip_test(first, second, rounds=4000)
    assert exact and sampled and exact.exact and not sampled.exact
    assert sampled.p == pytest.approx(exact.p, abs=0.03)


def test_equal_runs_do_not_differ_and_unlike_ones_do() -> None:
    values = np.linspace(0.1, 0.9, 30)
    same = sign_flip_test(values, values)
    assert same is not None and (same.p, same.difference) == (1.0, 0.0)
    apart = sign_flip_test(values + 0.1, values)
    assert apart is not None and apart.p == pytest.approx(1 / 10_001)  # never 0
    swapped = sign_flip_test(values, values + 0.1)
    assert swapped is not None and swapped.p == apart.p  # two-sided
    assert sign_flip_test(np.array([]), np.array([])) is None


def test_p_is_uniform_when_nothing_differs() -> None:
    generator = np.random.default_rng(3)
    found = [sign_flip_test(generator.normal(size=10), generator.normal(size=10), rounds=1024) for _ in range(200)]
    ps = np.array([test.p for test in found if test])
    assert 0.4 < ps.mean() < 0.6
    assert np.mean(ps < 0.05) < 0.12
