"""``braincli cite``: what to cite."""

from __future__ import annotations

from typing import Annotated

import typer

from braincli.cli.common import Debug
from braincli.errors import UsageError


def command(
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print BibTeX.")] = False,
    cff: Annotated[bool, typer.Option("--cff", help="Print CITATION.cff.")] = False,
    debug: Debug = False,
) -> None:
    """Print what to cite: braincli, and the papers and tools behind its parts.

    Example: braincli cite --bibtex > braincli.bib
    """
    from braincli.reporting import citations

    if bibtex and cff:
        raise UsageError("--bibtex and --cff exclude each other.")
    typer.echo(citations.as_bibtex() if bibtex else citations.as_cff() if cff else citations.as_text())
