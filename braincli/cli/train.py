"""``braincli train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braincli.cli.common import Debug, DeviceName, Overwrite, Quiet, Seed, Threads
from braincli.errors import UsageError


def command(
    data: Annotated[
        list[Path], typer.Option("--data", help="Folder of prepared cases, or a TSV manifest (repeatable).")
    ],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.")],
    method: Annotated[str, typer.Option("--method", "-m", help="Which method; see: braincli models.")] = "tsgm",
    preset: Annotated[str, typer.Option(help="paper, compact or tiny.")] = "compact",
    steps: Annotated[list[str] | None, typer.Option(help="Steps of a stage, e.g. restore=2000 (repeatable).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Option of the method, e.g. width=48 (repeatable).")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Slices per step.", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop with a checkpoint after this long.")] = None,
    compute: Annotated[
        float | None,
        typer.Option("--compute-minutes", help="CPU time for all stages; each ends when its share is spent."),
    ] = None,
    snapshots: Annotated[
        int | None,
        typer.Option("--snapshot-every", help="Steps between models saved in OUTPUT/snapshots/.", min=1),
    ] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    seed: Seed = 0,
    threads: Threads = None,
    device: DeviceName = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a method on prepared cases (skull-stripped, co-registered; masks *_seg.nii.gz where known).

    Example: braincli train --method tsgm --data cohort/ -o models/mine
    """
    from braincli import api, config
    from braincli.progress import reporter

    pairs: dict[str, int] = {}
    for entry in steps or []:
        stage, equals, count = entry.partition("=")
        if not equals or not count.isdigit():
            raise UsageError(f"--steps {entry!r} is not STAGE=NUMBER.")
        pairs[stage] = int(count)
    values = {
        "method": method, "preset": preset, "steps": pairs, "batch": batch, "minutes": minutes, "precision": precision,
        "compute_minutes": compute, "snapshot_every": snapshots, "seed": seed, "threads": threads, "device": device,
        "resume": resume, "overwrite": overwrite,
    }  # fmt: skip
    options = config.load(config.TrainConfig, None, [f"settings.{text}" for text in settings or []], values)
    report = reporter(quiet=quiet)
    info = api.train(data, out, options, report)
    if info is not None:
        report.say(
            f"{info.name}: {info.parameters / 1e6:.2f} M parameters, saved. Next: braincli calibrate --model {out}"
        )
