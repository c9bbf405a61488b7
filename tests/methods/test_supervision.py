"""What methods learn from is typed; the words follow from it."""

from __future__ import annotations

import pytest

from braincli.methods import registry
from braincli.methods.registry import MaskUse, Need, Supervision

NAMES = sorted(registry.METHODS)


@pytest.mark.parametrize("name", NAMES)
def test_needs_are_those_of_the_class(name: str) -> None:
    needs, kind = registry.spec(name).supervision.needs, registry.method_class(name)
    assert bool(needs) == kind.trained
    assert (Need.TISSUE_MAPS in needs) == kind.tissue
    assert (Need.HEALTHY_VOLUMES in needs) == (kind.sequence > 1)
    assert (Need.IMAGENET in needs) == hasattr(registry.options(name, "paper"), "backbone")


@pytest.mark.parametrize("name", NAMES)
def test_compact_presets_take_the_slices_that_masks_allow(name: str) -> None:
    supervision, options = registry.spec(name).supervision, registry.options(name, "compact")
    method = registry.build(name, preset="tiny", size=(32, 32))
    everything = {method.sampling(stage) for stage in method.stages} == {"any"}
    if supervision.compact_masks is MaskUse.KEEP_THE_REST:
        assert options.keep_weight > 0  # type: ignore[attr-defined]
    elif supervision.compact_masks is MaskUse.TRANSPLANTED:
        assert options.lesson.transplant > 0
    else:
        assert everything == (supervision.compact_masks is MaskUse.LEFT_OUT)


def test_outlines_are_learnt_by_the_supervised_ones() -> None:
    taught = {name for name in NAMES if registry.spec(name).supervision.outlines}
    segnets = {"segnet", "segnet-bayesian", "segnet-aleatoric"}
    assert taught == {"unet", "diffseg", "segmentation-guided", *segnets}
    assert all(Need.LESION_MASKS in s.supervision.needs for s in registry.METHODS.values() if s.supervision.outlines)


def test_words() -> None:
    assert str(Supervision()) == "none"
    assert str(registry.HEALTHY) == "healthy slices (compact: lesion masks, to leave lesions out)"
    assert str(registry.spec("unet").supervision) == "lesion masks; masks=synthetic: healthy slices"
    assert registry.table().count("\n") == len(NAMES) + 1
