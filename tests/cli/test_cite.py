"""``braincli cite`` and CITATION.cff say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from braincli.cli import app
from braincli.reporting import citations

ROOT = Path(__file__).resolve().parents[2]


def cite(*options: str) -> str:
    result = CliRunner().invoke(app, ["cite", *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_citation_file_is_what_the_command_writes() -> None:
    assert (ROOT / "CITATION.cff").read_text(encoding="utf-8") == cite("--cff"), "braincli cite --cff > CITATION.cff"


def test_citation_file_is_valid_yaml_with_the_needed_keys() -> None:
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load(cite("--cff"))
    assert content["cff-version"] == "1.2.0" and content["license"] == "Apache-2.0"
    assert {"message", "title", "authors", "version"} <= set(content)
    for reference in content["references"]:
        assert {"type", "title", "authors", "year", "url"} <= set(reference)
        assert all({"family-names", "given-names"} <= set(a) or "name" in a for a in reference["authors"])


def test_every_work_is_in_every_form() -> None:
    text, bibtex = cite(), cite("--bibtex")
    works = citations.references()
    assert len({work.key for work in works}) == len(works) >= 15
    for work in works:
        assert work.title in text and work.url in text
        assert f"{{{work.key}," in bibtex
        assert work.doi or work.arxiv or work.page.startswith("https://"), f"{work.key} cannot be found"
    assert bibtex.count("{") == bibtex.count("}")


def test_identifiers_have_their_form() -> None:
    for work in citations.references():
        assert not work.doi or re.fullmatch(r"10\.\d{4,}/\S+", work.doi), work.key
        assert not work.arxiv or re.fullmatch(r"\d{4}\.\d{4,5}", work.arxiv), work.key


def test_forms_exclude_each_other() -> None:
    assert CliRunner().invoke(app, ["cite", "--bibtex", "--cff"]).exit_code == 2
