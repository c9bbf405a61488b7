"""``braincli score``: predictions against references."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from braincli.cli.common import AsJson, Debug, Overwrite, Quiet, Seed
from braincli.errors import CohortError, UsageError


class Hausdorff(StrEnum):
    """Definitions of HD95."""

    MAX_DIRECTED = "max-directed"
    POOLED = "pooled"


class Empty(StrEnum):
    """What an undefined figure becomes in table, CSV and means."""

    PENALTY = "penalty"
    NULL = "null"


def command(
    prediction: Annotated[
        Path, typer.Argument(help="Predicted mask, or folder of them (flat or one folder per case).")
    ],
    reference: Annotated[Path, typer.Argument(help="Reference mask, or folder of them (e.g. a BraTS cohort).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for scores.csv and scores.json.")
    ] = None,
    anomaly_map: Annotated[Path | None, typer.Option(help="Map or folder of maps, if not beside the masks.")] = None,
    brain_mask: Annotated[
        Path | None, typer.Option(help="Mask or folder: count specificity, AUPRC, AUROC, best DSC inside it.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Another run (folder or scores.json): paired permutation test.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Labels that are lesion, e.g. 1,4 (default: all above 0); a 0/1 mask means lesion."),
    ] = None,
    hd_definition: Annotated[Hausdorff, typer.Option(help="Definition of HD95.")] = Hausdorff.MAX_DIRECTED,
    empty: Annotated[
        Empty,
        typer.Option(
            help="Figures that are undefined, or of a case without prediction: penalty (0, HD95 the image diagonal) or "
            "null (left out); the same in table, CSV and mean."
        ),
    ] = Empty.PENALTY,
    connectivity: Annotated[int, typer.Option(help="Neighbours that join voxels to a lesion: 6, 18 or 26.")] = 26,
    resample_labels: Annotated[bool, typer.Option(help="Bring predictions to the reference's grid (nearest).")] = False,
    bootstrap: Annotated[int, typer.Option(help="Rounds of the bootstrap; 0 for none.", min=0)] = 10_000,
    permutations: Annotated[int, typer.Option(help="Rounds of the permutation test; 0 for none.", min=0)] = 10_000,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score masks against reference masks: DSC, HD95, AUPRC, lesion-wise figures, with 95 % intervals.

    Folders are matched by case id. A reference without prediction is an error row (exit code 6).

    Example: braincli score out/ cohort/ -o scores/ --compare baseline/
    """
    from braincli import api
    from braincli.config import ScoreConfig, parse
    from braincli.runtime.progress import reporter

    config = parse(
        ScoreConfig,
        {
            "hd_definition": hd_definition.value,
            "empty": empty.value,
            "labels": _labels(labels),
            "bootstrap": bootstrap,
            "permutations": permutations,
            "connectivity": connectivity,
            "resample_labels": resample_labels,
            "seed": seed,
        },
    )
    voice = reporter(quiet=quiet)
    found = api.score(
        prediction,
        reference,
        output=output,
        anomaly=anomaly_map,
        brain=brain_mask,
        compare=compare,
        config=config,
        overwrite=overwrite,
        reporter=voice,
    )
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2, allow_nan=False))
    elif output is None:
        typer.echo(found.as_table())
    else:
        voice.say(f"{found.as_table()}\nWrote scores.csv and scores.json to {output.name}.")
    if found.failed:
        names = ", ".join(case.case for case in found.failed)
        raise CohortError(f"{len(found.failed)} of {len(found.cases)} cases were not scored: {names}.")


def _labels(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--labels {text!r} is not a list of whole numbers.", "For example --labels 1,4.") from None
