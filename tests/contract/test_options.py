"""Options that a method ignores do not exist: every one of its Config is read by what makes or trains it."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from braincli import training
from braincli.config import TrainConfig
from braincli.errors import UsageError
from braincli.imaging.cases import Case
from braincli.methods import registry
from braincli.methods.base import Method, PlainConfig
from braincli.runtime.progress import Reporter
from braincli.training.run import train_cases

EVERYWHERE = {"slices", "map"}  # read by detection, of every method


@cache
def names_read(module: str) -> frozenset[str]:
    """Attributes that a module reads, and names that it hands on as text (``getattr(config, name)``)."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    keys = {id(key) for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys}  # presets set
    text = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in keys)
    attributes = (node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return frozenset([*attributes, *(value for value in text if isinstance(value, str))])


@cache
def modules_of(module: str) -> frozenset[str]:
    """A module of methods and those of methods that it imports from, and so on; none of the base."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    below = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    own = {name for name in below if name.startswith("braincli.methods.") and name not in BASE and name in sys.modules}
    return frozenset({module}).union(*map(modules_of, own - {module}))


BASE = {"braincli.methods.base", "braincli.methods.presets", "braincli.methods.lesson", "braincli.methods.lengths",
        "braincli.methods.batch"}  # fmt: skip
LEARNING = ["braincli.methods.base", *(f"braincli.training.{m.name}" for m in iter_modules(training.__path__))]
for each in LEARNING:
    import_module(each)


def ignored(kind: type[Method]) -> set[str]:
    """Options that nothing reads."""
    own = {c.__module__ for c in kind.__mro__ if c.__module__.startswith("braincli.methods.")} - BASE
    readers = frozenset().union(*map(modules_of, own)) | (set(LEARNING) if kind.trained else set())
    return set(kind.Config.model_fields) - EVERYWHERE - frozenset().union(*map(names_read, readers))


@pytest.mark.parametrize("name", registry.METHODS)
def test_every_option_is_read(name: str) -> None:
    assert not ignored(registry.method_class(name))


def test_an_option_that_nothing_reads_is_found() -> None:
    class More(PlainConfig):
        never_read_anywhere: int = 3

    class Odd(registry.method_class("threshold")):  # type: ignore[misc]
        Config = More

    assert ignored(Odd) == {"never_read_anywhere"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"settings": {"ema": 0.9}}, "Unknown option --set ema."),
        ({"settings": {"lesson": {"vary": 1.0}}}, "Unknown option --set lesson."),
        ({"settings": {"train_batch": 3}}, "Unknown option --set train_batch."),
        ({"steps": {"main": 3}}, "--steps: threshold has nothing to train"),
        ({"batch": 4}, "--batch: threshold has nothing to train"),
        ({"compute_minutes": 4.0}, "--compute-minutes: threshold"),
        ({"init": "tsgm"}, "--init: threshold"),
    ],
)  # fmt: skip
def test_what_trains_nothing_takes_no_option_of_training(given: dict[str, object], says: str, tmp_path: Path) -> None:
    config = TrainConfig(method="threshold", device="cpu", **given)  # type: ignore[arg-type]
    with pytest.raises(UsageError) as error:
        train_cases([Case("a")], config, tmp_path / "m", Reporter())
    assert says in error.value.message and error.value.exit_code == 2
    with pytest.raises(UsageError, match="--validation: threshold"):
        train_cases(
            [Case("a")],
            TrainConfig(method="threshold", device="cpu"),
            tmp_path / "m",
            Reporter(),
            validation=[Case("b")],
        )
    assert not (tmp_path / "m" / "model.json").exists()
