"""Classes and sites from a manifest: what is refused, and what is said that cannot be learnt."""

from __future__ import annotations

from pathlib import Path

import pytest

from braincli.classification.cohort import Cohort, cautions, counts, labelled, refuse_targets, targets
from braincli.errors import InputError, UsageError
from braincli.imaging.case import Case
from braincli.imaging.names import Contrast


def cases(*rows: tuple[str, str]) -> list[Case]:
    """(class, site) each; empty: not told."""
    facts = [{k: v for k, v in (("class", label), ("site", site)) if v} for label, site in rows]
    return [Case(f"c{n}", {Contrast.T1: Path("x.nii.gz")}, facts=fact) for n, fact in enumerate(facts)]


def read(*rows: tuple[str, str]) -> Cohort:
    return labelled(cases(*rows), Contrast.T1, "class", "site")


MIXED = (("ms", "a"), ("healthy", "a"), ("healthy", "b"), ("ms", "c"))


def test_healthy_is_the_first_class() -> None:
    found = read(*MIXED)
    assert found.classes == ("healthy", "ms") and found.sites == ("a", "b", "c")
    assert found.label.tolist() == [1, 0, 0, 1] and found.site.tolist() == [0, 0, 1, 2]
    assert counts(found) == {"a": {"healthy": 1, "ms": 1}, "b": {"healthy": 1}, "c": {"ms": 1}}


def test_group_is_a_column_too() -> None:
    rows = [Case("x", {Contrast.T1: Path("x")}, group=group, facts={"site": "a"}) for group in ("healthy", "diseased")]
    assert labelled(rows, Contrast.T1, "group", "site").classes == ("healthy", "diseased")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("", "a"), ("", "b")], "The manifest has no column 'class'"),
        ([("ms", ""), ("healthy", "")], "The manifest has no column 'site'"),
        ([("ms", "a"), ("", "b")], "c1 has no class"),
        ([("ms", "a"), ("ms", "b")], r"The only class is ms \(2 cases\): there is nothing to tell apart"),
        ([], "There are no cases to classify"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(rows: list[tuple[str, str]], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read(*rows)


def test_problems_of_cases_and_missing_contrasts_are_told() -> None:
    with pytest.raises(InputError, match="the id x occurs twice"):
        labelled([Case("x", problem=InputError("cohort.tsv: the id x occurs twice."))], Contrast.T1, "class", "site")
    with pytest.raises(InputError, match="c0 has no flair"):
        labelled(cases(*MIXED), Contrast.FLAIR, "class", "site")


def test_targets_are_the_sites_with_every_class() -> None:
    found = read(*MIXED)
    assert targets(found, ()).tolist() == [True, True, False, False]
    assert targets(found, ("b", "c")).tolist() == [False, False, True, True]
    assert targets(read(("ms", "a"), ("healthy", "b")), ()).all()
    with pytest.raises(UsageError, match="There is no site 'd'"):
        targets(found, ("d",))


def test_methods_say_which_targets_they_cannot_learn_from() -> None:
    found = read(*MIXED)
    with pytest.raises(UsageError, match="no case of class ms, which l2i learns from them"):
        refuse_targets(found, targets(found, ("b",)), "l2i", pairs=True, adapts=False)
    with pytest.raises(UsageError, match="can adapts to target sites without their labels"):
        refuse_targets(found, targets(found, ("a", "b")), "can", pairs=False, adapts=True)
    refuse_targets(found, targets(found, ("b",)), "can", pairs=False, adapts=True)


def test_sites_with_one_class_are_named() -> None:
    found = read(*MIXED)
    assert cautions(found, targets(found, ())) == [
        "sites with one class: b (healthy), c (ms); what class is, and not site, is learnt from a alone."
    ]
    apart = read(("ms", "a"), ("healthy", "b"))
    assert cautions(apart, targets(apart, ()))[0].startswith("no site has more than one class (a (ms), b (healthy))")
    assert not cautions(read(("ms", "a"), ("healthy", "a")), targets(found, ()))
