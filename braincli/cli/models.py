"""``braincli models``: every method, and every trained model that can be found."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from braincli.cli.common import AsJson, Debug
from braincli.errors import ModelError


def command(
    name: Annotated[str | None, typer.Argument(help="A method or a trained model, for details.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List methods (with paper, supervision, presets) and trained models (with their figures).

    Example: braincli models tsgm
    """
    methods, models = _methods(), _models()
    if name is not None:
        methods = {key: value for key, value in methods.items() if key == name}
        models = {key: value for key, value in models.items() if name in (key, value.get("method"))}
        if not methods and not models:
            raise ModelError(f"There is no method or model {name!r}.", "List all with: braincli models")
    if as_json:
        typer.echo(json.dumps({"methods": methods, "models": models}, indent=2))
        return
    typer.echo("methods")
    for key, entry in methods.items():
        typer.echo(f"  {key:<12} {entry['summary']}")
        typer.echo(
            f"  {'':<12} {entry['paper']}; learns from: {entry['supervision']}; presets: {', '.join(entry['presets'])}"
        )
    typer.echo("trained models")
    for key, entry in models.items():
        if "damaged" in entry:
            typer.echo(f"  {key:<12} damaged: {entry['damaged']}")
            continue
        figures = "  ".join(f"{label} {value}" for label, value in entry["figures"].items())
        typer.echo(f"  {key:<12} {entry['method']}, {entry['preset']}, {entry['parameters'] / 1e6:.2f} M parameters")
        if figures:
            typer.echo(f"  {'':<12} {figures}")
    if not models:
        typer.echo("  none; train one with: braincli train --method tsgm --data cohort/ -o models/mine")


def _methods() -> dict[str, dict[str, Any]]:
    from dataclasses import asdict

    from braincli.methods.registry import METHODS

    return {
        name: {**asdict(spec), "supervision": str(spec.supervision), "presets": list(spec.presets)}
        for name, spec in METHODS.items()
    }


def _models() -> dict[str, dict[str, Any]]:
    """What each model's ``model.json`` says; of one that cannot be used, why."""
    from braincli.model.folder import read_info
    from braincli.model.search import find_models

    kept = {"method", "preset", "parameters", "figures", "calibration"}
    models: dict[str, dict[str, Any]] = {}
    for name, folder in find_models().items():
        try:
            models[name] = read_info(folder).model_dump(mode="json", include=kept)
        except ModelError as error:
            models[name] = {"damaged": error.message}
    return models
