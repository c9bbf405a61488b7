"""Where trained models are, and what their ``model.json`` holds. Standard library only."""

from __future__ import annotations

import json
import math
import os
from errno import EACCES, EPERM
from pathlib import Path
from typing import Any

from braincli.errors import ModelError

PACKAGE = Path(__file__).resolve().parents[1]
DESCRIPTION = "model.json"
MARKER = ".braincli-training.json"  # in the folder that a training writes
CONFIG = "train.toml"  # the options of a training, in ``work`` and then beside the model
LARGEST = 32 << 20  # bytes of model.json; the hashes of 50,000 training cases fill half of it


def search_folders() -> list[Path]:
    """Where models are looked for, first match wins: BRAINCLI_MODELS, ./models, those shipped with braincli."""
    named = os.environ.get("BRAINCLI_MODELS", "")
    shipped = [PACKAGE / "_models", PACKAGE.parent / "models"]
    return [Path(part) for part in named.split(os.pathsep) if part] + [Path("models"), *shipped]


def find_models() -> dict[str, Path]:
    """All model folders by name, damaged ones too."""
    models: dict[str, Path] = {}
    for folder in search_folders():
        for file in sorted(folder.glob(f"*/{DESCRIPTION}")):
            models.setdefault(file.parent.name, file.parent)
    return models


def locate(name: str) -> Path:
    """The folder of a model, by name or path.

    Raises:
        ModelError: there is none (the known names are listed), it may not be read, or its training has not ended.
    """
    path = Path(name)
    try:
        if (path / DESCRIPTION).exists():
            return path
        if (path / MARKER).exists():
            raise ModelError(
                f"{title(path)} holds a training that has not ended: there is no model yet.",
                f"Go on with the command that began it and --resume, e.g. braincli train {_begun(path)} --resume.",
            )
    except OSError as error:
        if error.errno in (EACCES, EPERM):
            raise ModelError(
                f"The model {title(path)} may not be read.", "Check the permissions of its folder."
            ) from None
    models = find_models()
    if name in models:
        return models[name]
    known = f"Models found: {', '.join(models) or 'none'}."
    raise ModelError(f"There is no model {name!r}.", f"{known} Train one with: braincli train --method tsgm ...")


def _begun(folder: Path) -> str:
    """Options of the command that goes on with the training in ``folder``."""
    options = folder / "work" / CONFIG
    config = f"--config {options} " if options.is_file() else ""
    return f"{config}--data COHORT/ -o {folder}"


def title(folder: Path) -> str:
    """How messages name the model in ``folder``, also where that is ``.``."""
    return folder.name or folder.resolve().name or str(folder)


def read_content(folder: Path) -> dict[str, Any]:
    """The JSON object in ``folder/model.json``: UTF-8, no key twice, numbers finite; its values are not looked at.

    Raises:
        ModelError: it is anything else.
    """
    path = folder / DESCRIPTION
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        if (size := path.stat().st_size) > LARGEST:
            raise ValueError(f"it has {size >> 20} MB, more than the {LARGEST >> 20} that a description can have")
        content = json.loads(
            path.read_bytes().decode("utf-8"),
            object_pairs_hook=_without_doubles, parse_constant=_no_number, parse_float=_finite,
        )  # fmt: skip
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError) as error:
        raise damaged(folder, getattr(error, "strerror", None) or str(error)) from None
    except RecursionError:
        raise damaged(folder, "it is nested too deeply") from None
    return content


def damaged(folder: Path, why: str) -> ModelError:
    """The error that ``folder/model.json`` cannot be used, and ``why``."""
    return ModelError(f"{DESCRIPTION} of {title(folder)} cannot be read: {why}.", "Fetch or train the model again.")


def refuse_newer(folder: Path, content: dict[str, Any], newest: int) -> None:
    """Raise where ``content`` of ``folder/model.json`` has a format above ``newest``.

    Raises:
        ModelError: it has.
    """
    version = content.get("format")
    if type(version) is int and version > newest:
        raise ModelError(f"The model {title(folder)} has format {version}.", "Update braincli.")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return content


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is out of range")
    return value
