"""``braincli preprocess``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braincli import choices
from braincli.cli.common import show_json
from braincli.cli.options import (
    AlreadyStripped,
    AsJson,
    AssumeSkull,
    ConfigFile,
    Contrast,
    Debug,
    DeviceName,
    Jobs,
    NumParts,
    Overwrite,
    PartId,
    PrecisionName,
    Prefer,
    Quiet,
    Resume,
    Run,
    Seed,
    Series,
    Threads,
    VolumeNumber,
    option,
    read,
)


def command(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUTS",
            help="Case folders (NIfTI or DICOM, also as .zip), BIDS subjects, cohorts, scans, .tsv manifests.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.", metavar="PATH")] = Path(
        "preprocessed"
    ),
    contrast: Contrast = None,
    run: Run = None,
    series: Series = None,
    volume: VolumeNumber = None,
    prefer: Prefer = None,
    reference: Annotated[
        str | None,
        option(
            "Contrast that the others are aligned to.",
            default="t1, t1ce, t2, flair; the finest",
            choices=choices.ContrastName,
        ),
    ] = None,
    space: Annotated[
        str | None,
        option(
            "sri24: 1 mm atlas grid of BraTS, which models learn on; mni152: 1 mm, ICBM 2009a symmetric; native: the "
            "reference's own grid.",
            default="sri24",
            choices=choices.Space,
        ),
    ] = None,
    transform: Annotated[str | None, option("To the atlas.", default="affine", choices=choices.Transform)] = None,
    skip: Annotated[
        list[str] | None,
        option("Leave out a step (repeatable).", choices=choices.Step),
    ] = None,
    already_stripped: AlreadyStripped = None,
    assume_skull: AssumeSkull = None,
    brain_mask: Annotated[
        Path | None, option("Brain mask on the reference's grid, instead of HD-BET.", metavar="PATH")
    ] = None,
    bet_mode: Annotated[
        str | None,
        option(
            "HD-BET: one fold, or accurate: five folds, mirrored; 40 x slower.", default="fast", choices=choices.BetMode
        ),
    ] = None,
    bet_backend: Annotated[
        str | None,
        option(
            "minimal comes with braincli; hd-bet: 2.x weights, fetched by you.",
            default="minimal",
            choices=choices.BetBackend,
        ),
    ] = None,
    normalisation: Annotated[
        str | None,
        option(
            "Of intensities inside the brain. percentile: to 0 to 1, clipped; zscore: mean 0, deviation 1; none.",
            default="percentile",
            choices=choices.Normalisation,
        ),
    ] = None,
    percentiles: Annotated[
        tuple[str, str] | None,
        option("Intensities inside the brain that become 0 and 1 (percentile).", metavar="LOW HIGH", default="1 99"),
    ] = None,
    keep_intermediates: Annotated[
        bool | None, option("Keep aligned images with skull (they show the face).", "--keep-intermediates")
    ] = None,
    strict_qc: Annotated[
        bool | None, option("Exit 7 where a quality figure lies outside its limits.", "--strict-qc")
    ] = None,
    config_file: ConfigFile = None,
    precision: PrecisionName = None,
    seed: Seed = None,
    threads: Threads = None,
    jobs: Jobs = None,
    part_id: PartId = None,
    num_parts: NumParts = None,
    device: DeviceName = None,
    resume: Resume = None,
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Raw scans to aligned, skull-stripped, bias-corrected images in [0, 1] on the SRI24 (BraTS) grid.

    Example: braincli preprocess sub-01/ -o preprocessed/
    """
    given = locals()
    from braincli import api
    from braincli.config import PreprocessConfig
    from braincli.runtime.cohort import finished, rows
    from braincli.runtime.progress import reporter

    config = read(PreprocessConfig, given, config_file)
    words = reporter(quiet=quiet)
    outcomes, failure = finished(lambda: api.preprocess(inputs, output, config, words, contrast=contrast))
    if as_json:
        show_json(rows(outcomes))
    for result in (outcome.result for outcome in outcomes if outcome.result is not None):
        state = "complete already" if result.resumed else "done"
        words.say(f"{result.case.id}: {state}, {result.place}/ ({', '.join(result.images)}; {result.space})")
    if failure is not None:
        raise failure
