"""``braincli calibrate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from braincli.cli.common import AsJson, Debug, DeviceName, Quiet, Seed, Threads


def command(
    data: Annotated[list[Path], typer.Option("--data", help="Cases with lesion masks that were not trained on.")],
    model: Annotated[str, typer.Option(help="Name or folder of the model.")] = "tsgm",
    cross_fit: Annotated[
        bool, typer.Option("--cross-fit", help="Also report DSC with each half calibrated on the other.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report only; leave model.json as it is.")] = False,
    batch: Annotated[int, typer.Option(help="Slices per network call.", min=1)] = 16,
    seed: Seed = 0,
    threads: Threads = None,
    device: DeviceName = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit contrast weights, threshold and smallest lesion; they are stored in the model's model.json.

    Example: braincli calibrate --model models/mine --data validation/ --cross-fit
    """
    from braincli import api, config
    from braincli.progress import reporter

    values = {
        "model": model, "cross_fit": cross_fit, "write": not dry_run, "batch": batch,
        "seed": seed, "threads": threads, "device": device,
    }  # fmt: skip
    options = config.parse(config.CalibrateConfig, values)
    found = api.calibrate(data, options, reporter(quiet=quiet))
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json"), indent=2))
        return
    weights = "  ".join(f"{name} {weight:.2f}" for name, weight in found.weights.items())
    typer.echo(f"weights    {weights}\nthreshold  {found.threshold:.4f}\nsmallest   {found.min_lesion_mm3:g} mm3")
    typer.echo(f"mean DSC   {found.provenance['dsc_fitted']:.3f} on the cases it was fitted on")
    if "cross_fit" in found.provenance:
        for case, dsc in found.provenance["cross_fit"].items():
            typer.echo(f"  {dsc:.3f}  {case} (cross-fitted)")
        typer.echo(f"mean DSC   {found.provenance['dsc_cross_fit']:.3f} cross-fitted")
