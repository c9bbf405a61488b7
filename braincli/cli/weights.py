"""``braincli weights``: what is on this machine, whether it is whole, and how to get the rest."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braincli.cli.common import guarded, show_json
from braincli.cli.options import AsJson, Debug, Overwrite, Quiet, published
from braincli.errors import ModelError

if TYPE_CHECKING:
    from braincli.runtime.progress import Reporter
    from braincli.weights.inventory import Status

app = typer.Typer(
    help="Weights on this machine: list, verify, fetch, import.\n\nExample: braincli weights verify",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--weights-dir", help="Look (and fetch) here first; else BRAINCLI_WEIGHTS_DIR, cache.", metavar="PATH"
    ),
]
Sha256 = Annotated[
    str, typer.Option("--sha256", help="Expected SHA-256 of the file, if you know it.", metavar="SHA256")
]


@app.command("list")
@guarded
def list_(weights_dir: Folder = None, as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Show all weights: where they are, size, licence, source. Reads no weights.

    Example: braincli weights list --json
    """
    from braincli.weights import inventory as weights

    _print(weights.survey(weights_dir), as_json)


@app.command("verify")
@guarded
def verify(weights_dir: Folder = None, as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Hash all weights and compare; exit code 4 if something is damaged.

    Example: braincli weights verify
    """
    from braincli.weights import inventory as weights

    statuses = weights.survey(weights_dir, check=True)
    _print(statuses, as_json)
    if damaged := [f"{status.name} ({status.note})" for status in statuses if status.state == "damaged"]:
        raise ModelError(f"Damaged weights: {'; '.join(damaged)}.", "Install or fetch them again.")


@app.command("fetch")
@guarded
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Which weights: hd-bet, resnet18, wide_resnet50_2.", autocompletion=published
        ),
    ],
    weights_dir: Folder = None,
    sha256: Sha256 = "",
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Download weights (the only command that uses the network; BRAINCLI_OFFLINE=1 forbids it).

    Example: braincli weights fetch hd-bet
    """
    from braincli.runtime.progress import reporter
    from braincli.weights import inventory as weights

    voice = reporter(quiet=quiet)
    status = weights.fetch(name, given=weights_dir, sha256=sha256, overwrite=bool(overwrite), reporter=voice)
    _report(status, as_json, voice)


@app.command("import")
@guarded
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file, downloaded elsewhere.")],
    name: Annotated[
        str, typer.Option(help="Which weights it holds.", metavar="NAME", autocompletion=published)
    ] = "hd-bet",
    weights_dir: Folder = None,
    sha256: Sha256 = "",
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Install weights from a file, for machines without network.

    Example: braincli weights import release_v1.5.0.zip
    """
    from braincli.runtime.progress import reporter
    from braincli.weights import inventory as weights

    status = weights.import_file(file, name=name, given=weights_dir, sha256=sha256, overwrite=bool(overwrite))
    _report(status, as_json, reporter(quiet=quiet))


def _report(status: Status, as_json: bool, words: Reporter) -> None:
    if as_json:
        show_json(asdict(status))
    words.say(f"{status.name}: {status.state}, {status.bytes / 1e6:.0f} MB in {status.folder}")


def _print(statuses: list[Status], as_json: bool) -> None:
    if as_json:
        show_json([asdict(status) for status in statuses])
        return
    for status in statuses:
        size = f"{status.bytes / 1e6:.0f} MB" if status.bytes else "-"
        typer.echo(f"{status.name:18} {status.state:9} {size:>8}  {status.licence:11} {status.summary}")
        typer.echo(f"{'':18} {status.folder or status.source}{'  (' + status.note + ')' if status.note else ''}")
