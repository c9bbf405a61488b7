"""What mkdocs adds to the pages in docs/: model cards, commands and functions, each from where it is written down.

A hook of mkdocs (``hooks`` in mkdocs.yml). Nothing that it makes lies in the repository, so nothing can go out of step:
cards come from ``models/``, help from the options that ``braincli`` itself parses, the reference from docstrings.
"""

from __future__ import annotations

import html
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import braincli
from braincli.cli import app
from braincli.errors import EXIT_CODES
from braincli.preprocessing.quality import LIMITS

ROOT = Path(__file__).resolve().parents[1]
CARDS = sorted(ROOT.glob("models/*/README.md"))
URL = "https://github.com/braincli/braincli/blob/main"
COPIED = {  # page -> the file that it is
    "readme.md": "README.md",
    "protocols.md": "examples/protocols/README.md",
    **{f"models/{card.parent.name}.md": f"models/{card.parent.name}/README.md" for card in CARDS},
    "models/leaderboard.md": "models/LEADERBOARD.md",
    "models/crossvalidated.md": "models/CROSSVALIDATED.md",
    "models/samplers.md": "models/SAMPLERS.md",
}
PAGE_OF = {origin: page for page, origin in COPIED.items()}
MODELS = "{{models}}"  # in tables that several pages show: wherever the cards lie from there
PICTURES = ("examples/demo.png",)
MODULES = {"options": "braincli.config", "errors": "braincli.errors"}
log = logging.getLogger("mkdocs.hooks.braincli")  # a warning of it ends a strict build


def pages() -> dict[str, str]:
    """Markdown of every page that is made, by its path in the site."""
    made = {page: (ROOT / origin).read_text(encoding="utf-8") for page, origin in COPIED.items()}
    made["models/index.md"] = f"# Model zoo\n\nEach shipped model with the figures of its card.\n\n{models_table()}\n"
    made |= {f"commands/{'-'.join(path)}.md": command_page(path, command) for path, command in commands()}
    made["commands/index.md"] = "# Commands\n\n" + "\n".join(_listed(path, command) for path, command in commands())
    made |= {f"reference/{name}.md": _reference(where, name) for name, where in functions().items()}
    made |= {f"reference/{name}.md": _reference(module, module) for name, module in MODULES.items()}
    made["reference/index.md"] = _reference("braincli.api", "Python reference", "{members: false}")
    return made


def functions() -> dict[str, str]:
    """The functions of the Python door, and where each lies; the demo is for the shell."""
    return {name: f"braincli.{where.replace(':', '.')}" for name, where in braincli.VERBS.items() if name != "demo"}


def _reference(target: str, title: str, options: str = "{heading_level: 1, show_root_heading: true}") -> str:
    return f"---\ntitle: {title}\n---\n\n::: {target}\n    options: {options}\n"


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with its words: ``("detect",)``, ``("weights", "list")`` ..."""
    yield from _below((), typer.main.get_command(app))


def _below(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, each in getattr(command, "commands", {}).items():
        if not each.hidden:
            yield (*path, name), each
            yield from _below((*path, name), each)


def command_page(path: tuple[str, ...], command: Any) -> str:
    """What ``--help`` says, as a page: the same words, defaults and choices."""
    context = command.make_context(f"braincli {' '.join(path)}", [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    text = [f"# {' '.join(path)}", f"    {context.info_name} {usage}", _paragraphs(command)]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.get_params(context) if each.param_type_name == "option"]
    for title, params in (("Arguments", arguments), ("Options", options)):
        records = [record for each in params if (record := each.get_help_record(context))]
        if records:
            text += [f"## {title}", *(f"`{left}`\n:   {_plain(right) or '&nbsp;'}" for left, right in records)]
    return "\n\n".join(text) + "\n"


def _paragraphs(command: Any) -> str:
    """Its help; an example becomes code."""
    parts = [" ".join(part.replace("\b", "").split()) for part in (command.help or "").split("\n\n")]
    shown = [
        f"    {part.removeprefix('Example: ')}" if part.startswith("Example: ") else _plain(part) for part in parts
    ]
    return "\n\n".join(shown)


def _listed(path: tuple[str, ...], command: Any) -> str:
    first = (command.help or "").split("\n\n")[0]
    return f"- [`braincli {' '.join(path)}`]({'-'.join(path)}.md): {_plain(' '.join(first.split()))}"


def _plain(text: str) -> str:
    """``text`` so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]#|])", r"\\\1", html.escape(text, quote=False))


