"""Accuracy, kappa and AUROC by hand, and what one class leaves undefined."""

from __future__ import annotations

import numpy as np
import pytest

from braincli.classification.figures import Classified, as_csv, as_table, auroc, by_site, kappa


def classified(label: list[int], second: list[float], site: list[str] | None = None) -> Classified:
    p = np.array(second)
    names = tuple(f"c{k}" for k in range(len(label)))
    return Classified(
        names, tuple(site or ["a"] * len(label)), ("healthy", "ms"), np.array(label), np.stack([1 - p, p], 1)
    )


def test_kappa_by_hand() -> None:
    """Of 10 agree 7; chance is 0.6 * 0.5 + 0.4 * 0.5 = 0.5: (0.7 - 0.5) / 0.5."""
    label = np.array([0] * 5 + [1] * 5)
    said = np.array([0, 0, 0, 0, 1, 0, 0, 1, 1, 1])
    assert kappa(said, label) == pytest.approx(0.4)
    assert kappa(np.zeros(4, int), np.zeros(4, int)) is None
    assert kappa(np.zeros(4, int), np.array([0, 0, 1, 1])) == 0


def test_auroc_by_hand() -> None:
    """Of 2 x 2 pairs one is in order, one ties, two are not."""
    p = np.array([0.2, 0.9, 0.9, 0.1])
    assert auroc(np.stack([1 - p, p], 1), np.array([0, 0, 1, 1])) == pytest.approx((1 + 0.5) / 4)
    three = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    assert auroc(three, np.array([0, 1, 2])) == 1
    assert auroc(three, np.array([2, 2, 2])) is None


def test_a_site_with_one_class_has_an_accuracy_alone() -> None:
    result = classified([0, 0, 0, 1, 1], [0.1, 0.2, 0.9, 0.8, 0.3], ["a", "a", "a", "b", "b"])
    table = by_site(result)
    assert table["a"] == {
        "cases": 3, "counts": {"healthy": 3, "ms": 0}, "accuracy": pytest.approx(2 / 3), "kappa": None, "auroc": None
    }  # fmt: skip
    assert table["all"]["auroc"] == pytest.approx(4 / 6) and table["all"]["accuracy"] == pytest.approx(0.6)
    text = as_table({"l2i": table}, result.classes)
    assert text.splitlines()[1].split() == ["l2i", "a", "3", "0", "0.667", "-", "-"]
    assert as_csv({"l2i": table}, result.classes).splitlines()[2] == "l2i,b,0,2,0.5,,"


def test_target_and_source_sites_are_told_apart() -> None:
    result = classified([0, 1, 0, 1], [0.1, 0.9, 0.9, 0.1], ["a", "a", "b", "c"])
    table = by_site(result, ["a"])
    assert table["target sites"]["accuracy"] == 1 and table["source sites"]["accuracy"] == 0
    assert "target sites" not in by_site(result, ["a", "b", "c"])
