"""``braincli translate``: scans as they would be at another number, or with a lesion in a mask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from braincli.cli.common import show_json
from braincli.cli.options import (
    AlreadyStripped,
    AsJson,
    Batch,
    Below,
    ConfigFile,
    Contrast,
    Debug,
    DeviceName,
    Figure,
    OnOom,
    Overwrite,
    Planes,
    PrecisionName,
    Prefer,
    Prepared,
    Quiet,
    Resume,
    Run,
    Threads,
    Trained,
    VolumeNumber,
    option,
    read,
)


def command(
    inputs: Prepared,
    output: Below,
    model: Trained = None,
    to: Annotated[
        list[str] | None,
        option(
            "The number that the model was trained on (an age, a share of lesion), as it should be: a value, or more "
            "or less than now (repeatable: a series).",
            metavar="VALUE",
        ),
    ] = None,
    mask: Annotated[
        list[Path] | None,
        option(
            "Where a lesion should be, and nowhere else: a mask on the grid of the only case (repeatable: a series of "
            "growth).",
            metavar="PATH",
        ),
    ] = None,
    level: Annotated[
        str | None, option("How far slices are noised, 0 to 1000; 0: not at all.", default="the model's", metavar="INT")
    ] = None,
    scale: Annotated[str | None, option("How hard the guide pulls.", default="the model's", metavar="FLOAT")] = None,
    slices: Planes = None,
    contrast: Contrast = None,
    run: Run = None,
    volume: VolumeNumber = None,
    prefer: Prefer = None,
    already_stripped: AlreadyStripped = None,
    figure: Figure = None,
    batch: Batch = None,
    on_oom: OnOom = None,
    precision: PrecisionName = None,
    device: DeviceName = None,
    threads: Threads = None,
    config_file: ConfigFile = None,
    resume: Resume = None,
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what a scan would look like at another age or lesion size, or with a lesion in a mask.

    Each goal gives scans on the input's own grid (CASE_to-GOAL_CONTRAST.nii.gz) and their difference; one picture shows
    all goals side by side. Several cases: one that fails is listed and the others go on (exit code 6).

    Example: braincli translate sub01/ --model models/growth --mask small.nii.gz --mask large.nii.gz -o out/
    """
    given = locals()
    from braincli import api
    from braincli.runtime.cohort import finished, rows
    from braincli.runtime.progress import reporter
    from braincli.translation.options import TranslateConfig

    config = read(TranslateConfig, given, config_file)
    words = reporter(quiet=quiet)
    outcomes, failure = finished(
        lambda: api.translate(inputs, output, config, words, masks=mask or [], contrast=contrast)
    )
    if as_json:
        show_json(rows(outcomes))
    for done in (outcome.result for outcome in outcomes if outcome.result is not None and not as_json):
        told = [f"{name} ({read['before']:g} -> {read['after']:g})" for name, read in done.readings.items()]
        words.say(f"{done.case}: {', '.join(told) or done.status}, {done.folder.name}/")
    if failure is not None:
        raise failure
