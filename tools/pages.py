"""Pages of the documentation that nobody writes: the first page (README), the cards of the models, the help of every
command, and the functions of Python. A hook of mkdocs, which ``mkdocs.yml`` names; ``mkdocs build`` runs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files
from typer.testing import CliRunner

import braincli
from braincli.cli import app

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "https://github.com/braincli/braincli/blob/main/"
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")
PICTURES = (".png", ".jpg", ".svg")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, and the pictures that they show."""
    for uri, text in pages().items():
        files.append(File.generated(config, uri, content=text))
    for uri in ("examples/demo.png",):
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / uri)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links that leave ``docs/`` at the source."""
    return markdown if page.file.generated_by else relinked(markdown, "docs", page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """Leave out the roles that docstrings give to names (``:class:``)."""
    return re.sub(r":(?:mod|class|func|meth|attr|data):(?=<code>)", "", html)


def pages() -> dict[str, str]:
    """Address -> Markdown of every page that is made."""
    made = {"index.md": relinked((ROOT / "README.md").read_text(encoding="utf-8"), "", "index.md")}
    for card in sorted((ROOT / "models").glob("*/README.md")):
        uri = f"models/{card.parent.name}.md"
        made[uri] = relinked(card.read_text(encoding="utf-8"), f"models/{card.parent.name}", uri)
    for name, uri in (("LEADERBOARD", "models/leaderboard.md"), ("SAMPLERS", "models/samplers.md")):
        made[uri] = relinked((ROOT / "models" / f"{name}.md").read_text(encoding="utf-8"), "models", uri)
    made |= {f"commands/{'-'.join(words)}.md": _help(words) for words in commands()}
    return made | {"python-reference.md": _functions()}


def commands(group: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command: (detect), (slurm, status) ..."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name)


def relinked(markdown: str, folder: str, uri: str) -> str:
    """``markdown``, written in ``folder`` of the repository, with links that hold from the page ``uri``.

    Links to pages of the site go there, those to anything else of the repository to its source.
    """
    up = "../" * uri.count("/")

    def link(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        path = (ROOT / folder / target).resolve()
        where = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else target
        if page := _page(where):
            return f"]({up}{page}{anchor if page != 'index.md' else ''})"
        return match[0] if not path.exists() else f"]({SOURCE}{where}{anchor})"

    return LINK.sub(link, markdown)


def _page(where: str) -> str | None:
    """The page that shows the file ``where`` of the repository."""
    if where in {"README.md", "examples/demo.png"}:
        return "index.md" if where == "README.md" else where
    if where.startswith("docs/") and where.endswith(".md"):
        return where.removeprefix("docs/")
    if match := re.fullmatch(r"models/([\w.-]+)/README\.md", where):
        return f"models/{match[1]}.md"
    return {"models/LEADERBOARD.md": "models/leaderboard.md", "models/SAMPLERS.md": "models/samplers.md"}.get(where)


def _help(words: tuple[str, ...]) -> str:
    """The page of a command: what ``--help`` prints."""
    shown = CliRunner().invoke(app, [*words, "--help"], prog_name="braincli", env={"COLUMNS": "100"})
    if shown.exit_code:
        raise RuntimeError(f"braincli {' '.join(words)} --help: {shown.output}")
    return f"# braincli {' '.join(words)}\n\n```text\n{shown.stdout.strip()}\n```\n"


def _functions() -> str:
    """The page of Python: every function of the door, from its docstring."""
    names = [name for name in dir(braincli) if callable(getattr(braincli, name))]
    parts = [f"::: {getattr(braincli, name).__module__}.{getattr(braincli, name).__name__}" for name in names]
    return "\n\n".join(["# Python reference", "All of these are reached as `braincli.<name>`.", *parts]) + "\n"