def models_table() -> str:
    """The figures of every shipped model, best first."""
    columns = ("model", "four contrasts", "FLAIR alone", "best without FLAIR", "healthy, ml", "smallest, mm3")
    rows = sorted(((_figures(path), path.parent.name) for path in ROOT.glob("models/*/model.json")), reverse=True)
    body = [f"| [{name}]({MODELS}/{name}.md) | {row} |" for (_, row), name in rows]
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *body])


def _figures(path: Path) -> tuple[float, str]:
    """Cross-fitted DSC with all contrasts, and the row of the table."""
    info = json.loads(path.read_text(encoding="utf-8"))
    own, subsets = info["calibration"], info["subsets"]
    blind = [(_dsc(fit) or 0, name) for name, fit in subsets.items() if "flair" not in name]
    best = max(blind, default=None)
    cells = [
        _number(_dsc(own)),
        _number(_dsc(subsets["flair"])) if "flair" in subsets else "n/a",
        f"{_number(best[0])} ({best[1]})" if best else "n/a",
        f"{info['figures']['healthy FP (ml)']:.2f}",
        f"{own['min_lesion_mm3']:g}",
    ]
    return _dsc(own) or 0, " | ".join(cells)


def _dsc(fit: dict[str, Any]) -> float | None:
    found: float | None = fit["provenance"].get("dsc_cross_fit")
    return found


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def limits_table() -> str:
    """Figures of quality of ``preprocess``, and between which values nothing is said."""
    rows = [
        f"| `{name}` | {low:g} | {'' if high == float('inf') else f'{high:g}'} |"
        for name, (low, high) in LIMITS.items()
    ]
    return "\n".join(["| figure | at least | at most |", "|---|---|---|", *rows])


def codes_table() -> str:
    """What the command line returns."""
    return "\n".join(
        ["| exit code | meaning |", "|---|---|", *(f"| {code} | {text} |" for code, text in EXIT_CODES.items())]
    )


TABLES = {"models": models_table, "limits": limits_table, "codes": codes_table}  # <!-- table: models -->


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages that are made into the navigation."""
    made = sorted(pages(), key=lambda page: not page.endswith("index.md"))
    for entry in config.nav or []:
        for title, below in entry.items():
            if isinstance(below, str) and not below.endswith(".md"):
                entry[title] = [page for page in made if page.startswith(f"{below}/")]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the pictures that they show."""
    for page, text in pages().items():
        files.append(File.generated(config, page, content=text))
    for picture in PICTURES:
        files.append(File.generated(config, picture, abs_src_path=str(ROOT / picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in tables; lead links to files of the repository to their page, or to where the repository is."""
    uri = page.file.src_uri
    for name, table in TABLES.items():
        markdown = markdown.replace(f"<!-- table: {name} -->", table())
    markdown = markdown.replace(MODELS, _relative("models", uri))
    origin = COPIED.get(uri, f"docs/{uri}")
    return re.sub(r"(?<=\]\()(?!https?:|#)([^)#\s]+)", lambda link: _target(link[1], uri, origin, files), markdown)


def _target(link: str, uri: str, origin: str, files: Files) -> str:
    """Where ``link`` of the file ``origin`` of the repository leads from the page ``uri``."""
    meant = os.path.normpath(Path(origin).parent / link)
    if files.get_file_from_path(os.path.normpath(Path(uri).parent / link)) and meant.startswith(("docs/", "models/")):
        return link
    there = PAGE_OF.get(meant) or (meant if meant in PICTURES else meant.removeprefix("docs/"))
    if files.get_file_from_path(there):
        return _relative(there, uri)
    if not (ROOT / meant).exists():
        log.warning("%s: there is no %s", origin, meant)
    return f"{URL}/{meant}"


def _relative(there: str, uri: str) -> str:
    return Path(os.path.relpath(there, Path(uri).parent)).as_posix()
