"""Settings of earlier versions mean what they meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from braincli.methods import registry
from braincli.methods.base import MethodConfig
from braincli.model.earlier import settings_of
from braincli.model.folder import read_info

SHIPPED = sorted(path.parent for path in (Path(__file__).resolve().parents[2] / "models").glob("*/model.json"))

CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "lesson": (
        "vae",
        {"variation": 1.0, "contrast_dropout": 0.15, "known_only": True, "planted": 0.5, "rate": 0.1},
        {"lesson": {"vary": 1.0, "drop": 0.15, "leave_out": True, "plant": 0.5}, "rate": 0.1},
    ),
    "tsgm's three sources": (
        "tsgm",
        {"synthetic": 0.2, "transplanted": 0.6},
        {"lesson": {"plant": 0.8, "transplant": 0.75, "leave_out": True}},
    ),
    "features": ("fae", {"inside": True, "grown": 0.75}, {"lesson": {"leave_out": True, "plant": 0.75}}),
    "pddpm's loss is another inside": ("pddpm", {"inside": False}, {"inside": False}),
    "draem": ("draem", {"clean": 0.5, "grown": 0.5}, {"lesson": {"plant": 0.25, "leave_out": True}, "clean": 2 / 3}),
    "pii": ("pii", {"grown": 0.75}, {"lesson": {"plant": 0.75, "leave_out": True}}),
    "isct": ("isct", {"with_lesions": True}, {"lesson": {"leave_out": True}}),
    "today's": ("vae", {"lesson": {"plant": 0.1}, "rate": 0.1}, {"lesson": {"plant": 0.1}, "rate": 0.1}),
    "resampling": ("pddpm", {"residual_resampling": True}, {"resampling": "residual"}),
    "another resampling": ("diffseg", {"residual_resampling": False}, {"resampling": "interpolated"}),
    "decay": ("tsgm", {"decay": False}, {"decay": "constant"}),
    "a mere rename": ("sadm", {"painter": 24}, {"decoder_width": 24}),
}  # fmt: skip


@pytest.mark.parametrize(("method", "old", "new"), CASES.values(), ids=list(CASES))
def test_old_options_in_new_words(method: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    before = dict(old)
    assert settings_of(method, old) == new and old == before
    assert registry.options(method, "tiny", settings_of(method, old)) == registry.options(method, "tiny", new)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_what_shipped_models_learnt_is_still_said(folder: Path) -> None:
    info = read_info(folder)
    old = json.loads((folder / "model.json").read_text())
    if old["format"] > 1 or not isinstance(info.options, MethodConfig):  # or nothing is trained
        return
    held = info.options.lesson
    old = old["settings"]
    assert (held.vary, held.drop) == (old.get("variation", 0.0), old.get("contrast_dropout", 0.0))
    if "known_only" in old:
        assert (held.leave_out, held.plant) == (old["known_only"], old["planted"])
    if "synthetic" in old:  # of all pairs, those of either kind
        assert held.leave_out and held.plant * held.transplant == pytest.approx(old["transplanted"])
        assert held.plant * (1 - held.transplant) == pytest.approx(old["synthetic"])
