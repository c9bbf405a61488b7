"""The README tells the truth: table of methods, exit codes, commands and files."""

from __future__ import annotations

import re
from pathlib import Path

from braincli.cli.common import COMMANDS
from braincli.errors import EXIT_CODES
from braincli.methods import registry

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_method_table_is_the_registry() -> None:
    assert registry.table() in README, "replace the table by braincli.methods.registry.table()"


def test_every_exit_code_is_listed() -> None:
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in README


def test_commands_and_linked_files_exist() -> None:
    used = set(re.findall(r"\bbraincli ([a-z]+)\b(?! is | skull)", README.replace("`braincli", "braincli")))
    commands = {word for word in used if word in COMMANDS}
    assert {"demo", "check", "detect", "preprocess", "train", "calibrate", "score", "models", "cite"} <= commands
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_options_in_the_examples_exist() -> None:
    from typer.main import get_command

    from braincli.cli import app

    known = {
        name
        for command in get_command(app).commands.values()
        for p in command.params
        for name in p.opts  # type: ignore[attr-defined]
    }
    for line in re.findall(r"^ *braincli .*$", README, flags=re.MULTILINE):
        for option in re.findall(r"(?<= )--?[a-z][a-z0-9-]*", line.partition("#")[0].partition("||")[0]):
            assert option in known, (option, line)
