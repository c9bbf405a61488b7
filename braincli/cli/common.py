"""What all subcommands share: option types, error handling, registration."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from braincli.errors import BraincliError

COMMANDS = (
    "preprocess", "train", "calibrate", "detect", "score", "check", "synth", "models", "weights", "demo", "cite",
)  # fmt: skip


class Precision(StrEnum):
    """What the network multiplies in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
Resume = Annotated[bool, typer.Option("--resume", help="Skip cases whose record shows that they are complete.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
Threads = Annotated[
    int | None,
    typer.Option(help="CPU threads (default: what this process may use).", min=1, envvar="BRAINCLI_NUM_THREADS"),
]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", envvar="BRAINCLI_DEVICE")]
PrecisionName = Annotated[
    Precision,
    typer.Option("--precision", help="Of the network (auto: bf16 where the hardware multiplies it, else fp32)."),
]


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
        except (typer.Exit, typer.Abort, KeyboardInterrupt, SystemExit):
            raise
        except BrokenPipeError:  # the reader (head, less) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except Exception as error:
            if type(error).__module__.split(".")[0] in ("click", "typer"):  # usage errors: typer prints them, code 2
                raise
            if kwargs.get("debug"):
                traceback.print_exc()
            log = _write_traceback()
            _fail(f"internal error: {type(error).__name__}: {error}\n  Traceback in {log}; please report it.", 1)

    return run


def _fail(text: str, code: int) -> None:
    print(text, file=sys.stderr, flush=True)
    raise typer.Exit(code)


def _write_traceback() -> Path:
    handle, name = tempfile.mkstemp(prefix="braincli-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as log:
        traceback.print_exc(file=log)
    return Path(name)
