"""``braincli train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braincli.cli.common import Debug, Overwrite, Quiet, Threads
from braincli.errors import UsageError


def command(
    data: Annotated[
        list[Path], typer.Option("--data", help="Folder of prepared cases, or a TSV manifest (repeatable).")
    ],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="TOML file of options, e.g. a model's train.toml; flags win."),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="Which method; see: braincli models.  [default: tsgm]")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="paper, compact or tiny.  [default: compact]")] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Begin with the weights and options of this model (name or folder), e.g. to adapt it to your scanner."
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="Folder of slices that trainings on the same cases share; made if not there."),
    ] = None,
    steps: Annotated[list[str] | None, typer.Option(help="Steps of a stage, e.g. restore=2000 (repeatable).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Option of the method, e.g. width=48 (repeatable).")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Slices per step, of all processes together.", min=1)] = None,
    shards: Annotated[
        int | None,
        typer.Option(help="Parts of a batch that are computed one by one.  [default: one per process]", min=1),
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Stop with a checkpoint after this long: minutes, or HH:MM:SS.")
    ] = None,
    compute: Annotated[
        float | None,
        typer.Option("--compute-minutes", help="CPU time for all stages; each ends when its share is spent."),
    ] = None,
    checkpoint: Annotated[
        float | None, typer.Option("--checkpoint-minutes", help="Minutes between checkpoints.  [default: 5]")
    ] = None,
    keep: Annotated[
        int | None, typer.Option("--keep-checkpoints", help="How many of the newest stay.  [default: 2]", min=1)
    ] = None,
    snapshots: Annotated[
        int | None,
        typer.Option("--snapshot-every", help="Steps between models saved in OUTPUT/snapshots/.", min=1),
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.  [default: auto]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.  [default: 0]", min=0)] = None,
    threads: Threads = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.  [default: auto]", envvar="BRAINCLI_DEVICE")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Cut the slices, print and save the resolved options, and stop.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint; nothing to do if complete.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a method on prepared cases (skull-stripped, co-registered; masks *_seg.nii.gz where known).

    SIGTERM and SIGUSR1 write a checkpoint and end with exit code 0; the same command with --resume goes on.

    Example: braincli train --method tsgm --data cohort/ -o models/mine
    """
    from braincli import api
    from braincli.config import TrainConfig, load
    from braincli.runtime.progress import reporter

    for entry in steps or []:
        _, equals, count = entry.partition("=")
        if not equals or not count.isdigit():
            raise UsageError(f"--steps {entry!r} is not STAGE=NUMBER.")
    values = {
        "method": method, "preset": preset, "init": init, "store": store, "batch": batch, "shards": shards,
        "max_time": max_time,
        "compute_minutes": compute, "checkpoint_minutes": checkpoint, "keep_checkpoints": keep,
        "snapshot_every": snapshots, "precision": precision, "seed": seed, "threads": threads, "device": device,
        "dry_run": dry_run or None, "resume": resume or None, "overwrite": overwrite or None,
    }  # fmt: skip
    assignments = [*(f"steps.{text}" for text in steps or []), *(f"settings.{text}" for text in settings or [])]
    options = load(TrainConfig, config, assignments, values)
    report = reporter(quiet=quiet)
    info = api.train(data, out, options, report)
    if info is not None:
        report.say(
            f"{info.name}: {info.parameters / 1e6:.2f} M parameters, saved. Next: braincli calibrate --model {out}"
        )
