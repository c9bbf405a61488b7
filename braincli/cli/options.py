"""Options that several commands share, and the one way in which all of them become a configuration.

Values go to the configuration as they are written; this alone says what is wrong with one, wherever it comes from.
An option that is not given is None, and its default is the configuration's: only so can a flag win over the
environment, this over ``--config FILE``, and this over the default. What the help says of defaults is compared with
the configuration by the tests, for pydantic would cost ``--help`` its instant answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer

from braincli import choices
from braincli.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

C = TypeVar("C", bound="BaseModel")
VARIABLES = {"threads": "BRAINCLI_NUM_THREADS", "device": "BRAINCLI_DEVICE"}  # of the environment


def option(help: str, *flags: str, default: str = "", choices: Any = None, **more: Any) -> Any:
    """A typer option whose help names what can be chosen from (a Literal), and the default of the configuration.

    The configuration refuses what is none of the choices, in the same words for flags and files.
    """
    shown = f"{help}  [default: {default}]" if default else help
    if choices is not None:
        names = tuple(map(str, get_args(choices)))
        more["metavar"] = f"[{'|'.join(names)}]"
        more["autocompletion"] = one_of(*names)
    return typer.Option(*flags, help=shown, show_default=False, **more)


def one_of(*names: str) -> Callable[[str], list[str]]:
    """What a shell completes an option with: those of ``names`` that begin with what was typed."""

    def begun(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return begun


def models(incomplete: str) -> list[str]:
    """Completes the names of trained models."""
    from braincli.model.search import find_models

    return one_of(*find_models())(incomplete)


def methods(incomplete: str) -> list[str]:
    """Completes the names of methods."""
    from braincli.methods.registry import METHODS

    return one_of(*METHODS)(incomplete)


def presets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes the presets of the method that was named before."""
    from braincli.methods.registry import METHODS

    spec = METHODS.get(ctx.params.get("method") or "tsgm")
    return one_of(*(spec.presets if spec else ()))(incomplete)


def contrasts(incomplete: str) -> list[str]:
    """Completes the last of several contrasts, with those before it: ``t1,fl``."""
    before, comma, begun = incomplete.rpartition(",")
    held = before.split(",")
    left = [name for name in get_args(choices.ContrastName) if name not in held]
    return [f"{before}{comma}{name}" for name in left if name.startswith(begun)]


def published(incomplete: str) -> list[str]:
    """Completes the names of weights that others published."""
    from braincli.weights.archives import ARCHIVES

    return one_of(*ARCHIVES)(incomplete)


def read(kind: type[C], given: Mapping[str, Any], file: Path | None = None, assignments: Iterable[str] = ()) -> C:
    """The configuration of a command from its parameters: those that are named like a field of ``kind`` count."""
    from braincli.parsing import load
    from braincli.runtime import logs

    flags = {key: value for key, value in given.items() if key in kind.model_fields}
    names = {key: name for key, name in VARIABLES.items() if given.get(key) and given[key] == os.environ.get(name)}
    config = load(kind, file, assignments, flags, names)
    logs.DETAILS.debug("options: %s", config.model_dump_json(exclude_none=True))
    return config


def wanted(output: Path | None, inputs: Iterable[Path | None], what: str) -> Path:
    """``output``; where it is not given, a wrong path among ``inputs`` is told before that.

    Args:
        what: what to add, e.g. ``-o OUT/ for a folder``.

    Raises:
        InputError: an input is not there.
        UsageError: no output was given.
    """
    if output is not None:
        return output
    from braincli.imaging.cases import refuse_missing

    refuse_missing(path for path in inputs if path is not None)
    raise UsageError("Where should the result go?", f"Add {what}.")


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
ConfigFile = Annotated[
    Path | None, option("Options in a TOML file; flags and environment win.", "--config", metavar="PATH")
]

