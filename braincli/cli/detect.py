"""``braincli detect``: scans in, lesion masks on their own grid out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braincli import choices
from braincli.cli.common import show_json
from braincli.cli.options import (
    AlreadyStripped,
    AsJson,
    AssumeSkull,
    Batch,
    ConfigFile,
    Contrast,
    Debug,
    DeviceName,
    Jobs,
    Model,
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
    wanted,
)
from braincli.errors import CohortError, UsageError
from braincli.wording import counted

if TYPE_CHECKING:
    from braincli.detection.report import DetectReport

Scan = Annotated[Path | None, option("The scan of this contrast; all four options make one case.", metavar="PATH")]


def command(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="INPUTS", help="A scan, case folders, cohort folders, .tsv manifests."),
    ] = None,
    output: Annotated[
        Path | None, option("Mask file (mask.nii.gz), or folder for all outputs.", "--output", "-o", metavar="PATH")
    ] = None,
    model: Model = None,
    t1: Scan = None,
    t1ce: Scan = None,
    t2: Scan = None,
    flair: Scan = None,
    contrast: Contrast = None,
    run: Run = None,
    series: Series = None,
    volume: VolumeNumber = None,
    prefer: Prefer = None,
    brain_mask: Annotated[Path | None, option("Brain mask of a single case, on its grid.", metavar="PATH")] = None,
    preprocess: Annotated[
        bool | None, option("Scans are raw: align, skull-strip, normalise first.", "--preprocess")
    ] = None,
    already_stripped: AlreadyStripped = None,
    assume_skull: AssumeSkull = None,
    n4: Annotated[bool | None, option("Correct the bias field of prepared scans, too.", "--n4")] = None,
    uncalibrated: Annotated[
        bool | None, option("Go on with contrasts that the model was not calibrated for.", "--uncalibrated")
    ] = None,
    threshold: Annotated[
        str | None, option("Of the anomaly map.", default="the model's calibration", metavar="FLOAT")
    ] = None,
    min_lesion_mm3: Annotated[
        str | None, option("Smallest lesion kept.", default="the model's calibration", metavar="FLOAT")
    ] = None,
    min_lesion_voxels: Annotated[
        str | None,
        option("Smallest lesion kept, in voxels of the scan; the larger limit counts.", default="0", metavar="INT"),
    ] = None,
    samples: Annotated[
        str | None,
        option("Restorations per slice; their mean makes the map (stochastic methods).", default="1", metavar="INT"),
    ] = None,
    uncertainty: Annotated[
        Path | None,
        option(
            "Write the standard deviation of the anomaly map over the samples, in the map's units, voxel by voxel "
            "(folders get <case>_uncertainty.nii.gz anyway).",
            metavar="PATH",
        ),
    ] = None,
    anomaly_map: Annotated[bool | None, option("Write the anomaly map.", "--anomaly-map")] = None,
    dicom_seg: Annotated[
        bool | None, option("Write a DICOM SEG beside each mask of a DICOM study.", "--dicom-seg")
    ] = None,
    restored: Annotated[bool | None, option("Write the pseudo-healthy restorations.", "--restored")] = None,
    residual: Annotated[bool | None, option("Write |input - restoration| per contrast.", "--residual")] = None,
    figure: Annotated[
        bool | None, option("Draw the most abnormal slices (folders only).", "--figure/--no-figure", default="figure")
    ] = None,
    report: Annotated[
        bool | None,
        option(
            "Write a page per case, and one of the cohort (folders only).", "--report/--no-report", default="report"
        ),
    ] = None,
    batch: Batch = None,
    on_oom: Annotated[str | None, option("When memory runs out.", default="halve", choices=choices.OnOom)] = None,
    precision: PrecisionName = None,
    device: DeviceName = None,
    threads: Threads = None,
    jobs: Jobs = None,
    part_id: PartId = None,
    num_parts: NumParts = None,
    seed: Seed = None,
    config_file: ConfigFile = None,
    resume: Resume = None,
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find lesions: restore each scan to health, and mask what differs, on the scan's own grid.

    Several cases: one that fails is listed and the others go on (exit code 6).

    Example: braincli detect --model tsgm sub01/ -o out/
    """
    given = locals()
    from braincli import api
    from braincli.config import DetectConfig
    from braincli.runtime.progress import reporter

    config = read(DetectConfig, given, config_file)
    scans = {name: path for name, path in (("t1", t1), ("t1ce", t1ce), ("t2", t2), ("flair", flair)) if path}
    output = wanted(
        output, [*(inputs or []), *scans.values(), brain_mask], "-o mask.nii.gz for one mask, or -o OUT/ for a folder"
    )
    words = reporter(quiet=quiet)
    if inputs and scans:
        raise UsageError(
            "Give either paths or --t1 / --t1ce / --t2 / --flair.", "For example: braincli detect sub01/ -o out/."
        )
    done = api.detect(scans or inputs or [], output, config, words, contrast=contrast, brain_mask=brain_mask)
    if as_json:
        show_json(done.as_dict())
    elif done.cases:
        words.say("\n".join([done.table(), *places(done, output)]))
    if failed := done.failures:
        raise CohortError(
            f"{len(failed)} of {counted(len(done.cases), 'case')} failed: {', '.join(case.case for case in failed)}.",
            "Mend them and run again with --resume; the others are complete.",
        )


def places(done: DetectReport, output: Path) -> list[str]:
    """Where to look: the mask and the page of one case, the page of several."""
    if len(done.cases) == 1:
        paths = done.cases[0].files.paths
        return [f"{word}  {paths[kind]}" for word, kind in (("mask", "mask"), ("page", "report")) if kind in paths]
    page = output / "index.html"
    return [f"page  {page}"] if page.is_file() else []
