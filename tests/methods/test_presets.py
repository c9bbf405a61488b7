"""Presets: parts that several methods share stand in one place, and every preset is valid."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from braincli.methods import presets, registry
from braincli.methods.base import MethodConfig
from braincli.methods.lesson import Lesson

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


OURS = ("compact", "standard", "tiny")
PUBLISHED = [(name, p) for name, spec in registry.METHODS.items() for p in spec.presets if p not in OURS]
AVERAGED = {
    ("tsgm", "paper"): 0.999, ("dpm-classifier", "paper"): 0.9999, ("dpm-classifier-free", "paper"): 0.9999,
    ("diffseg", "paper"): 0.9999, ("regression-guided", "paper"): 0.9999, ("segmentation-guided", "paper"): 0.9999,
    ("dpm-classifier-free", "wang"): 0.9999,
    ("anoddpm", "original"): 0.9999,
}  # fmt: skip
CLIPPED = {("tsgm", "reference"): 1.0, ("anoddpm", "original"): 1.0, ("descargan", "paper"): 10.0}  # by their code


@pytest.mark.parametrize(("name", "preset"), PUBLISHED)
def test_published_presets_have_nothing_that_their_papers_lack(name: str, preset: str) -> None:
    options = registry.options(name, preset)
    assert options.map.smooth_mm == (4.0 if (name, preset) == ("rd", "paper") else 0.0)
    if name == "threshold":
        return  # nothing is trained
    assert options.lesson == Lesson(), "nothing is planted, varied or left out: the whole slice counts"
    assert options.ema == AVERAGED.get((name, preset), 0.0)
    assert options.clip_norm == CLIPPED.get((name, preset), 0.0)
    assert (options.map.weights == "equal") == (name != "tsgm")
    assert options.map.erode_mm == 0 or options.map.median == 5, "eroded by those that filter, too"


def test_batch_statistics_and_averaged_weights_do_not_meet_in_a_published_preset() -> None:
    import torch

    for name, preset in AVERAGED:
        with torch.device("meta"):
            method = registry.build(name, preset=preset)
        assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in method.modules()), name


def test_no_method_gives_an_option_of_all_methods_another_meaning() -> None:
    """Of one name and another type, it would be read by the training loop all the same."""
    shared = MethodConfig.model_fields
    for name in registry.METHODS:
        for key, field in registry.method_class(name).Config.model_fields.items():
            if key in shared and key != "contrasts":  # which some narrow
                assert field.annotation == shared[key].annotation, (name, key)


RESTORE = ("ae", "vae", "dae", "anoddpm", "pddpm")


@pytest.mark.parametrize("name", [*RESTORE, "fae", "rd", "pii", "draem"])
def test_what_sadm_is_compared_with(name: str) -> None:
    """Behrendt et al. 2024, App. A: 96 x 96 of 2 mm, SSIM maps without erosion, 1600 epochs in batches of 32."""
    options = registry.options(name, "behrendt2024")
    assert (options.slices.size, options.slices.pixel_mm, options.slices.slice_mm) == ((96, 96), 2.0, 2.0)
    assert (options.map.median, options.map.erode_mm, options.map.smooth_mm) == (5, 0.0, 0.0)
    assert (options.map.residual == "ssim3d") == (name in RESTORE)
    assert str(options.train_steps["main"]) == "1600 epochs of one slice per case"
    assert (options.train_batch, options.contrasts, options.lesson) == (32, "single", Lesson())
    if name in ("anoddpm", "pddpm"):
        assert (options.levels, options.rate) == ((250, 500, 750), 1e-5)  # type: ignore[attr-defined]
    if name in ("rd", "draem"):
        assert options.rate == 1e-4  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(registry.METHODS))
def test_every_method_says_how_it_deviates_from_its_paper(name: str) -> None:
    module = registry.spec(name).target.partition(":")[0]
    text = ast.get_docstring(ast.parse((METHODS / f"{module}.py").read_text(encoding="utf-8"))) or ""
    assert re.search(r"[Dd]eviat", text), name
    for preset in set(registry.spec(name).presets) - {"tiny"}:
        assert f"``{preset}``" in text, (name, preset)
