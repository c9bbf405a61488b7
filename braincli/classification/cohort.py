"""Cases with a class and a site: what can be learnt from them, and what cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from braincli.errors import InputError, UsageError
from braincli.imaging.case import Case
from braincli.imaging.names import Contrast
from braincli.wording import counted

FIRST = ("healthy", "control")  # classes that are named first where they are there: what the others are compared with
HINT = "Name the columns with --label and --site; every case needs both."


@dataclass(frozen=True)
class Cohort:
    """Labelled cases.

    Attributes:
        cases: sorted by id.
        classes, sites: names, in the order of their numbers.
        label, site: (N,) number of each case's class and site.
    """

    cases: tuple[Case, ...]
    classes: tuple[str, ...]
    sites: tuple[str, ...]
    label: np.ndarray
    site: np.ndarray

    def rows(self, chosen: np.ndarray) -> Cohort:
        """The cases ``chosen`` (indices) alone, under the same numbers."""
        cases = tuple(self.cases[row] for row in chosen)
        return replace(self, cases=cases, label=self.label[chosen], site=self.site[chosen])

    def of_site(self, number: int) -> set[str]:
        """Names of the classes that a site has."""
        return {self.classes[k] for k in self.label[self.site == number]}

    def present(self) -> list[int]:
        """Numbers of the sites that have cases."""
        return sorted(set(self.site.tolist()))

    def whole(self) -> tuple[str, ...]:
        """Sites that have every class."""
        return tuple(self.sites[k] for k in self.present() if len(self.of_site(k)) == len(self.classes))


def labelled(cases: Sequence[Case], contrast: Contrast, label: str, site: str) -> Cohort:
    """``cases`` with their classes and sites.

    Args:
        label, site: columns of the manifest; ``group`` is the column that says healthy or diseased.

    Raises:
        InputError: a case cannot be used, lacks ``contrast``, its class or its site; or there is one class only.
    """
    if not cases:
        raise InputError("There are no cases to classify.", "Name a manifest (.tsv) with prepared cases.")
    ordered = tuple(sorted(cases, key=lambda case: case.id))
    for case in ordered:
        if case.problem is not None:
            raise case.problem
        if contrast not in case.images:
            raise InputError(f"{case.id} has no {contrast}.", "Choose another --contrast, or take the case away.")
    given = [_fact(case, label, ordered) for case in ordered], [_fact(case, site, ordered) for case in ordered]
    classes = tuple(sorted(set(given[0]), key=lambda name: (name not in FIRST, name)))
    sites = tuple(sorted(set(given[1])))
    if len(classes) < 2:
        raise InputError(
            f"The only class is {classes[0]} ({counted(len(ordered), 'case')}): there is nothing to tell apart.",
            f"Add cases of another class (column {label}).",
        )
    return Cohort(
        ordered, classes, sites,
        np.array([classes.index(name) for name in given[0]]), np.array([sites.index(name) for name in given[1]]),
    )  # fmt: skip


def fact(case: Case, column: str) -> str | None:
    """What the manifest says of ``case`` in ``column``."""
    return case.group if column == "group" else case.facts.get(column)


def _fact(case: Case, column: str, others: Iterable[Case]) -> str:
    value = fact(case, column)
    if value is None:
        if all(fact(other, column) is None for other in others):
            known = sorted({name for other in others for name in other.facts} | {"group"})
            raise InputError(f"The manifest has no column {column!r}.", f"{HINT} Columns: {', '.join(known)}.")
        raise InputError(f"{case.id} has no {column}.", HINT)
    return value


def targets(cohort: Cohort, wanted: Sequence[str]) -> np.ndarray:
    """(N,) bool: cases of the target sites: ``wanted``; without it, all that have every class; with none, every site.

    Raises:
        UsageError: no such site.
    """
    if unknown := [name for name in wanted if name not in cohort.sites]:
        raise UsageError(f"There is no site {unknown[0]!r}.", f"Sites: {', '.join(cohort.sites)}.")
    names = tuple(wanted) or cohort.whole()
    if not names:
        return np.ones(len(cohort.cases), bool)
    return np.isin(cohort.site, [cohort.sites.index(name) for name in names])


def refuse_targets(cohort: Cohort, target: np.ndarray, method: str, *, pairs: bool, adapts: bool) -> None:
    """Raise where ``method`` cannot learn from such target cases.

    Args:
        pairs: it needs target cases of every class.
        adapts: it needs target cases, and other ones of every class.

    Raises:
        UsageError: they are not there.
    """
    inside, outside = (set(cohort.label[rows].tolist()) for rows in (target, ~target))
    if adapts and (not inside or len(outside) < len(cohort.classes)):
        raise UsageError(
            f"{method} adapts to target sites without their labels: it needs some, and every class at the others.",
            "Name them with --target.",
        )
    if pairs and (lacking := [name for k, name in enumerate(cohort.classes) if k not in inside]):
        raise UsageError(
            f"The target sites have no case of class {lacking[0]}, which {method} learns from them.",
            "Name sites with --target that have every class.",
        )


def cautions(cohort: Cohort, target: np.ndarray) -> list[str]:
    """What cannot be learnt from such a cohort, in sentences."""
    single = {cohort.sites[k]: next(iter(found)) for k in cohort.present() if len(found := cohort.of_site(k)) == 1}
    if not single:
        return []
    told = ", ".join(f"{site} ({name})" for site, name in list(single.items())[:6])
    told += f" and {len(single) - 6} more" if len(single) > 6 else ""
    if len(single) == len(cohort.present()):
        return [
            f"no site has more than one class ({told}): nothing here can tell the class from the site, and a "
            "classifier of sites would look as good."
        ]
    names = [cohort.sites[k] for k in cohort.present() if target[cohort.site == k].any()]
    return [f"sites with one class: {told}; what class is, and not site, is learnt from {', '.join(names)} alone."]


def counts(cohort: Cohort) -> dict[str, dict[str, int]]:
    """Cases of each class, by site."""
    return {
        cohort.sites[k]: dict(
            sorted(Counter(cohort.classes[n] for n in cohort.label[cohort.site == k].tolist()).items())
        )
        for k in cohort.present()
    }
