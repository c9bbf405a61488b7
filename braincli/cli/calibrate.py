"""``braincli calibrate``."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braincli.cli.common import AsJson, Debug, DeviceName, Precision, PrecisionName, Quiet, Seed, Threads
from braincli.errors import CohortError

if TYPE_CHECKING:
    from braincli.model.info import Calibration


class Objective(StrEnum):
    """What calibration looks for."""

    DSC = "dsc"
    HEALTHY = "healthy-quantile"


def command(
    data: Annotated[list[Path], typer.Option("--data", help="Cases that were not trained on, with lesion masks.")],
    model: Annotated[str, typer.Option(help="Name or folder of the model.")] = "tsgm",
    objective: Annotated[
        Objective,
        typer.Option(
            help="dsc: highest mean DSC. healthy-quantile: the threshold that --false-positive-rate of healthy brain "
            "exceeds; needs no masks (cases without mask count as healthy)."
        ),
    ] = Objective.DSC,
    false_positive_rate: Annotated[
        float, typer.Option(help="Share of healthy brain above the threshold (healthy-quantile).", min=1e-6, max=0.5)
    ] = 0.01,
    contrasts: Annotated[
        str | None,
        typer.Option(
            help="Fit for scans that have these contrasts alone, as flair or t1,flair; what was fitted for all stays. "
            "detect takes what was fitted for the contrasts it is given."
        ),
    ] = None,
    healthy: Annotated[
        list[Path] | None,
        typer.Option(help="Healthy cases, prepared; what the calibrated model marks in them goes to the card."),
    ] = None,
    cross_fit: Annotated[
        bool, typer.Option("--cross-fit", help="Also report DSC with each half calibrated on the other.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report only; leave model.json as it is.")] = False,
    batch: Annotated[int, typer.Option(help="Slices per network call.", min=1)] = 16,
    precision: PrecisionName = Precision.AUTO,
    seed: Seed = 0,
    threads: Threads = None,
    device: DeviceName = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit contrast weights, threshold and smallest lesion; they are stored in the model's model.json.

    Also measured: what the values mark in the slices that show no lesion (two slices or more away from one).

    Example: braincli calibrate --model models/mine --data validation/ --cross-fit &&
    braincli calibrate --model models/mine --data validation/ --contrasts flair
    """
    from braincli import api, config
    from braincli.runtime.progress import reporter

    values = {
        "model": model, "objective": objective.value, "false_positive_rate": false_positive_rate,
        "contrasts": tuple(contrasts.lower().replace(" ", "").split(",")) if contrasts else (),
        "cross_fit": cross_fit, "write": not dry_run, "batch": batch, "precision": precision.value,
        "seed": seed, "threads": threads, "device": device,
    }  # fmt: skip
    options = config.parse(config.CalibrateConfig, values)
    calibration = api.calibrate(data, options, reporter(quiet=quiet), healthy=healthy or ())
    if as_json:
        typer.echo(json.dumps(calibration.model_dump(mode="json"), indent=2))
    else:
        _say(calibration)
    if left_out := calibration.provenance.left_out:
        raise CohortError(
            f"{len(left_out)} cases were left out of the calibration: {', '.join(left_out)}.", "Mend them, or go on."
        )


def _say(calibration: Calibration) -> None:
    """The values and their figures, for people."""
    weights = (
        "  ".join(f"{name} {weight:.2f}" for name, weight in calibration.weights.items()) or "none: the map is a score"
    )
    typer.echo(
        f"weights    {weights}\nthreshold  {calibration.threshold:.4f}\nsmallest   {calibration.min_lesion_mm3:g} mm3"
    )
    facts = calibration.provenance
    if facts.dsc_fitted is not None:
        typer.echo(f"mean DSC   {facts.dsc_fitted:.3f} on the cases it was fitted on")
    if facts.cross_fit is not None:
        for case, dsc in facts.cross_fit.items():
            typer.echo(f"  {dsc:.3f}  {case} (cross-fitted)")
        typer.echo(f"mean DSC   {facts.dsc_cross_fit:.3f} cross-fitted")
    for case, healthy_slices in facts.healthy.items():
        typer.echo(
            f"healthy    {healthy_slices.mask_ml:.2f} ml marked in {healthy_slices.brain_ml:.0f} ml of "
            f"{healthy_slices.slices} slices: {case}"
        )
