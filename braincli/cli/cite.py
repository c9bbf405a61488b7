"""``braincli cite``: what to cite."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braincli.cli.common import show, show_json
from braincli.cli.options import AsJson, Debug, Quiet, models, option
from braincli.errors import InputError, ModelError, UsageError

if TYPE_CHECKING:
    from braincli.reporting.citations import Reference


def command(
    model: Annotated[
        str | None,
        option(
            "Only what this model stands on: its method, and data that it learnt from.",
            "--model",
            "-m",
            metavar="MODEL",
            autocompletion=models,
        ),
    ] = None,
    record: Annotated[
        Path | None,
        option("Only what this run stood on: the record (*_record.json) of detect or preprocess.", metavar="PATH"),
    ] = None,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print BibTeX.")] = False,
    cff: Annotated[bool, typer.Option("--cff", help="Print CITATION.cff.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Print what to cite: braincli, and the papers and tools behind its parts, a model or a run.

    Example: braincli cite --record out/sub01/sub01_record.json --bibtex > methods.bib
    """
    from braincli import __version__
    from braincli.reporting import citations

    if bibtex + cff + as_json > 1:
        raise UsageError("--bibtex, --cff and --json exclude each other.")
    content = _content(record) if record else {}
    works = _works(model, record, content)
    if as_json:
        show_json([asdict(work) for work in works])
        return
    form = citations.as_bibtex if bibtex else citations.as_cff if cff else citations.as_text
    show(form(works, str(content.get("braincli", __version__))))


def _works(model: str | None, record: Path | None, content: dict[str, Any]) -> list[Reference]:
    """All works, or those of a model, of a run, or of both.

    Raises:
        ModelError: there is no such model.
        InputError: the record tells of no run of ``detect`` or ``preprocess``.
    """
    from braincli.reporting import citations

    parts = _parts_of_model(model) if model else []
    if record:
        try:
            parts += citations.parts_of_record(content)
            used = content["facts"]["model"]["name"] if content["command"] == "detect" else ""
        except (KeyError, TypeError, AttributeError):
            raise _no_record(record) from None
        with suppress(ModelError):  # it is not on this machine: what it learnt from is not known
            parts += _parts_of_model(used) if used else []
    return citations.chosen(parts) if parts else citations.references()


def _parts_of_model(name: str) -> list[str]:
    from braincli.classification.info import read_info
    from braincli.model.search import locate, read_content
    from braincli.model.stored import CLASSIFIER, read_stored
    from braincli.reporting import citations

    folder = locate(name)
    if read_content(folder).get("kind") == CLASSIFIER:
        volumes = read_info(folder)
        return [citations.VOLUMES, *citations.parts_of_model(volumes.method, volumes.training.cases)]
    info = read_stored(folder)
    return citations.parts_of_model(info.method, info.training.cases)


def _content(record: Path) -> dict[str, Any]:
    """What a record says.

    Raises:
        InputError: it is not there, or is none.
    """
    import json

    from braincli.imaging.cases import refuse_missing

    refuse_missing([record])
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise _no_record(record) from None
    if not isinstance(content, dict) or content.get("command") not in ("detect", "preprocess"):
        raise _no_record(record)
    return content


def _no_record(record: Path) -> InputError:
    return InputError(
        f"--record: {record.name} is no record of braincli detect or preprocess.", "Name a file *_record.json."
    )
