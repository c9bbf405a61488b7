"""The site builds with every link strict, and has a page for each command, shipped model and public function."""

from __future__ import annotations

import html
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import braincli
from braincli.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (extra docs)")
    return load("pages")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="mkdocs-material is not installed (extra docs)")
    folder: Path = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(path: Path) -> str:
    """What a reader sees of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", path.read_text(encoding="utf-8"))).split())


def commands(command: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(command, "commands", {})
    return found


@pytest.mark.long
def test_every_command_has_its_page_with_every_option(site: Path) -> None:
    verbs = commands(typer.main.get_command(app))
    assert {"detect", "weights", "slurm"} <= set(verbs)
    below = {f"{name}-{each}": one for name, verb in verbs.items() for each, one in commands(verb).items()}
    for name, command in (verbs | below).items():
        text = words(site / "commands" / f"{name}.html")
        for option in (max(param.opts, key=len) for param in command.params if param.param_type_name == "option"):
            assert option in text, (name, option)


@pytest.mark.long
def test_every_shipped_model_has_its_card(site: Path) -> None:
    models = [path.parent.name for path in ROOT.glob("models/*/model.json")]
    table = words(site / "which-model.html")
    assert "tsgm" in models
    for name in models:
        assert "Training" in words(site / "models" / f"{name}.html")
        assert f"models/{name}.html" in (site / "which-model.html").read_text(encoding="utf-8"), name
    assert "<!-- table" not in table and "| exit code" not in words(site / "faq.html")


@pytest.mark.long
def test_every_public_function_has_its_page(site: Path) -> None:
    names = [name for name in braincli.__all__ if name not in ("__version__", "demo")]
    for name in names:
        text = words(site / "reference" / f"{name}.html")
        doc = (getattr(braincli, name).__doc__ or "").split("\n")[0]
        assert doc and doc.replace("`", "")[:40] in text, name
        assert ":func:" not in text and ">>>" in text, name


@pytest.mark.long
def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^>]*>"
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    assert not [found for page in pages for found in re.findall(fetched, page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_a_page_are_commands(page: Path) -> None:
    """Every line of code that calls braincli is parsed by it: no option that is not there, none that is misspelt."""
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    for line in lines:
        if line.startswith("braincli ") and "..." not in line:
            for call in line.partition(" #")[0].split(" && "):
                parsed(shlex.split(call)[1:])


def parsed(args: list[str]) -> None:
    command = typer.main.get_command(app)
    while commands(command):
        command, args = commands(command)[args[0]], args[1:]
    command.make_context("braincli", list(args), resilient_parsing=False)


def test_a_link_that_leads_nowhere_is_a_warning(pages: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    from mkdocs.structure.files import Files

    found = pages._target("../examples/nowhere.sh", "index.md", "docs/index.md", Files([]))
    assert found == f"{pages.URL}/examples/nowhere.sh"
    assert "docs/index.md: there is no examples/nowhere.sh" in caplog.text


def test_what_only_sphinx_understands_is_made_plain() -> None:
    pytest.importorskip("griffe", reason="griffe is not installed (extra docs)")
    plain = load("docstrings").plain
    assert plain("see :func:`~braincli.api.detect` and :mod:`braincli.api`.") == "see `detect` and `braincli.api`."
    assert plain("Text.\n\n    Example:\n        >>> 1") == "Text.\n\n    Examples:\n        >>> 1"
