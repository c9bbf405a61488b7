"""Values of options: merged from files, assignments and flags, checked, and complained of in our words.

What is wrong with a value is said under the name that the user gave it: ``--radius-mm``, or ``radius_mm in mine.toml``.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from braincli.errors import UsageError

C = TypeVar("C", bound=BaseModel)


def parse(kind: type[C], values: Mapping[str, Any], names: Mapping[str, str] | None = None, *, prefix: str = "") -> C:
    """Validate ``values`` as ``kind``.

    Args:
        names: how the user called a value, e.g. ``--radius-mm``, where it is not the key itself; entries of a table
            (``slices.size``) may have names of their own.
        prefix: what stands before the keys that have no other name, e.g. ``--set ``.

    Raises:
        UsageError: an unknown key (the valid ones are listed, the closest first) or a value out of range.
    """
    names = names or {}
    unknown = sorted(set(values) - set(kind.model_fields))
    if unknown:
        close = get_close_matches(unknown[0], kind.model_fields, n=1)
        guess = f"Did you mean {close[0]}? " if close else ""
        name = names.get(unknown[0], f"{prefix}{unknown[0]}" if prefix else repr(unknown[0]))
        raise UsageError(f"Unknown option {name}.", f"{guess}Valid: {', '.join(sorted(kind.model_fields))}.")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(_complaint(error.errors()[0], names, prefix)) from None


def load(
    kind: type[C],
    file: Path | None = None,
    assignments: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
) -> C:
    """Merge a TOML file, ``key=value`` assignments and flags (later wins; flags that are None count as not given).

    Args:
        names: of flags that the user did not give as such, e.g. a variable of the environment.

    Raises:
        UsageError: the file cannot be read, an unknown key, or a value out of range.
    """
    values: dict[str, Any] = {} if file is None else _read(file)
    called = {key: f"{key} in {file.name}" for key in values} if file is not None else {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment!r} is not key=value.")
        _assign(values, key.strip(), text.strip())
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    called |= {key: f"--{key.replace('_', '-')}" for key in given} | dict(names or {})
    return parse(kind, {**values, **given}, called)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise UsageError(
            f"The configuration {file.name} is not UTF-8.", "Save it as UTF-8; TOML is nothing else."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        words = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"Cannot read the configuration {file.name}: {words}.", "It is a TOML file.") from None


WORDS = {  # pydantic's kind of error -> ours; what is in braces is its context
    "greater_than_equal": "is below {ge}",
    "greater_than": "is not above {gt}",
    "less_than_equal": "is above {le}",
    "less_than": "is not below {lt}",
    "literal_error": "is not one of {expected}",
    "enum": "is not one of {expected}",
    "string_pattern_mismatch": "does not have the form that it should",
    "string_too_short": "is empty",
    "string_too_long": "is too long",
    "extra_forbidden": "is unknown",
    "int_parsing": "is not a whole number",
    "int_parsing_size": "is too large",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "string_type": "is not text",
    "path_type": "is not a path",
    "pattern_regex": "is no regular expression",
    "dict_type": "is not a table",
    "model_type": "is not a table",
    "list_type": "is not a list",
    "tuple_type": "is not a list",
    "frozen_set_type": "is not a list",
    "too_long": "has more than {max_length} values",
    "missing": "lacks a value",
    "value_error": "{error}",
}


TABLES = ("steps", "lesson", "slices", "map")  # whose entries are named with them


def words(error: ErrorDetails) -> str:
    """What is wrong with a value, in our words: ``fp8 is not one of 'auto' or 'fp32'``; a faulty table is not shown."""
    said = WORDS.get(error["type"], "is not what this option takes").format(**(error.get("ctx") or {}))
    value = error["input"]
    if error["type"] == "value_error" and isinstance(value, Mapping | BaseModel):
        return said
    return f"{value if isinstance(value, str | int | float | Path) else repr(value)} {said}"


def _complaint(error: ErrorDetails, names: Mapping[str, str], prefix: str) -> str:
    """One sentence: the option under the name that the user knows, what was given, and what is wrong with it."""
    if not error["loc"]:
        return f"These options do not go together: {words(error)}."
    key, *inner = [str(part) for part in error["loc"]]
    dotted = ".".join([key, *(part for part in inner if part.isidentifier() and key in TABLES)])
    return f"{names.get(dotted) or names.get(key) or prefix + dotted}: {words(error)}."


def to_toml(values: Mapping[str, Any], table: str = "") -> str:
    """``values`` (scalars, lists of scalars, nested mappings) as TOML that :func:`load` reads; None is left out."""
    plain = {key: value for key, value in values.items() if value is not None and not isinstance(value, Mapping)}
    lines = [f"[{table}]"] if table else []
    # JSON writes strings, lists and booleans as TOML does; str() also knows nan and inf
    lines += [f"{key} = {value if type(value) is float else json.dumps(value)}" for key, value in plain.items()]
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    below = [to_toml(value, f"{table}.{key}" if table else key) for key, value in tables.items()]
    return "\n".join(["\n".join(lines) + "\n", *below] if lines else below)


def _assign(values: dict[str, Any], key: str, text: str) -> None:
    """Set a dotted ``key``; the text is read as a TOML value, or taken as a string where it is none."""
    *parents, leaf = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UsageError(f"{key}: {parent} is not a table.")
    try:
        values[leaf] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        values[leaf] = text
