"""What all subcommands share: printing, error handling, registration."""

from __future__ import annotations

import errno
import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from braincli.errors import BraincliError

COMMANDS = (
    "preprocess", "train", "calibrate", "detect", "score", "check", "split", "synth", "translate", "explain", "models",
    "weights", "demo", "cite", "slurm",
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


def register(app: typer.Typer) -> None:
    """Add every module of :data:`COMMANDS`: its ``app`` (a group) or its ``command`` (a function)."""
    for name in COMMANDS:
        module = import_module(f"braincli.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        elif hasattr(module, "command"):
            app.command(name)(guarded(module.command))


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn exceptions into one clear message and a documented exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
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

    return run


def _fail(text: str, code: int) -> None:
    print(text, file=sys.stderr, flush=True)
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
