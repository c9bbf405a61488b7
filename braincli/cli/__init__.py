"""The shell door: ``braincli SUBCOMMAND``. Parses, builds a configuration, calls :mod:`braincli.api`, prints.

Nothing here (or in the modules below) imports torch, ants or SimpleITK at module level: ``--help`` is instant.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.cli import common, streams

app = typer.Typer(
    name="braincli",
    help="Raw multi-contrast brain MRI in; pseudo-healthy restorations, anomaly maps and lesion masks out.",
    epilog=RESEARCH_USE_ONLY,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(given: bool) -> None:
    if given:
        typer.echo(f"braincli {__version__}\n{RESEARCH_USE_ONLY}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # unwinds the stack, so that temporary files are removed


def main() -> None:
    """Entry point of the ``braincli`` command."""
    streams.prepare()
    os.environ["MPLBACKEND"] = "agg"  # a notebook's own, which its shell commands inherit, may not be here
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:  # help or a usage error that could not be written: commands handle their own
        print(f"error: {error.filename}: {error.strerror}.", file=sys.stderr)
        sys.exit(5)
    finally:
        sys.stdout.flush()


common.register(app)
