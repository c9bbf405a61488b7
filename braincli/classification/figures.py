"""Accuracy, Cohen's kappa and AUROC of classified cases: over all and by site."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from braincli.runtime.files import safe_cell
from braincli.scoring.curves import curve
from braincli.wording import aligned

NAMES = ("accuracy", "kappa", "auroc")
FILES = ("predictions.tsv", "figures.csv", "figures.json")  # of validate and predict


@dataclass(frozen=True)
class Classified:
    """What was said of labelled cases.

    Attributes:
        ids: of the N cases; site: the site of each.
        classes: names of the n classes.
        label: (N,) number of the true class.
        probability: (N, n), rows sum to 1.
    """

    ids: tuple[str, ...]
    site: tuple[str, ...]
    classes: tuple[str, ...]
    label: np.ndarray
    probability: np.ndarray

    def where(self, chosen: np.ndarray) -> Classified:
        """The cases ``chosen`` (bool) alone."""
        rows = np.flatnonzero(chosen)
        ids, site = (tuple(names[row] for row in rows) for names in (self.ids, self.site))
        return Classified(ids, site, self.classes, self.label[rows], self.probability[rows])

    @property
    def said(self) -> np.ndarray:
        """(N,) number of the likeliest class."""
        return np.asarray(self.probability.argmax(axis=1))

    def figures(self) -> dict[str, Any]:
        """How many cases of each class there are, and the three figures; None where one is not defined.

        With one class alone there is nothing to tell apart: the accuracy is the share of it that is recognised, kappa
        and AUROC are not defined.
        """
        counts = {name: int((self.label == k).sum()) for k, name in enumerate(self.classes)}
        several = sum(count > 0 for count in counts.values()) > 1
        return {
            "cases": len(self.label), "counts": counts,
            "accuracy": float((self.said == self.label).mean()) if len(self.label) else None,
            "kappa": kappa(self.said, self.label) if several else None,
            "auroc": auroc(self.probability, self.label) if several else None,
        }  # fmt: skip


def kappa(said: np.ndarray, label: np.ndarray) -> float | None:
    """Cohen's kappa (1960) of two (N,) arrays of class numbers: agreement beyond chance; None where chance is all."""
    numbers = np.union1d(said, label)
    agreed = float((said == label).mean())
    chance = float(sum((said == k).mean() * (label == k).mean() for k in numbers))
    return None if chance >= 1 else (agreed - chance) / (1 - chance)


def auroc(probability: np.ndarray, label: np.ndarray) -> float | None:
    """Area under the ROC curve of (N, n) probabilities: of two classes that of the second; of more the mean of each
    class against the others, of those that are there. Ties count half. None where there is one class alone."""
    numbers = [1] if probability.shape[1] == 2 else range(probability.shape[1])
    areas = [curve(score=probability[:, k], ref=label == k).auroc() for k in numbers]
    known = [area for area in areas if area is not None]
    return float(np.mean(known)) if known else None


def by_site(result: Classified, target: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """The figures of every site; of all together (``all``), and of target sites and the others, where both are there.

    Args:
        target: names of the target sites.
    """
    site = np.array(result.site)
    table = {name: result.where(site == name).figures() for name in sorted(set(result.site))}
    inside = np.isin(site, list(target))
    if inside.any() and not inside.all():
        table |= {"target sites": result.where(inside).figures(), "source sites": result.where(~inside).figures()}
    return table | {"all": result.figures()}


def as_table(tables: Mapping[str, Mapping[str, Mapping[str, Any]]], classes: Sequence[str]) -> str:
    """Plain text for a terminal: a line per method and site."""
    head = ["method", "site", *classes, *("accuracy", "kappa", "AUROC")]
    rows = [
        [method, site, *(str(row["counts"][name]) for name in classes), *(_number(row[name]) for name in NAMES)]
        for method, table in tables.items()
        for site, row in table.items()
    ]
    return "\n".join(aligned([head, *rows], left=2))


def as_csv(tables: Mapping[str, Mapping[str, Mapping[str, Any]]], classes: Sequence[str]) -> str:
    """:func:`as_table` as CSV; what is not defined is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(safe_cell, ["method", "site", *classes, *NAMES]))
    for method, table in tables.items():
        for site, row in table.items():
            values = ["" if row[name] is None else f"{row[name]:.6g}" for name in NAMES]
            cells = [method, site, *(str(row["counts"][name]) for name in classes), *values]
            writer.writerow(map(safe_cell, cells))
    return stream.getvalue()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
