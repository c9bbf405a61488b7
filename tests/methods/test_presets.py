"""Presets: parts that several methods share stand in one place, and every preset is valid."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from braincli.methods import presets, registry

METHODS = Path(presets.__file__).parent
# sadm is cddpm with one stage more
EXTENSIONS = {("sadm", "cddpm")}


def test_no_method_is_a_hall_that_others_pass_through() -> None:
    own = {spec.target.partition(":")[0] for spec in registry.METHODS.values()}
    imports = set()
    for name in own:
        for node in ast.walk(ast.parse((METHODS / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("braincli.methods."):
                imports.add((name, str(node.module).removeprefix("braincli.methods.")))
    assert {(name, target) for name, target in imports if target in own} == EXTENSIONS


@pytest.mark.parametrize(
    ("name", "preset"), [(name, preset) for name, spec in registry.METHODS.items() for preset in spec.presets]
)
def test_every_listed_preset_is_valid(name: str, preset: str) -> None:
    assert set(registry.method_class(name).PRESETS) == set(registry.spec(name).presets)
    assert registry.options(name, preset) == registry.options(name, preset, {})


def test_compact_presets_share_their_augmentation() -> None:
    """One value, one place: none of them says otherwise."""
    for name in registry.METHODS:
        if name != "threshold":
            options = registry.options(name, "compact")
            assert {key: getattr(options.lesson, key) for key in presets.VARIED} == presets.VARIED, name
            assert options.contrasts == "stacked"