Overwrite = Annotated[bool | None, option("Replace outputs that exist.", "--overwrite")]
GoOn = Annotated[bool | None, option("Go on from the last checkpoint; nothing to do if complete.", "--resume")]
CheckpointMinutes = Annotated[str | None, option("Minutes between checkpoints.", default="5", metavar="FLOAT")]
TrainingPrecision = Annotated[
    str | None,
    option(
        "auto: bf16 where the hardware multiplies it, else fp32.", default="auto", choices=choices.TrainingPrecision
    ),
]
Resume = Annotated[bool | None, option("Skip cases whose record shows that they are complete.", "--resume")]
Seed = Annotated[str | None, option("Seed of everything random.", "--seed", default="0", metavar="INT")]
Threads = Annotated[
    str | None,
    option(
        "CPU threads; with --jobs: of each.",
        "--threads",
        default="what this process may use, shared out among jobs",
        envvar=VARIABLES["threads"],
        metavar="INT",
    ),
]
Jobs = Annotated[
    str | None,
    option(
        "Processes that work through the cases; fewer where memory does not suffice.",
        "--jobs",
        default="1",
        metavar="INT",
    ),
]
PartId = Annotated[
    str | None,
    option("Work on one of --num-parts parts of the cohort only, counted from 0.", "--part-id", metavar="INT"),
]
NumParts = Annotated[str | None, option("Into how many parts the cohort is split.", "--num-parts", metavar="INT")]
DeviceName = Annotated[
    str | None,
    option(
        "auto, cpu, cuda, cuda:N or mps.",
        "--device",
        default="auto",
        envvar=VARIABLES["device"],
        metavar="DEVICE",
        autocompletion=one_of("auto", "cpu", "cuda", "mps"),
    ),
]
PrecisionName = Annotated[
    str | None,
    option(
        "Of the network; auto: bf16 where the hardware multiplies it, else fp32.",
        "--precision",
        default="auto",
        choices=choices.Precision,
    ),
]
Batch = Annotated[
    str | None,
    option(
        "Slices per network call; changes speed, not results.",
        "--batch",
        default="16; more small ones on a GPU",
        metavar="INT",
    ),
]
Model = Annotated[
    str | None,
    option(
        "Name or folder of a trained model.", "--model", "-m", default="tsgm", metavar="MODEL", autocompletion=models
    ),
]
Run = Annotated[
    str | None,
    option(
        "Which of repeated scans (run-1, run-2 ...); without it such a case fails.", "--run", metavar="[first|last|N]"
    ),
]
Series = Annotated[
    list[str] | None,
    option(
        "Which series of a DICOM study shows a contrast (repeatable), e.g. t1ce=7; t2=none: do without.",
        "--series",
        metavar="CONTRAST=SERIES",
    ),
]
VolumeNumber = Annotated[str | None, option("Which volume of a 4-D file, from 0.", "--volume", metavar="INT")]
Prefer = Annotated[
    str | None, option("Where qform and sform disagree.", "--prefer", default="sform", choices=choices.Form)
]
Contrast = Annotated[
    str | None,
    option(
        "What a single scan shows (t1, t1ce, t2 or flair), where its name does not tell; of a 4-D file what its "
        "volumes show, in their order: t1,t1ce,t2,flair.",
        "--contrast",
        metavar="CONTRAST[,...]",
        autocompletion=contrasts,
    ),
]
AlreadyStripped = Annotated[
    bool | None, option("The scans show the brain only; this is not checked.", "--already-stripped")
]
AssumeSkull = Annotated[bool | None, option("The scans show the skull; this is not guessed.", "--assume-skull")]

# of translate and explain
Trained = Annotated[
    str | None, option("Name or folder of a trained model.", "--model", "-m", metavar="MODEL", autocompletion=models)
]
Planes = Annotated[
    str | None,
    option("First and last slice that is looked at, from 0 at the bottom, e.g. 60:90.", metavar="FIRST:LAST"),
]
Figure = Annotated[bool | None, option("Draw a picture.", "--figure/--no-figure", default="figure")]
OnOom = Annotated[str | None, option("When memory runs out.", default="halve", choices=choices.OnOom)]
Prepared = Annotated[
    list[Path], typer.Argument(metavar="INPUTS", help="Prepared cases: folders, cohorts or .tsv manifests.")
]
Below = Annotated[Path, typer.Option("--output", "-o", help="Folder; each case gets one below it.", metavar="PATH")]
