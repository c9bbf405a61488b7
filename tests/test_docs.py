"""The papers for newcomers say what is there: rooms, files, commands."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from test_architecture import LEVELS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_drawing_shows_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawing = text.partition("```")[2].partition("```")[0]
    missing = [room for room in LEVELS if room != "__main__" and not re.search(rf"\b{room}\b", drawing)]
    assert not missing, missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if not target.startswith("http")]
    broken = [target for target in links if not (page.parent / target).exists()]
    assert not broken, broken
    modules = set(re.findall(r"`((?:[a-z_]+/)+[a-z_0-9]+\.py)", text))
    lost = [name for name in modules if not any((base / name).exists() for base in (ROOT, ROOT / "braincli"))]
    assert not lost, lost


def test_contributing_names_the_tasks_that_exist() -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    tasks = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    named = set(re.findall(r"nox -s ([a-z]+)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert named and named <= tasks, named - tasks
