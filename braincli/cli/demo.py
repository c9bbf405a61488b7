"""``braincli demo``: the main job on a generated patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braincli.cli.common import show, show_json
from braincli.cli.options import (
    AsJson,
    ConfigFile,
    Debug,
    DeviceName,
    Model,
    Overwrite,
    Quiet,
    Seed,
    Threads,
    read,
)


def command(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for scans, masks, scores and picture.", metavar="PATH")
    ] = Path("braincli-demo"),
    model: Model = None,
    config_file: ConfigFile = None,
    seed: Seed = None,
    threads: Threads = None,
    device: DeviceName = None,
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Generate a patient with a brain tumour, then preprocess, detect and score it. Needs no data.

    Four raw scans with skull, each on its own grid, are made from the atlas that comes with braincli.

    Example: braincli demo -o braincli-demo
    """
    given = locals()
    from braincli.config import DemoConfig
    from braincli.phantom import run
    from braincli.runtime.progress import reporter

    words = reporter(quiet=quiet)
    report = run.run(output, read(DemoConfig, given, config_file), words)
    if as_json:
        show_json(report.as_dict())
        return
    show(report.scores.as_table())
    words.say(f"picture  {report.picture}")
    words.say(f"page     {report.page}  (open it in a browser)")
    words.say(f"mask     {report.mask}  (on the grid of {report.patient.flair.name})")
    words.say(f"{report.seconds:.0f} s. {report.as_dict()['notice']}")
