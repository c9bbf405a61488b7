"""What the docstrings say of published presets is what the presets build: canvas, slices, parameters."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from itertools import product

import pytest
import torch

from braincli.methods import registry
from braincli.spec import SliceSpec

OURS = ("compact", "standard", "tiny")
PUBLISHED = [(name, p) for name, spec in registry.METHODS.items() for p in spec.presets if p not in OURS]
# numbers of parameters of networks that others published, which ours replace or take over frozen
OTHERS = {"pii": {"4.16 M"}}


def doc_of(name: str) -> str:
    module = import_module(f"braincli.methods.{registry.spec(name).target.partition(':')[0]}")
    assert module.__doc__
    return module.__doc__


def part_about(doc: str, preset: str) -> str:
    """The bullet or paragraph that begins with the preset's name, as one line; empty where there is none."""
    parts = re.split(r"\n(?=- )|\n\n|\n(?=Preset)", doc)
    about = [part for part in parts if re.match(rf"(- |Presets?:? ){re.escape(f'``{preset}``')}", part.strip())]
    return " ".join(about[0].split()) if about else ""


def told(spec: SliceSpec) -> str:
    """How a docstring puts it."""
    words = f"{spec.size[0]} x {spec.size[1]} pixels of {spec.pixel_mm:g} mm"
    words += "" if spec.slice_mm == "own" else f", {spec.slice_mm:g} mm apart"
    return words if spec.range == "all" else f"{words}, slices {spec.range[0]} to {spec.range[1]}"


@pytest.mark.parametrize(("name", "preset"), PUBLISHED)
def test_the_slices_of_a_published_preset_stand_in_its_docstring(name: str, preset: str) -> None:
    doc, spec = doc_of(name), registry.options(name, preset).slices
    about = part_about(doc, preset)
    if preset != "paper" and spec == registry.options(name, "paper").slices and told(spec) not in about:
        about = part_about(doc, "paper")  # said once
    assert told(spec) in about, f"{preset} of {name}: {told(spec)}"
    assert told(spec) + ", slices" not in about or spec.range != "all"


@cache
def counts(module: str) -> set[int]:
    """Parameters of the methods of a module and of each of their parts, with one contrast and with four."""
    found: set[int] = set()
    those = [name for name, spec in registry.METHODS.items() if spec.target.startswith(f"{module}:")]
    for name, channels in product(those, (1, 4)):
        for preset in registry.spec(name).presets:
            with torch.device("meta"):
                method = registry.build(name, preset=preset, channels=channels)
            parts = [method, *method.children()]
            found |= {sum(p.numel() for p in part.parameters()) for part in parts}
            found |= {sum(v.numel() for v in part.state_dict().values()) for part in parts}
    return found


@pytest.mark.parametrize("name", sorted(registry.METHODS))
def test_the_parameters_that_a_docstring_counts_are_there(name: str) -> None:
    doc = " ".join(doc_of(name).split())
    exact = re.findall(r"((?:\d{1,3}(?:,\d{3})+(?: \+ | \(without residual )?)+)\)?(?: student)? parameters", doc)
    numbers = {int(text.replace(",", "")) for group in exact for text in re.findall(r"\d{1,3}(?:,\d{3})+", group)}
    rounded = set(re.findall(r"(\d+\.\d+ M) parameters", doc)) - OTHERS.get(name, set())
    if not (numbers or rounded):
        pytest.skip("counts none")
    built = counts(registry.spec(name).target.partition(":")[0])
    assert numbers <= built, sorted(numbers - built)
    for text in rounded:
        assert any(f"{count / 1e6:.2f} M" == text for count in built), text
