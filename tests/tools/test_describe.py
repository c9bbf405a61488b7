"""What other systems read of the command line: descriptors for Boutiques, the definition for Apptainer."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from braincli.errors import EXIT_CODES

ROOT = Path(__file__).resolve().parents[2]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("describe", ROOT / "tools" / "describe.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


describe = load()
VERBS = list(describe.VERBS)


def test_what_is_committed_is_what_the_command_line_says() -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in describe.files().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    assert not stale, f"out of date, run: python tools/describe.py ({', '.join(stale)})"


def test_a_new_option_makes_them_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    before = describe.files()
    command = describe.commands()["detect"]
    command.params.append(typer.main.get_command(typer.Typer(callback=lambda glow: None)).params[0])
    monkeypatch.setattr(describe, "commands", lambda: {"detect": command, "preprocess": command, "score": command})
    assert all(describe.files()[path] != text for path, text in before.items())


@pytest.mark.parametrize("verb", VERBS)
def test_a_descriptor_holds_to_the_schema_and_to_the_options(verb: str) -> None:
    boutiques = pytest.importorskip("boutiques", reason="boutiques is not installed (extra dev)")
    path = ROOT / "boutiques" / f"braincli-{verb}.json"
    boutiques.validate(str(path))
    content = json.loads(path.read_text(encoding="utf-8"))
    names = {param.name for param in describe.commands()[verb].params} - {"help"}
    assert {each["id"] for each in content["inputs"]} == names
    assert {each["code"]: each["description"] for each in content["error-codes"]} == {
        code: text for code, text in EXIT_CODES.items() if code
    }
    types = {each["id"]: each["type"] for each in content["inputs"]}
    assert types["jobs"] == "Number" and types["overwrite"] == "Flag" and types["output"] == "String"
    wrong = content | {"inputs": [{"id": "typo", "name": "typo", "type": "Flagg"}]}
    with pytest.raises(boutiques.DescriptorValidationError) as refused:
        boutiques.validate(json.dumps(wrong))
    assert "Flagg" in str(refused.value), "the validator does validate"


GIVEN: dict[str, dict[str, Any]] = {
    "detect": {
        "inputs": ["sub 01", "cohort.tsv"], "output": "out", "model": "tsgm", "figure": True, "threads": 2,
        "threshold": 0.25, "on_oom": "cpu", "restored": True,
    },
    "preprocess": {
        "inputs": ["in"], "output": "ready", "skip": ["n4", "atlas"], "percentiles": [2, 98], "bet_mode": "accurate",
    },
    "score": {"prediction": "out", "reference": "ref", "output": "scores", "connectivity": "6", "slices": True},
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_the_command_line_of_a_descriptor_is_understood(verb: str, tmp_path: Path) -> None:
    """Boutiques fills in a descriptor, and the command parses what comes of it."""
    boutiques = pytest.importorskip("boutiques", reason="boutiques is not installed (extra dev)")
    invocation = tmp_path / "invocation.json"
    invocation.write_text(json.dumps(GIVEN[verb]))
    done = boutiques.execute("simulate", str(ROOT / "boutiques" / f"braincli-{verb}.json"), "-i", str(invocation))
    program, name, *words = shlex.split(done.shell_command)
    assert (program, name) == ("braincli", verb)
    parsed = describe.commands()[verb].make_context(name, words).params
    for key, value in GIVEN[verb].items():
        wanted = key != "figure" if isinstance(value, bool) else value  # what is on by itself can be turned off
        assert plain(parsed[key]) == plain(wanted), key


def plain(value: Any) -> Any:
    """Numbers and paths as text, and sequences as lists of it."""
    if isinstance(value, bool):
        return value
    return [str(each) for each in value] if isinstance(value, list | tuple) else str(value)


def sections() -> dict[str, str]:
    text = (ROOT / "Apptainer.def").read_text(encoding="utf-8")
    return dict(re.findall(r"^%(.+)\n((?:(?!%).*\n?)*)", text, re.MULTILINE))


def test_the_apptainer_definition_is_the_dockerfile_s() -> None:
    text, found = (ROOT / "Apptainer.def").read_text(encoding="utf-8"), sections()
    assert re.search(r"^Bootstrap: docker\nFrom: python:3\.\d+-slim$", text, re.MULTILINE)
    apps = [f"{kind} {verb}" for verb in VERBS for kind in ("apprun", "apphelp")]
    assert list(found) == [
        "arguments", "files", "post", "environment", "runscript", "test", "labels", "help", *apps,
    ]  # fmt: skip
    for line in found["files"].split("\n"):
        if source := line.split()[:1]:
            assert (ROOT / source[0]).exists(), line
    docker = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert found["arguments"].strip().partition("=")[2] in docker and "BRAINCLI_OFFLINE=1" in found["environment"]
    assert all(f"{flag}" in found["apphelp detect"] for flag in ("--anomaly-map:", "--model MODEL:", "--no-report:"))


@pytest.mark.parametrize("name", ["post", "environment", "runscript", "test", "apprun detect"])
def test_its_scripts_are_scripts(name: str) -> None:
    script = sections()[name].replace("{{ TORCH_INDEX }}", "https://pypi.org/simple")
    assert script.strip() and subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
