"""``braincli detect``: scans in, lesion masks on their own grid out."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from braincli.cli.common import (
    AsJson,
    Debug,
    DeviceName,
    Overwrite,
    Precision,
    PrecisionName,
    Quiet,
    Resume,
    Seed,
    Threads,
)
from braincli.errors import CohortError, UsageError


class OnOom(StrEnum):
    """What to do when memory runs out."""

    HALVE = "halve"
    CPU = "cpu"
    FAIL = "fail"


class ContrastName(StrEnum):
    """The four contrasts."""

    T1 = "t1"
    T1CE = "t1ce"
    T2 = "t2"
    FLAIR = "flair"


Scan = Annotated[Path | None, typer.Option(help="The scan of this contrast; all four options make one case.")]


def command(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="A scan, case folders, cohort folders, .tsv manifests.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Mask file (mask.nii.gz), or folder for all outputs.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Name or folder of a trained model.")] = "tsgm",
    t1: Scan = None,
    t1ce: Scan = None,
    t2: Scan = None,
    flair: Scan = None,
    contrast: Annotated[
        ContrastName | None, typer.Option(help="What a single scan shows, where its name does not tell.")
    ] = None,
    brain_mask: Annotated[Path | None, typer.Option(help="Brain mask of a single case, on its grid.")] = None,
    preprocess: Annotated[
        bool, typer.Option("--preprocess", help="Scans are raw: align, skull-strip, normalise first.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(help="Of the anomaly map (default: the model's calibration).", min=0)
    ] = None,
    min_lesion_mm3: Annotated[
        float | None, typer.Option(help="Smallest lesion kept (default: the model's calibration).", min=0)
    ] = None,
    min_lesion_voxels: Annotated[
        int, typer.Option(help="Smallest lesion kept, in voxels of the scan; the larger limit counts.", min=0)
    ] = 0,
    samples: Annotated[
        int, typer.Option(help="Restorations per slice; their mean makes the map (stochastic methods).", min=1)
    ] = 1,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the standard deviation of the anomaly map over the samples, in the map's units, voxel by voxel "
            "(folders get <case>_uncertainty.nii.gz anyway).",
        ),
    ] = None,
    anomaly_map: Annotated[bool, typer.Option("--anomaly-map", help="Write the anomaly map.")] = False,
    restored: Annotated[bool, typer.Option("--restored", help="Write the pseudo-healthy restorations.")] = False,
    residual: Annotated[bool, typer.Option("--residual", help="Write |input - restoration| per contrast.")] = False,
    figure: Annotated[bool, typer.Option(help="Draw the most abnormal slices (folders only).")] = True,
    batch: Annotated[int, typer.Option(help="Slices per network call; changes speed, not results.", min=1)] = 16,
    on_oom: Annotated[OnOom, typer.Option(help="When memory runs out.")] = OnOom.HALVE,
    precision: PrecisionName = Precision.AUTO,
    device: DeviceName = "auto",
    threads: Threads = None,
    seed: Seed = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find lesions: restore each scan to health, and mask what differs, on the scan's own grid.

    Several cases: one that fails is listed and the others go on (exit code 6).

    Example: braincli detect --model tsgm sub01/ -o out/
    """
    from braincli import api
    from braincli.config import DetectConfig, parse
    from braincli.imaging.cases import Contrast
    from braincli.runtime.progress import reporter

    if output is None:
        raise UsageError("Where should the result go?", "Add -o mask.nii.gz for one mask, or -o OUT/ for a folder.")
    scans = {Contrast(name): path for name, path in (("t1", t1), ("t1ce", t1ce), ("t2", t2), ("flair", flair)) if path}
    config = parse(
        DetectConfig,
        {
            "model": model, "preprocess": preprocess, "threshold": threshold, "min_lesion_mm3": min_lesion_mm3,
            "min_lesion_voxels": min_lesion_voxels, "samples": samples, "uncertainty": uncertainty,
            "anomaly_map": anomaly_map, "restored": restored, "residual": residual, "figure": figure, "batch": batch,
            "on_oom": on_oom.value, "precision": precision.value, "overwrite": overwrite, "resume": resume,
            "seed": seed, "threads": threads, "device": device,
        },
    )  # fmt: skip
    words = reporter(quiet=quiet)
    report = api.detect(
        paths or [], output, scans=scans, contrast=Contrast(contrast.value) if contrast else None,
        brain_mask=brain_mask, config=config, reporter=words,
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2, ensure_ascii=False))
    else:
        words.say(report.table())
    if failed := report.failures:
        raise CohortError(
            f"{len(failed)} of {len(report.cases)} cases failed: {', '.join(case.case for case in failed)}.",
            "Mend them and run again with --resume; the others are complete.",
        )
