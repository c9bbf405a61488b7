"""``braincli cite``: what to cite."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from braincli.cli.common import show, show_json
from braincli.cli.options import AsJson, Debug, Quiet
from braincli.errors import UsageError


def command(
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print BibTeX.")] = False,
    cff: Annotated[bool, typer.Option("--cff", help="Print CITATION.cff.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Print what to cite: braincli, and the papers and tools behind its parts.

    Example: braincli cite --bibtex > braincli.bib
    """
    from braincli.reporting import citations

    if bibtex + cff + as_json > 1:
        raise UsageError("--bibtex, --cff and --json exclude each other.")
    if as_json:
        show_json([asdict(reference) for reference in citations.references()])
    else:
        show(citations.as_bibtex() if bibtex else citations.as_cff() if cff else citations.as_text())
