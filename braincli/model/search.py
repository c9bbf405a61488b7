"""Where trained models are. Standard library only: ``braincli models`` answers at once."""

from __future__ import annotations

import os
from pathlib import Path

from braincli.errors import ModelError

PACKAGE = Path(__file__).resolve().parents[1]


def search_folders() -> list[Path]:
    """Where models are looked for, first match wins: BRAINCLI_MODELS, ./models, those shipped with braincli."""
    named = os.environ.get("BRAINCLI_MODELS", "")
    shipped = [PACKAGE / "_models", PACKAGE.parent / "models"]
    return [Path(part) for part in named.split(os.pathsep) if part] + [Path("models"), *shipped]


def find_models() -> dict[str, Path]:
    """All model folders by name."""
    found: dict[str, Path] = {}
    for folder in search_folders():
        for file in sorted(folder.glob("*/model.json")):
            found.setdefault(file.parent.name, file.parent)
    return found


def locate(name: str) -> Path:
    """The folder of a model, by name or path.

    Raises:
        ModelError: there is none; the known names are listed.
    """
    path = Path(name)
    if (path / "model.json").is_file():
        return path
    models = find_models()
    if name in models:
        return models[name]
    known = f"Models found: {', '.join(models) or 'none'}."
    raise ModelError(f"There is no model {name!r}.", f"{known} Train one with: braincli train --method tsgm ...")
