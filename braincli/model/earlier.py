"""What models and trainings of earlier versions say, in today's words: the one place that knows their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Settings = dict[str, Any]

# what maps of format 1 were made with where ``model.json`` does not say: all models took TSGM's weights
MAP: Settings = {"smooth_mm": 2.0, "erode_mm": 2.0, "weights": (0.07, 0.19, 0.30, 0.44)}

# options that became part of the lesson (:class:`braincli.methods.lesson.Lesson`)
LESSON = {
    "variation": "vary", "contrast_dropout": "drop", "contrast_alone": "alone", "known_only": "leave_out",
    "with_lesions": "leave_out", "planted": "plant", "grown": "plant", "transplanted": "transplant",
}  # fmt: skip
RENAMED = {"painter": "decoder_width", "residual_resampling": "resampling"}
VALUES = {  # by option: what yes and no are called today
    "resampling": {True: "residual", False: "interpolated"}, "decay": {True: "cosine", False: "constant"},
}  # fmt: skip
# options of training that methods had of which nothing is trained
UNTRAINED = ("threshold",)
OF_TRAINING = {"train_steps", "train_batch", "ema", "clip_norm", "warmup", "decay", "contrasts", "lesson"}
# options that earlier models did not have, and presets have by now
LACKED: dict[str, Settings] = {"tsgm": {"redraw": None, "suspect": None}}


def description(content: Settings) -> Settings:
    """``model.json`` as it would be written today; of what is no such description, what it is."""
    settings, maps = content.get("settings", {}), content.get("map", {})
    if not isinstance(settings, dict) or not isinstance(maps, dict):
        return content
    method = str(content.get("method"))
    lacked = LACKED.get(method, {})
    if content.get("format", 1) != 1:
        return content | {"settings": _used(method, lacked | settings)}
    today = lacked | settings_of(method, settings)
    today = {name: value for name, value in today.items() if name not in ("slices", "map")}  # these stand beside them
    return content | {"format": 2, "settings": today, "map": MAP | maps}


def settings_of(method: str, given: Mapping[str, Any]) -> Settings:
    """Settings of ``method``, some of which may bear earlier names, under today's; those that are today's stay."""
    old = MEANT.get(method, dict)(dict(given))
    lesson = {LESSON[name]: value for name, value in old.items() if name in LESSON}
    named = {RENAMED.get(name, name): value for name, value in old.items() if name not in LESSON}
    rest: Settings = {k: VALUES[k][v] if k in VALUES and isinstance(v, bool) else v for k, v in named.items()}
    if normalisation := rest.pop("normalisation", ""):
        rest["slices"] = {"normalisation": normalisation, **rest.get("slices", {})}
    return _used(method, rest | ({"lesson": lesson | rest.get("lesson", {})} if lesson else {}))


def _used(method: str, settings: Settings) -> Settings:
    """``settings`` without those that ``method`` has always ignored."""
    ignored = OF_TRAINING if method in UNTRAINED else set()
    return {name: value for name, value in settings.items() if name not in ignored}


def _features(old: Settings) -> Settings:
    """``inside``: learn in the brain, without known lesions."""
    return {"known_only" if name == "inside" else name: value for name, value in old.items()}


def _pairs(old: Settings) -> Settings:
    """Shares of all partners became that of the planted ones, and among these that of other slices' lesions."""
    if not {"synthetic", "transplanted"} & set(old):
        return old
    synthetic, transplanted = old.pop("synthetic", 0.0), old.pop("transplanted", 0.0)
    planted = round(synthetic + transplanted, 6)
    share = round(transplanted / planted, 6) if planted else 0.0
    return old | {"planted": planted, "transplanted": share, "known_only": planted > 0}


def _grown_anomalies(old: Settings) -> Settings:
    """The share of the anomalies that were growths became that of the rows that hold one."""
    if "grown" not in old:
        return old
    clean, planted = old.get("clean", 0.5), (1 - old.get("clean", 0.5)) * old["grown"]
    return old | {"grown": planted, "known_only": planted > 0, "clean": clean / (1 - planted) if planted < 1 else 0.0}


def _patches(old: Settings) -> Settings:
    return old | ({"known_only": old["grown"] > 0} if "grown" in old else {})


MEANT: dict[str, Callable[[Settings], Settings]] = {
    "fae": _features, "rd": _features, "tsgm": _pairs, "draem": _grown_anomalies, "pii": _patches,
}  # fmt: skip
