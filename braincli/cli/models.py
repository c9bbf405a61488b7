"""``braincli models``: every method, and every trained model that can be found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from braincli.cli.common import show_json
from braincli.cli.options import AsJson, Debug, Quiet, methods, models
from braincli.errors import ModelError


def methods_and_models(incomplete: str) -> list[str]:
    """Completes both kinds of names."""
    return sorted({*methods(incomplete), *models(incomplete)})


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A method, or a trained model (name or folder) and its card.",
            autocompletion=methods_and_models,
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List methods (with paper, supervision, presets) and trained models (with their figures).

    Example: braincli models tsgm
    """
    from braincli.model.search import find_models

    found = find_models()
    if name is not None and (folder := _folder(name)):
        found[name] = folder
    known, trained, volumes = _methods(), _models(found), _classifiers()
    if name is not None:
        known = {key: value for key, value in known.items() if key == name}
        trained = {key: value for key, value in trained.items() if name in (key, value.get("method"))}
        volumes = {key: value for key, value in volumes.items() if key == name}
        if not (known or trained or volumes):
            raise ModelError(f"There is no method or model {name!r}.", "List all with: braincli models")
    if as_json:
        show_json({"methods": known, "classifiers": volumes, "models": trained})
        return
    width = max(map(len, (*known, *volumes, *trained)))
    if known:
        typer.echo("methods")
    for key, entry in known.items():
        typer.echo(f"  {key:<{width}} {entry['summary']}")
        presets = ", ".join(entry["presets"])
        typer.echo(f"  {'':<{width}} {entry['paper']}; learns from: {entry['supervision']}; presets: {presets}")
    if volumes:
        typer.echo("classifiers of whole volumes (braincli classify)")
    for key, entry in volumes.items():
        typer.echo(f"  {key:<{width}} {entry['summary']}")
        typer.echo(f"  {'':<{width}} {entry['paper']}; presets: {', '.join(entry['presets'])}")
    typer.echo("trained models")
    for key, entry in trained.items():
        if "damaged" in entry:
            typer.echo(f"  {key:<{width}} damaged: {entry['damaged']}")
            continue
        if "classes" in entry:
            typer.echo(f"  {key:<{width}} {entry['method']}, {entry['preset']}: {' or '.join(entry['classes'])}")
            continue
        figures = "  ".join(f"{label} {value}" for label, value in entry["figures"].items())
        typer.echo(
            f"  {key:<{width}} {entry['method']}, {entry['preset']}, {entry['parameters'] / 1e6:.2f} M parameters"
        )
        if figures:
            typer.echo(f"  {'':<{width}} {figures}")
    if not trained:
        typer.echo(f"  none; train one with: {_training(name, volumes)}")
    if name in trained and (card := _card(found[name])):
        typer.echo(f"\n{card}")


def _folder(name: str) -> Path | None:
    """The folder of a trained model that ``name`` is the path of, as for every other command."""
    from braincli.model.search import DESCRIPTION

    try:
        return Path(name) if (Path(name) / DESCRIPTION).exists() else None
    except OSError:
        return None


def _training(name: str | None, volumes: Mapping[str, Any]) -> str:
    """The command that trains method ``name``, or any."""
    if name in volumes:
        return f"braincli classify train cohort.tsv --method {name} -o models/mine"
    return f"braincli train --method {name or 'tsgm'} --data cohort/ -o models/mine"


def _card(folder: Path) -> str:
    """The card of a trained model; empty where it has none."""
    try:
        return (folder / "README.md").read_text(encoding="utf-8").rstrip()
    except (OSError, ValueError):
        return ""


def _methods() -> dict[str, dict[str, Any]]:
    from dataclasses import asdict

    from braincli.methods.registry import METHODS

    return {
        name: {**asdict(spec), "supervision": str(spec.supervision), "presets": list(spec.presets)}
        for name, spec in METHODS.items()
    }


def _classifiers() -> dict[str, dict[str, Any]]:
    from braincli.classification.registry import CLASSIFIERS

    return {name: spec.as_dict() for name, spec in CLASSIFIERS.items()}


def _models(found: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """What each model's ``model.json`` says; of one that cannot be used, why."""
    from braincli.model.search import read_content
    from braincli.model.stored import CLASSIFIER, read_stored

    kept = {"method", "preset", "parameters", "figures", "calibration"}
    models: dict[str, dict[str, Any]] = {}
    for name, folder in found.items():
        try:
            if (content := read_content(folder)).get("kind") == CLASSIFIER:
                models[name] = {key: content.get(key) for key in ("method", "preset", "parameters", "classes")}
                continue
            models[name] = read_stored(folder).model_dump(mode="json", include=kept)
        except ModelError as error:
            models[name] = {"damaged": error.message}
    return models
