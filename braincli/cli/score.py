"""``braincli score``: predictions against references."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braincli import choices
from braincli.cli.common import show, show_json
from braincli.cli.options import (
    AsJson,
    ConfigFile,
    Debug,
    Jobs,
    Overwrite,
    Prefer,
    Quiet,
    Seed,
    VolumeNumber,
    option,
    read,
)
from braincli.errors import CohortError
from braincli.wording import counted


def command(
    prediction: Annotated[
        Path,
        typer.Argument(metavar="PREDICTION", help="Predicted mask, or folder of them (flat or one folder per case)."),
    ],
    reference: Annotated[
        Path,
        typer.Argument(metavar="REFERENCE", help="Reference mask, folder of them (e.g. a BraTS cohort), or manifest."),
    ],
    output: Annotated[
        Path | None, option("Folder for scores.csv and scores.json.", "--output", "-o", metavar="PATH")
    ] = None,
    anomaly_map: Annotated[
        Path | None, option("Map or folder of maps, if not beside the masks.", metavar="PATH")
    ] = None,
    brain_mask: Annotated[
        Path | None, option("Mask or folder: count specificity, AUPRC, AUROC, best DSC inside it.", metavar="PATH")
    ] = None,
    compare: Annotated[
        Path | None, option("Another run (folder or scores.json): paired permutation test.", metavar="PATH")
    ] = None,
    model: Annotated[
        str | None,
        option("Whose masks, where PREDICTION holds those of several models.", "--model", "-m", metavar="MODEL"),
    ] = None,
    labels: Annotated[
        str | None,
        option(
            "Labels that are lesion, e.g. 1,4; a 0/1 mask means lesion.", metavar="LABEL[,...]", default="all above 0"
        ),
    ] = None,
    hd_definition: Annotated[
        str | None, option("Definition of HD95.", default="max-directed", choices=choices.Hausdorff)
    ] = None,
    empty: Annotated[
        str | None,
        option(
            "Figures that are undefined, or of a case without prediction: penalty (0, HD95 the image diagonal) or "
            "null (left out); the same in table, CSV and mean.",
            default="penalty",
            choices=choices.Empty,
        ),
    ] = None,
    connectivity: Annotated[
        str | None, option("Neighbours that join voxels to a lesion.", default="26", choices=choices.Connectivity)
    ] = None,
    volume: VolumeNumber = None,
    prefer: Prefer = None,
    slices: Annotated[
        bool | None, option("Score axial slices with lesion, too, and count empty predictions.", "--slices")
    ] = None,
    healthy: Annotated[
        bool | None,
        option(
            "PREDICTION holds restorations (detect --restored), REFERENCE the scans of healthy people: score L1, the "
            "mean |restoration - scan| inside the brain, as a share of the scan's range.",
            "--healthy",
        ),
    ] = None,
    resample_labels: Annotated[
        bool | None, option("Bring predictions to the reference's grid (nearest).", "--resample-labels")
    ] = None,
    bootstrap: Annotated[
        str | None, option("Rounds of the bootstrap; 0 for none.", default="10000", metavar="INT")
    ] = None,
    permutations: Annotated[
        str | None, option("Rounds of the permutation test; 0 for none.", default="10000", metavar="INT")
    ] = None,
    jobs: Jobs = None,
    config_file: ConfigFile = None,
    seed: Seed = None,
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score masks against reference masks: DSC, HD95, AUPRC, lesion-wise figures, with 95 % intervals.

    Folders are matched by case id. A reference without prediction is an error row (exit code 6).

    A case without mask, but with an anomaly map (detect refuses masks of over half of a brain), keeps its figures.

    Example: braincli score out/ cohort/ -o scores/ --compare baseline/ &&
    braincli score restored/ healthy/ --healthy
    """
    given = locals()
    from braincli import api
    from braincli.config import ScoreConfig
    from braincli.runtime.progress import reporter

    config = read(ScoreConfig, given, config_file)
    words = reporter(quiet=quiet)
    report = api.score(
        prediction, reference, output, config, words, anomaly=anomaly_map, brain=brain_mask, compare=compare
    )
    if as_json:
        show_json(report.as_dict())
    elif output is None:
        show(report.as_table())
    else:
        words.say(f"{report.as_table()}\nWrote scores.csv and scores.json to {output.name}.")
    if report.failed:
        names = ", ".join(case.case for case in report.failed)
        raise CohortError(f"Not scored: {len(report.failed)} of {counted(len(report.cases), 'case')} ({names}).")
