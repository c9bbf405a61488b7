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
from braincli.cli.options import contrasts as completed_contrasts
from braincli.errors import CohortError
from braincli.wording import counted

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
            "dsc: highest mean DSC. lesion-f1: highest mean lesion-wise F1, for many small lesions. healthy-quantile: "
            "the threshold that --false-positive-rate of healthy brain exceeds; needs no masks (cases without mask "
            "count as healthy). otsu: the mean of the maps' Otsu thresholds.",
            default="dsc",
            choices=choices.Objective,
        ),
    ] = None,
    fusion: Annotated[
        str | None,
        option(
            "Weights of the contrasts. fitted: of the highest mean figure. equal. case-mean: mean of each case's best.",
            default="fitted",
            choices=choices.Fusion,
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
            autocompletion=completed_contrasts,
        ),
    ] = None,
    all_contrasts: Annotated[
        bool,
        typer.Option(
            "--all-contrasts", help="Fit for every set of contrasts that the cases have, up to fifteen, each by itself."
        ),
    ] = False,
    healthy: Annotated[
        list[Path] | None,
        option(
            "Healthy cases, prepared: the threshold rises until --healthy-ml or less is marked in them, as a mean.",
            metavar="PATH",
        ),
    ] = None,
    healthy_ml: Annotated[
        str | None, option("Marked in healthy cases at most, in ml, as a mean.", default="2", metavar="FLOAT")
    ] = None,
    normal: Annotated[
        list[Path] | None,
        option(
            "Cases, those of training too, whose tissue away from lesions says what is normal where in a brain "
            "(without a mask: all of it): suspicion beyond that counts. For methods that suspect, such as tsgm.",
            metavar="PATH",
        ),
    ] = None,
    rising: Annotated[
        bool | None,
        option(
            "Let the threshold rise for scans whose anomaly map is stronger than the faintest map of the cases.",
            "--rising/--no-rising",
            default="rising",
        ),
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
    braincli calibrate --model models/mine --data validation/ --all-contrasts --healthy healthy/ --cross-fit
    """
    given = locals()
    from braincli import api
    from braincli.config import CalibrateConfig
    from braincli.runtime.progress import reporter

    config, say = read(CalibrateConfig, given, config_file), reporter(quiet=quiet)
    if all_contrasts:
        fits = api.calibrate_all(inputs, config, say, healthy=healthy or (), normal=normal or ())
        show = {name: fit.model_dump(mode="json") for name, fit in fits.items()}
    else:
        fit = api.calibrate(inputs, config, say, healthy=healthy or (), normal=normal or ())
        fits, show = {"": fit}, fit.model_dump(mode="json")
    if as_json:
        show_json(show)
    elif all_contrasts:
        _say_all(fits)
    else:
        _say(fits[""])
    if left_out := {case for fit in fits.values() for case in fit.provenance.left_out}:
        raise CohortError(
            f"Left out of the calibration: {counted(len(left_out), 'case')} ({', '.join(sorted(left_out))}).",
            "Mend them, or go on.",
        )


def _say_all(fits: dict[str, Calibration]) -> None:
    """A line for each set of contrasts."""
    width = max(len(name) for name in fits)
    typer.echo(f"{'contrasts':{width}}  threshold  smallest  mean DSC  cross-fitted  healthy ml (cost in DSC)")
    for name, fit in fits.items():
        facts = fit.provenance
        fitted, cross_fitted = (
            "n/a" if value is None else f"{value:.3f}" for value in (facts.dsc_fitted, facts.dsc_cross_fit)
        )
        typer.echo(
            f"{name:{width}}  {fit.threshold:9.4f}  {fit.min_lesion_mm3:5g} mm3  {fitted:>8}  {cross_fitted:>12}  "
            f"{bound_words(fit)}".rstrip()
        )


def bound_words(fit: Calibration) -> str:
    """What is marked in healthy people, and what it costs that it is no more; empty where none bounded the fit."""
    bound, dsc = fit.provenance.bound, fit.provenance.dsc_fitted
    if bound is None:
        return ""
    words = f"{bound.mean_ml:.2f}"
    if bound.mean_ml_cross_fit is not None:
        words += f", cross-fitted {bound.mean_ml_cross_fit:.2f}"
    if bound.dsc_without is not None and dsc is not None:
        words += f" ({bound.dsc_without - dsc:.3f})"
    return words


def _say(calibration: Calibration) -> None:
    """The values and their figures, for people."""
    weights = (
        "  ".join(f"{name} {weight:.2f}" for name, weight in calibration.weights.items())
        or "none: the map is a score or suspicion"
    )
    typer.echo(
        f"weights    {weights}\nthreshold  {calibration.threshold:.4f}\nsmallest   {calibration.min_lesion_mm3:g} mm3"
    )
    if calibration.rises_from is not None:
        typer.echo(f"rises      for scans whose map exceeds {calibration.rises_from:.4f} at its 99th percentile")
    facts = calibration.provenance
    if facts.dsc_fitted is not None:
        typer.echo(f"mean DSC   {facts.dsc_fitted:.3f} on the cases it was fitted on")
    if facts.cross_fit is not None:
        for case, dsc in facts.cross_fit.items():
            typer.echo(f"  {dsc:.3f}  {case} (cross-fitted)")
        typer.echo(f"mean DSC   {facts.dsc_cross_fit:.3f} cross-fitted")
    if facts.lesion_f1_fitted is not None:
        typer.echo(f"lesion F1  {facts.lesion_f1_fitted:.3f} on the cases it was fitted on")
    if facts.lesion_f1_cross_fit is not None:
        typer.echo(f"lesion F1  {facts.lesion_f1_cross_fit:.3f} cross-fitted")
    if facts.bound is not None:
        typer.echo(
            f"bound      {facts.bound.limit_ml:g} ml in {counted(len(facts.bound.images), 'healthy case')}; "
            f"marked, as a mean (cost in DSC): {bound_words(calibration)}"
        )
    for case, healthy_slices in facts.healthy.items():
        typer.echo(
            f"healthy    {healthy_slices.mask_ml:.2f} ml marked in {healthy_slices.brain_ml:.0f} ml of "
            f"{counted(healthy_slices.slices, 'slice')}: {case}"
        )
