"""``braincli explain``: what in a scan a model's classifier looks at."""

from __future__ import annotations

from typing import Annotated, Any

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

OfClass = Annotated[
    str | None,
    option("Which class of a classifier of volumes is explained.", default="the likeliest", metavar="CLASS"),
]


def command(
    inputs: Prepared,
    output: Below,
    model: Trained = None,
    of_class: OfClass = None,
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
    """Map what a classifier (or regressor) rests on: saliency and class activation.

    Any model that holds one of slices, or one of whole volumes (braincli classify train). Each case gets both maps on
    its own grid, a table of what is said of each slice or class, and a picture. Several cases: one that fails is
    listed and the others go on (exit code 6).

    Example: braincli explain sub01/ --model models/classifier -o out/
    """
    given = locals()
    from braincli import api
    from braincli.runtime.cohort import finished, rows
    from braincli.runtime.progress import reporter
    from braincli.translation.options import ExplainConfig

    config = read(ExplainConfig, given, config_file)
    words = reporter(quiet=quiet)
    outcomes, failure = finished(lambda: api.explain(inputs, output, config, words, contrast=contrast))
    if as_json:
        show_json(rows(outcomes))
    for done in (outcome.result for outcome in outcomes if outcome.result is not None and not as_json):
        words.say(f"{done.case}: {_told(done.readings) or done.status}, {done.folder.name}/")
    if failure is not None:
        raise failure


def _told(said: dict[str, Any]) -> str:
    """What a classifier of slices, or of volumes, says of a case; empty where nothing was asked."""
    if not said:
        return ""
    if "slice" in said:
        return f"{said['value']} {said['highest']:g} in slice {said['slice']}"
    return f"{said['value']} {said['log-odds']:g} (probability {said['probability']:.3f})"
