"""What all subcommands share: printing, error handling, registration."""

from __future__ import annotations

import errno
import functools
import inspect
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand

from braincli import __version__
from braincli.errors import BraincliError

COMMANDS = (
    "preprocess", "train", "calibrate", "detect", "score", "check", "split", "synth", "translate", "explain",
    "classify", "models", "weights", "demo", "cite", "bids", "slurm",
)  # fmt: skip


DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def show(text: str) -> None:
    """Data, on stdout; words are a reporter's."""
    typer.echo(text)
    sys.stdout.flush()  # while an error can still be told


def show_json(content: Any) -> None:
    """Data as JSON, on stdout."""
    from braincli.runtime.files import as_json

    show(as_json(content))


class Command(TyperCommand):
    """A command whose help says PATH where a path is wanted, of arguments too, and names no types of Python."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for parameter in self.params:
            shown = getattr(parameter, "display_type_rich", None)  # earlier versions of typer show no types
            if isinstance(parameter, TyperArgument) and shown is not None:
                parameter.display_type_rich = functools.partial(_type_of, shown)  # type: ignore[method-assign]


def _type_of(shown: Callable[..., str | None], ctx: typer.Context) -> str | None:
    """What stands behind the name of an argument in the help."""
    return "PATH" if "path" in (shown(ctx=ctx) or "").lower() else None


def register(app: typer.Typer) -> None:
    """Add every module of :data:`COMMANDS`: its ``app`` (a group) or its ``command`` (a function)."""
    for name in COMMANDS:
        module = import_module(f"braincli.cli.{name}")
        if hasattr(module, "app"):
            for subcommand in module.app.registered_commands:
                subcommand.cls = Command
            app.add_typer(module.app, name=name)
        elif hasattr(module, "command"):
            app.command(name, cls=getattr(module, "COMMAND", Command))(guarded(module.command))


Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show details, and what libraries log.")]
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log-file", help="Append everything that is said, and what libraries log, with times.", metavar="PATH"
    ),
]
SPOKEN = {"verbose": (Verbose, False), "log_file": (LogFile, None)}  # options that every command gets


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn exceptions into one clear message and a documented exit code; keep or show what is logged meanwhile."""

    @functools.wraps(command)
    def run(*args: Any, verbose: bool = False, log_file: Path | None = None, **kwargs: Any) -> Any:
        from braincli.runtime import logs

        try:
            with logs.listening(log_file, verbose=verbose, quiet=kwargs.get("quiet", False)):
                logs.DETAILS.info("braincli %s: %s", __version__, command.__module__.rpartition(".")[2])
                return _guarded(command, args, kwargs)
        except BraincliError as error:  # of the log itself
            _fail(f"error: {error}", error.exit_code)

    signature = inspect.signature(command, eval_str=True)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in SPOKEN.items()
    ]
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *more])  # type: ignore[attr-defined]
    return run


def _guarded(command: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    try:
        return command(*args, **kwargs)
    except BraincliError as error:
        if kwargs.get("debug"):
            traceback.print_exc()
        _fail(f"error: {error}", error.exit_code)
    except MemoryError:
        _fail("error: out of memory.\n  Use a machine with more memory, or smaller input.", 5)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except (typer.Exit, typer.Abort, SystemExit):
        raise
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("click", "typer"):  # usage errors: typer prints them, code 2
            raise
        if kwargs.get("debug"):
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in DISK:
            _fail(f"error: {_said(error)}.\n  Make space, or write elsewhere.", 5)
        _fail(f"internal error: {type(error).__name__}: {error}\n  {_traceback_kept(error)}; please report it.", 1)


def _fail(text: str, code: int) -> None:
    from braincli.runtime import logs

    print(text, file=sys.stderr, flush=True)
    if logs.is_kept():
        logs.WORDS.error("%s", text)
    raise typer.Exit(code)


def _said(error: OSError) -> str:
    name = f"{Path(os.fsdecode(error.filename)).name}: " if isinstance(error.filename, str | bytes) else ""
    return f"{name}{error.strerror}"


def _traceback_kept(error: Exception) -> str:
    """Write the traceback to a log; where none can be written, to stderr."""
    try:
        handle, name = tempfile.mkstemp(prefix="braincli-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as log:
            traceback.print_exception(error, file=log)
    except OSError:
        traceback.print_exception(error)
        return "Traceback above"
    return f"Traceback in {name}"
