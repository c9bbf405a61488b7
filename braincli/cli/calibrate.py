"""``braincli calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braincli import choices
from braincli.cli.common import show_json
from braincli.cli.options import (
    AsJson,
    Batch,
    ConfigFile,
    Debug,
    DeviceName,
    Model,
    PrecisionName,
    Quiet,
    Run,
    Seed,
    Threads,
    option,
    read,
)
from braincli.errors import CohortError

if TYPE_CHECKING:
    from braincli.model.info import Calibration


def command(
    inputs: Annotated[
        list[Path], typer.Option("--data", help="Cases that were not trained on, with lesion masks.", metavar="PATH")
    ],
    model: Model = None,
    run: Run = None,
    objective: Annotated[
        str | None,
        option(
            "dsc: highest mean DSC. healthy-quantile: the threshold that --false-positive-rate of healthy brain "
            "exceeds; needs no masks (cases without mask count as healthy).",
            default="dsc",
            choices=choices.Objective,
        ),
    ] = None,
    false_positive_rate: Annotated[
        str | None,
        option("Share of healthy brain above the threshold (healthy-quantile).", default="0.01", metavar="FLOAT"),
    ] = None,
    contrasts: Annotated[
        str | None,
        option(
            "Fit for scans that have these contrasts alone, as flair or t1,flair; what was fitted for all stays. "
            "detect takes what was fitted for the contrasts it is given.",
            metavar="CONTRAST[,...]",
        ),
    ] = None,
    healthy: Annotated[
        list[Path] | None,
        option("Healthy cases, prepared; what the calibrated model marks in them goes to the card.", metavar="PATH"),
    ] = None,
    cross_fit: Annotated[
        bool | None, option("Also report DSC with each half calibrated on the other.", "--cross-fit")
    ] = None,
    dry_run: Annotated[bool | None, option("Report only; leave model.json as it is.", "--dry-run")] = None,
    batch: Batch = None,
    precision: PrecisionName = None,
    config_file: ConfigFile = None,
    seed: Seed = None,
    threads: Threads = None,
    device: DeviceName = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit contrast weights, threshold and smallest lesion; they are stored in the model's model.json.

    Also measured: what the values mark in the slices that show no lesion (two slices or more away from one).

    Example: braincli calibrate --model models/mine --data validation/ --cross-fit &&
    braincli calibrate --model models/mine --data validation/ --contrasts flair
    """
    given = locals()
    from braincli import api
    from braincli.config import CalibrateConfig
    from braincli.runtime.progress import reporter

    config = read(CalibrateConfig, given, config_file)
    calibration = api.calibrate(inputs, config, reporter(quiet=quiet), healthy=healthy or ())
    if as_json:
        show_json(calibration.model_dump(mode="json"))
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
