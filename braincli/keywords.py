"""Options of a configuration as keyword arguments of the Python door: ``detect(..., threshold=0.3)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from braincli import config as configs
from braincli.errors import BraincliError, UsageError
from braincli.imaging.names import Contrast

if TYPE_CHECKING:
    from braincli.model.folder import LoadedModel

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=configs.Options)
Paths = Path | str | Sequence[Path | str]


def takes(kind: type[configs.Options]) -> Callable[[F], F]:
    """Show every option of ``kind`` with its default in the signature of a function that takes them as ``**options``:
    in ``help()`` and as completion in notebooks."""

    def show(function: F) -> F:
        own = inspect.signature(function)
        named = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.annotation)
            for name, field in kind.model_fields.items()
            if name not in own.parameters
        ]
        setattr(function, "__signature__", own.replace(parameters=[*named, *options]))  # noqa: B010 - mypy knows none
        return function

    return show


def configured(kind: type[C], config: C | None, options: Mapping[str, Any]) -> tuple[C, LoadedModel | None]:
    """``options`` over ``config`` over the defaults; and the model, where not its name but the model itself is given.

    Raises:
        UsageError: an unknown option (the closest is named), a value out of range, ``config`` of another verb, or
            a device that the model is not on.
    """
    if config is not None and not isinstance(config, kind):
        raise UsageError(
            f"config is of type {type(config).__name__}.", f"This takes a {kind.__name__}, or options by name."
        )
    values = dict(options)
    models: dict[str, LoadedModel | None] = {}  # those in memory, by the option that gave them
    for name in ("model", "init"):
        if values.get(name) is not None and not isinstance(values[name], str):
            models[name], values[name] = _loaded(name, values[name])
    loaded = models.get("model")
    if values:
        given = {} if config is None else {name: getattr(config, name) for name in config.model_fields_set}
        config = configs.parse(kind, given | values)
    config = config or kind()
    if loaded is not None:
        _refuse_other_device(loaded, getattr(config, "device", "auto"))
    return config, loaded


def _loaded(name: str, model: Any) -> tuple[LoadedModel | None, str]:
    """A model in memory, if it is one, and what names it."""
    if isinstance(model, Path):
        return None, str(model)
    from braincli.model.folder import LoadedModel

    if not isinstance(model, LoadedModel):
        raise UsageError(
            f"{name} is of type {type(model).__name__}.", "Give a name, a folder, or what braincli.load_model() gives."
        )
    return model, str(model.folder)


def _refuse_other_device(model: LoadedModel, name: str) -> None:
    if name == "auto":
        return
    from braincli.runtime import device

    if (wanted := device.prepare(name)) != model.device:
        raise UsageError(
            f"The model {model.info.name} is on {model.device}, not on {wanted}.",
            f'Load it there: braincli.load_model({model.info.name!r}, device="{wanted}").',
        )


def paths(given: Paths) -> list[Path]:
    """One path or several."""
    return [Path(given)] if isinstance(given, str | Path) else [Path(path) for path in given]


def contrasts(given: str | Iterable[str] | None) -> tuple[Contrast, ...] | None:
    """The contrasts named, also as ``t1,flair``.

    Raises:
        UsageError: there is no such contrast.
    """
    if given is None:
        return None
    names = [name.strip().lower() for name in (given.split(",") if isinstance(given, str) else given)]
    if unknown := [name for name in names if name not in list(Contrast)]:
        raise UsageError(f"There is no contrast {unknown[0]!r}.", f"Use one of: {', '.join(Contrast)}.")
    return tuple(Contrast(name) for name in names)


@contextmanager
def kept() -> Iterator[None]:
    """What a failed cohort's error holds of the cases that succeeded outlives the folder that they were written to."""
    try:
        yield
    except BraincliError as error:
        error.outcomes = [
            each if each.result is None else replace(each, result=each.result.in_memory()) for each in error.outcomes
        ]
        raise
