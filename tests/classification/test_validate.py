"""Cross-validation by site and in folds, on a cohort whose classes can be told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from manysites import cohort

from braincli import api
from braincli.errors import UsageError

HOW: dict[str, Any] = {"preset": "tiny", "precision": "fp32", "threads": 1}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = {"basel": ("healthy", "diseased"), "berlin": ("healthy", "diseased"), "london": ("healthy",)}
    return cohort(tmp_path_factory.mktemp("cohort"), 4, plan)


@pytest.fixture(scope="module")
def found(table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    out = tmp_path_factory.mktemp("validation")
    return api.validate_classifier(table, out, **HOW, method=("vanilla", "l2i"), steps=40), out


def test_every_case_is_tested_once_by_what_has_not_seen_its_site(found: tuple[Any, Path]) -> None:
    result, out = found
    lines = [line.split("\t") for line in (out / "predictions.tsv").read_text().splitlines()]
    assert lines[0][:6] == ["method", "id", "site", "held_out", "class", "said"]
    rows = [line for line in lines if line[0] == "l2i"]
    assert len(rows) == len({row[1] for row in rows}) == 20 and all(row[2] == row[3] for row in rows)
    assert set(result.tables) == {"vanilla", "l2i"}


def test_separable_classes_are_separated_at_sites_not_seen(found: tuple[Any, Path]) -> None:
    result, out = found
    for method, table in result.tables.items():
        for site in ("basel", "berlin"):
            assert table[site]["auroc"] > 0.8, (method, site, table[site])
        assert table["london"]["auroc"] is None and table["london"]["counts"] == {"healthy": 4, "diseased": 0}
    assert result.target == ("basel", "berlin") and "source sites" in result.tables["l2i"]
    content = json.loads((out / "figures.json").read_text())
    assert content["figures"]["l2i"]["all"]["cases"] == 20 and "london (healthy)" in content["notes"][0]
    assert len((out / "figures.csv").read_text().splitlines()) == 1 + 2 * 6


def test_outputs_are_not_replaced(found: tuple[Any, Path], table: Path) -> None:
    with pytest.raises(UsageError, match=r"predictions\.tsv exists"):
        api.validate_classifier(table, found[1], **HOW)


def test_folds_deal_out_every_class_of_every_site(table: Path) -> None:
    result = api.validate_classifier(table, **HOW, method="class-aware", folds=2, steps=1)
    held = result.held_out["class-aware"]
    for site in ("basel", "berlin"):
        places = [k for k, name in enumerate(result.results["class-aware"].site) if name == site]
        assert sorted(held[k] for k in places) == ["fold-0"] * 4 + ["fold-1"] * 4


def test_what_cannot_be_tested_is_told(table: Path, tmp_path: Path) -> None:
    lines = [line for line in table.read_text().splitlines() if "berlin" not in line and "basel-healthy" not in line]
    (table.parent / "apart.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=r"No method could be tested\.") as error:
        api.validate_classifier(table.parent / "apart.tsv", **HOW, steps=1)
    assert "l2i without basel: not tested. What is left has no case of class diseased." in error.value.hint
    with pytest.raises(UsageError, match="All cases are of the site x"):
        api.validate_classifier(_one_site(table), **HOW)


def _one_site(table: Path) -> Path:
    rows = [line.split("\t") for line in table.read_text().splitlines() if "basel" in line]
    path = table.parent / "one.tsv"
    path.write_text("id\tt1\tclass\tsite\n" + "".join("\t".join([*row[:3], "x"]) + "\n" for row in rows))
    return path


def test_settings_go_to_the_methods_that_have_them(table: Path) -> None:
    result = api.validate_classifier(
        table, **HOW, method="vanilla,l2i", steps=1, settings={"d": 1.5, "batch": 4}, folds=2
    )  # fmt: skip
    assert set(result.results) == {"vanilla", "l2i"}
    with pytest.raises(UsageError, match="Unknown option --set beta"):
        api.validate_classifier(table, **HOW, method="vanilla,l2i", steps=1, settings={"beta": 1.5})
