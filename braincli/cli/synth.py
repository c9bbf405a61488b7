"""``braincli synth``: planted anomalies with known masks."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from braincli.cli.common import AsJson, Debug, Overwrite, Quiet, Seed, Threads


class KindName(StrEnum):
    """Kinds of anomalies."""

    DRAEM = "draem"
    PII = "pii"
    GROWTH = "growth"
    COARSE = "coarse"
    SINK = "sink"


def command(
    paths: Annotated[list[Path], typer.Argument(help="Prepared cases: folders, cohorts or .tsv manifests.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder; each case gets one below it.")],
    kind: Annotated[
        KindName,
        typer.Option(
            help="growth: tumour-like; sink: smooth intensity change; pii: other tissue without a seam; draem: "
            "foreign texture; coarse: coarse noise."
        ),
    ] = KindName.GROWTH,
    count: Annotated[int, typer.Option(help="Anomalies per case.", min=1)] = 1,
    radius_mm: Annotated[
        tuple[float, float], typer.Option("--radius-mm", help="Smallest and largest radius in mm.")
    ] = (6.0, 20.0),
    margin_mm: Annotated[float, typer.Option(help="Distance kept from lesions that a case already has.", min=0)] = 10.0,
    seed: Seed = 0,
    threads: Threads = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Plant synthetic anomalies into scans and write their masks, to test any detector (not only ours).

    Scans are skull-stripped and on one grid, best of healthy people; of others, known lesions (*_seg.nii.gz) are kept
    away from, and are label 2 of the mask. Several cases: one that fails is listed, the others go on (exit code 6).

    Example: braincli synth healthy/ -o planted/ --count 2 && braincli detect planted/ -o out/ &&
    braincli score out/ planted/
    """
    from braincli import api, config
    from braincli.runtime.cohort import finished, rows
    from braincli.runtime.progress import reporter

    values = {
        "kind": kind.value, "count": count, "radius_mm": radius_mm, "margin_mm": margin_mm, "seed": seed,
        "threads": threads, "overwrite": overwrite,
    }  # fmt: skip
    words = reporter(quiet=quiet)
    options = config.parse(config.SynthConfig, values)
    outcomes, failure = finished(lambda: api.synth(paths, output, options, words))
    if as_json:
        typer.echo(json.dumps(rows(outcomes), indent=2, ensure_ascii=False))
    for result in (outcome.result for outcome in outcomes if outcome.result is not None and not as_json):
        volumes = " + ".join(f"{ml:.1f}" for ml in result.planted_ml)
        words.say(f"{result.case}: {volumes} ml planted, {result.folder.name}/")
    if failure is not None:
        raise failure
