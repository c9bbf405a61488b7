"""``model.json`` without the method's class: for lists of models, which load no network."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from braincli.errors import ModelError
from braincli.model import earlier
from braincli.model.facts import FORMAT, Stored
from braincli.model.search import damaged, read_content, refuse_newer, title
from braincli.parsing import words

CLASSIFIER = "classifier"  # what ``kind`` says of models that classify whole volumes (braincli.classification)


def read_stored(folder: Path) -> Stored:
    """``model.json`` of ``folder``, in today's format, with all but the method's options checked.

    Raises:
        ModelError: it is damaged, holds what no model can have, or is of a newer format.
    """
    content = read_content(folder)
    if content.get("kind") == CLASSIFIER:
        raise ModelError(
            f"{title(folder)} is a classifier of whole volumes.",
            "braincli classify predict uses it, and braincli explain shows what it looks at.",
        )
    refuse_newer(folder, content, FORMAT)
    try:
        return Stored.model_validate_json(json.dumps(earlier.description(content)), strict=True)
    except ValidationError as error:
        raise unfit(folder, error) from None


def is_classifier(folder: Path) -> bool:
    """Whether ``folder`` holds a classifier of whole volumes.

    Raises:
        ModelError: its ``model.json`` is damaged.
    """
    return read_content(folder).get("kind") == CLASSIFIER


def unfit(folder: Path, error: ValidationError) -> ModelError:
    """The error that ``folder/model.json`` holds what no model can have."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return damaged(folder, f"{where}: {words(first)}".removeprefix(": "))
