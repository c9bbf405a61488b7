"""``braincli preprocess``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braincli.cli.common import AsJson, Debug, DeviceName, Overwrite, Quiet, Resume, Seed, Threads


def command(
    paths: Annotated[list[Path], typer.Argument(help="Case folders, BIDS subjects, cohorts, scans or .tsv manifests.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.")] = Path("preprocessed"),
    contrast: Annotated[
        str | None,
        typer.Option(help="What a single file shows: t1, t1ce, t2 or flair, if its name does not tell."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Contrast that the others are aligned to (default: t1, t1ce, t2, flair; finest)."),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(help="sri24 (default): 1 mm atlas grid of BraTS; native: the reference's own grid."),
    ] = None,
    transform: Annotated[str | None, typer.Option(help="To the atlas: affine (default) or rigid.")] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(help="Leave out coregister, atlas, brain, n4 or normalise (repeatable)."),
    ] = None,
    already_stripped: Annotated[
        bool | None, typer.Option("--already-stripped", help="The scans show the brain only.")
    ] = None,
    brain_mask: Annotated[
        Path | None, typer.Option(help="Brain mask on the reference's grid, instead of HD-BET.")
    ] = None,
    bet_mode: Annotated[
        str | None,
        typer.Option(help="HD-BET: fast (default, one fold) or accurate (five folds, mirrored; 40 x slower)."),
    ] = None,
    bet_backend: Annotated[
        str | None,
        typer.Option(help="minimal (default, comes with braincli) or hd-bet (2.x weights, fetched by you)."),
    ] = None,
    keep_intermediates: Annotated[
        bool | None,
        typer.Option("--keep-intermediates", help="Keep aligned images with skull (they show the face)."),
    ] = None,
    strict_qc: Annotated[
        bool | None,
        typer.Option("--strict-qc", help="Exit 7 where a quality figure lies outside its limits."),
    ] = None,
    config_file: Annotated[Path | None, typer.Option("--config", help="Options in a TOML file.")] = None,
    seed: Seed = 0,
    threads: Threads = None,
    device: DeviceName = "auto",
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Raw scans to aligned, skull-stripped, bias-corrected images in [0, 1] on the SRI24 (BraTS) grid.

    Example: braincli preprocess sub-01/ -o preprocessed/
    """
    import json

    from braincli import api
    from braincli.config import PreprocessConfig, load
    from braincli.runtime.cohort import finished, rows
    from braincli.runtime.progress import reporter

    flags = {
        "skip": skip, "already_stripped": already_stripped, "brain_mask": brain_mask, "reference": reference,
        "transform": transform, "space": space, "bet_mode": bet_mode, "bet_backend": bet_backend,
        "keep_intermediates": keep_intermediates, "strict_qc": strict_qc, "overwrite": overwrite or None,
        "resume": resume or None, "seed": seed, "threads": threads, "device": device,
    }  # fmt: skip
    options = load(PreprocessConfig, config_file, flags=flags)
    report = reporter(quiet=quiet)
    outcomes, failure = finished(lambda: api.preprocess(paths, out, options, report, contrast=contrast))
    if as_json:
        print(json.dumps(rows(outcomes), indent=2))
    for result in (outcome.result for outcome in outcomes if outcome.result is not None):
        state = "complete already" if result.resumed else "done"
        report.say(f"{result.case.id}: {state}, {result.folder.name}/ ({', '.join(result.images)}; {result.space})")
    if failure is not None:
        raise failure
