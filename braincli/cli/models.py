"""``braincli models``: every method, and every trained model that can be found."""

from __future__ import annotations

import json
from pathlib import Path
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
        models = {key: value for key, value in models.items() if name in (key, value["method"])}
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
        figures = "  ".join(f"{label} {value}" for label, value in entry["figures"].items())
        typer.echo(f"  {key:<12} {entry['method']}, {entry['preset']}, {entry['parameters'] / 1e6:.2f} M parameters")
        if figures:
            typer.echo(f"  {'':<12} {figures}")
    if not models:
        typer.echo("  none; train one with: braincli train --method tsgm --data cohort/ -o models/mine")


def _methods() -> dict[str, dict[str, Any]]:
    from dataclasses import asdict

    from braincli.methods.registry import METHODS

    return {name: {**asdict(spec), "presets": list(spec.presets)} for name, spec in METHODS.items()}


def _models() -> dict[str, dict[str, Any]]:
    """Read with json alone: validating through pydantic would cost the instant answer."""
    found = {}
    for name, folder in _find().items():
        try:
            content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            kept = {key: content[key] for key in ("method", "preset", "parameters", "figures", "calibration")}
        except (OSError, ValueError, KeyError):
            continue
        found[name] = kept
    return found


def _find() -> dict[str, Path]:
    from braincli.model.search import find_models

    return find_models()
