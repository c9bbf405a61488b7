"""``braincli demo``: the main job on a generated patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from braincli.cli.common import AsJson, Debug, DeviceName, Overwrite, Quiet, Seed, Threads


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for scans, masks, scores and picture.")] = Path(
        "braincli-demo"
    ),
    model: Annotated[str, typer.Option("--model", "-m", help="Name or folder of a trained model.")] = "tsgm",
    seed: Seed = 0,
    threads: Threads = None,
    device: DeviceName = "auto",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Generate a patient with a brain tumour, then preprocess, detect and score it. Needs no data.

    Four raw scans with skull, each on its own grid, are made from the atlas that comes with braincli.

    Example: braincli demo -o braincli-demo
    """
    from braincli.phantom.run import run
    from braincli.runtime.progress import reporter

    words = reporter(quiet=quiet)
    report = run(output, model=model, seed=seed, threads=threads, device=device, overwrite=overwrite, reporter=words)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2, ensure_ascii=False))
        return
    typer.echo(report.scores.as_table())
    folder = report.picture.parent
    words.say(f"picture  {folder / report.picture.name}")
    words.say(f"mask     {folder / report.mask.name}  (on the grid of {report.patient.flair.name})")
    words.say(f"{report.seconds:.0f} s. {report.as_dict()['notice']}")
