"""``braincli cite`` and CITATION.cff say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from braincli.classification.registry import CLASSIFIERS
from braincli.cli import app
from braincli.methods.registry import METHODS
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


def titles(*options: str) -> set[str]:
    return {work["title"] for work in json.loads(cite(*options, "--json"))}


def test_a_model_is_cited_with_its_method_and_its_data() -> None:
    works = {work.key: work.title for work in citations.references()}
    found = titles("--model", "tsgm")
    assert found >= {works[key] for key in ("wang2023tsgm", "zhu2017cyclegan", "menze2015brats", "marcus2007oasis")}
    assert not found & {works[key] for key in ("behrendt2023pddpm", "isensee2019hdbet", "meissen2022challenging")}
    of_baseline = titles("--model", "threshold")
    assert works["meissen2022challenging"] in of_baseline and works["menze2015brats"] not in of_baseline
    result = CliRunner().invoke(app, ["cite", "--model", "nothing"])
    assert result.exit_code == 4 and "no model 'nothing'" in result.stderr


def test_every_method_and_classifier_has_its_paper() -> None:
    known = {*METHODS, *CLASSIFIERS}
    assert len(known) > 40 and not [name for name in known if not citations.chosen([name])]
    assert [work.key for work in citations.chosen(["can"])] == ["kang2019can"]


def test_a_run_is_cited_with_what_it_did(tmp_path: Path) -> None:
    works = {work.key: work.title for work in citations.references()}
    record = tmp_path / "a_record.json"

    def of(command: str, **config: object) -> set[str]:
        facts = {"model": {"name": "mine, elsewhere", "method": "vae"}} if command == "detect" else {}
        record.write_text(json.dumps({"command": command, "braincli": "9.9", "config": config, "facts": facts}))
        return titles("--record", str(record))

    assert works["isensee2019hdbet"] not in of("detect", preprocess=False)
    assert {works["isensee2019hdbet"], works["baur2021autoencoders"]} <= of("detect", preprocess=True)
    prepared = of("preprocess", skip=["n4"], space="native")
    assert works["avants2011ants"] in prepared and works["baur2021autoencoders"] not in prepared
    assert not prepared & {works["tustison2010n4"], works["rohlfing2010sri24"]}
    in_mni = of("preprocess", space="mni152")
    assert works["fonov2011mni"] in in_mni and works["rohlfing2010sri24"] not in in_mni
    assert "braincli 9.9." in cite("--record", str(record)), "the version that ran"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"command": "score"}', '{"command": "detect", "config": 3, "facts": {}}']
)
def test_what_is_no_record_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    result = CliRunner().invoke(app, ["cite", "--record", str(tmp_path / "x.json")])
    assert result.exit_code == 3 and "x.json is no record" in result.stderr
