"""``braincli synth``: planted anomalies with known masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braincli import choices
from braincli.cli.common import show_json
from braincli.cli.options import AsJson, ConfigFile, Debug, Overwrite, Quiet, Run, Seed, Threads, option, read, wanted


def command(
    *,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[INPUTS]", show_default=False, help="Prepared cases: folders, cohorts or .tsv manifests."
        ),
    ] = None,
    output: Annotated[
        Path | None, option("Folder; each case gets one below it (needed).", "--output", "-o", metavar="PATH")
    ] = None,
    kind: Annotated[
        str | None,
        option(
            "growth: tumour-like; sink: smooth intensity change; pii: other tissue without a seam; draem: "
            "foreign texture; coarse: coarse noise; ellipses: DeScarGAN's data set, drawn without any scan.",
            default="growth",
            choices=choices.Kind,
        ),
    ] = None,
    run: Run = None,
    count: Annotated[str | None, option("Anomalies per case.", default="1", metavar="INT")] = None,
    radius_mm: Annotated[
        tuple[str, str] | None, option("Smallest and largest radius in mm.", metavar="LOW HIGH", default="6 20")
    ] = None,
    margin_mm: Annotated[
        str | None, option("Distance kept from lesions that a case already has, in mm.", default="10", metavar="FLOAT")
    ] = None,
    pixel_mm: Annotated[
        str | None, option("In-plane grid that anomalies are drawn on, in mm.", default="1", metavar="FLOAT")
    ] = None,
    images: Annotated[
        tuple[str, str, str] | None,
        option(
            "Of each class, to train, validate and test; kind ellipses.",
            metavar="TRAIN VAL TEST",
            default="2000 200 200",
        ),
    ] = None,
    config_file: ConfigFile = None,
    seed: Seed = None,
    threads: Threads = None,
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Plant synthetic anomalies into scans and write their masks, to test any detector (not only ours).

    Scans are skull-stripped and on one grid, best of healthy people; of others, known lesions (*_seg.nii.gz) are kept
    away from, and are label 2 of the mask. Several cases: one that fails is listed, the others go on (exit code 6).

    Kind ellipses needs no scans; it draws healthy and diseased images below OUTPUT/train, val and test.

    Example: braincli synth healthy/ -o planted/ --count 2 && braincli detect planted/ -o out/ &&
    braincli score out/ planted/
    """
    given = locals()
    from braincli import api
    from braincli.config import SynthConfig
    from braincli.runtime.cohort import finished, rows
    from braincli.runtime.progress import reporter

    config = read(SynthConfig, given, config_file)
    output = wanted(output, inputs or (), "-o OUT/, the folder of the results")
    words = reporter(quiet=quiet)
    outcomes, failure = finished(lambda: api.synth(inputs or [], output, config, words))
    if as_json:
        show_json(rows(outcomes))
    for result in (outcome.result for outcome in outcomes if outcome.result is not None and not as_json):
        volumes = " + ".join(f"{ml:.1f}" for ml in result.planted_ml)
        words.say(f"{result.case}: {f'{volumes} ml' if volumes else 'nothing'} planted, {result.folder.name}/")
    if failure is not None:
        raise failure
