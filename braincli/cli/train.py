"""``braincli train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braincli.cli.common import show_json
from braincli.cli.options import (
    AsJson,
    CheckpointMinutes,
    ConfigFile,
    Debug,
    DeviceName,
    GoOn,
    Overwrite,
    Quiet,
    Run,
    Seed,
    Threads,
    TrainingPrecision,
    methods,
    models,
    option,
    presets,
    read,
    wanted,
)
from braincli.errors import UsageError

STAGES = (
    "A method has one stage, e.g. --steps main=2000, or several, as tsgm: --steps translate=500 --steps restore=2000."
)


def command(
    inputs: Annotated[
        list[Path],
        typer.Option("--data", help="Folder of prepared cases, or a TSV manifest (repeatable).", metavar="PATH"),
    ],
    output: Annotated[
        Path | None, option("Folder of the new model (needed).", "--output", "-o", metavar="PATH")
    ] = None,
    validation: Annotated[
        list[Path] | None,
        option(
            "Cases that are not in --data: the weights that the method's own criterion finds best on them become the "
            "model (repeatable).",
            metavar="PATH",
            default="the last weights",
        ),
    ] = None,
    validate_every: Annotated[
        str | None, option("Steps between judgements by --validation.", default="a fiftieth", metavar="INT")
    ] = None,
    config_file: ConfigFile = None,
    method: Annotated[
        str | None,
        option("Which method; see: braincli models.", default="tsgm", metavar="METHOD", autocompletion=methods),
    ] = None,
    preset: Annotated[
        str | None,
        option(
            "paper, compact, tiny or another of the method's; see: braincli models NAME.",
            default="compact",
            metavar="PRESET",
            autocompletion=presets,
        ),
    ] = None,
    init: Annotated[
        str | None,
        option(
            "Begin with the weights and options of this model (name or folder), e.g. to adapt it to your scanner.",
            metavar="MODEL",
            autocompletion=models,
        ),
    ] = None,
    store: Annotated[
        Path | None,
        option("Folder of slices that trainings on the same cases share; made if not there.", metavar="PATH"),
    ] = None,
    steps: Annotated[
        list[str] | None,
        option("Steps of a stage, e.g. restore=2000 (repeatable).", metavar="STAGE=N", default="the preset's"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        option("Option of the method, e.g. width=48 (repeatable).", "--set", metavar="KEY=VALUE"),
    ] = None,
    pixel_mm: Annotated[str | None, option("Pixel size in the slice.", default="the preset's", metavar="MM")] = None,
    canvas: Annotated[
        str | None, option("Rows and columns of a slice, e.g. 256x256.", default="the preset's", metavar="ROWSxCOLUMNS")
    ] = None,
    slice_mm: Annotated[
        str | None,
        option("Distance of the slices; own: as in the scan.", default="the preset's", metavar="MM|own"),
    ] = None,
    slices: Annotated[
        str | None,
        option(
            "First and last slice that is looked at, from 0 at the bottom, e.g. 80:128; all: every one.",
            default="the preset's",
            metavar="FIRST:LAST|all",
        ),
    ] = None,
    run: Run = None,
    batch: Annotated[
        str | None, option("Slices per step, of all processes together.", default="the preset's", metavar="INT")
    ] = None,
    shards: Annotated[
        str | None, option("Parts of a batch that are computed one by one.", default="one per process", metavar="INT")
    ] = None,
    max_time: Annotated[
        str | None,
        option(
            "Stop after this long with a checkpoint and, in the last stage, a model that can be used as it is.",
            metavar="MINUTES|HH:MM:SS",
        ),
    ] = None,
    compute_minutes: Annotated[
        str | None, option("CPU time for all stages; each ends when its share is spent.", metavar="FLOAT")
    ] = None,
    checkpoint_minutes: CheckpointMinutes = None,
    keep_checkpoints: Annotated[str | None, option("How many of the newest stay.", default="2", metavar="INT")] = None,
    snapshot_every: Annotated[
        str | None, option("Steps between models saved in OUTPUT/snapshots/.", metavar="INT")
    ] = None,
    precision: TrainingPrecision = None,
    seed: Seed = None,
    threads: Threads = None,
    device: DeviceName = None,
    dry_run: Annotated[
        bool | None, option("Cut the slices, print and save the resolved options, and stop.", "--dry-run")
    ] = None,
    resume: GoOn = None,
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a method on prepared cases (skull-stripped, co-registered; masks *_seg.nii.gz where known).

    SIGTERM and SIGUSR1 write a checkpoint and end with exit code 0, as --max-time does; the same command with --resume
    goes on. Losses are in OUTPUT/metrics.jsonl, restored slices in OUTPUT/previews (and TensorBoard, if installed).

    Example: braincli train --method tsgm --data cohort/ -o models/mine
    """
    given = locals()
    from braincli import api
    from braincli.classification.registry import CLASSIFIERS
    from braincli.config import TrainConfig
    from braincli.runtime.progress import reporter

    if method in CLASSIFIERS:
        known = f"braincli classify train cohort.tsv --method {method}"
        raise UsageError(f"{method} classifies whole volumes.", f"Train it with: {known}.")
    for entry in steps or []:
        _, equals, count = entry.partition("=")
        if not equals or not count.isdigit():
            raise UsageError(f"--steps {entry!r} is not STAGE=NUMBER.", STAGES)
    assignments = [*(f"steps.{text}" for text in steps or []), *(f"settings.{text}" for text in settings or [])]
    config = read(TrainConfig, {**given, "steps": None, "settings": None, "validation": None}, config_file, assignments)
    output = wanted(output, [*inputs, *(validation or [])], "-o MODEL/, the folder of the new model")
    words = reporter(quiet=quiet)
    info = api.train(inputs, output, config, words, validation=validation)
    if as_json:
        show_json(info and info.model_dump(mode="json"))
    if info is not None:
        words.say(
            f"{info.name}: {info.parameters / 1e6:.2f} M parameters, saved. "
            f"Next: braincli calibrate --data COHORT --model {output}"
        )
