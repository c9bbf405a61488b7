"""All ways of training a classifier of volumes, by name. Plain data: importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from braincli.errors import UsageError

if TYPE_CHECKING:
    from braincli.classification.approaches.base import Approach, ApproachConfig

PRESETS = ("paper", "compact", "tiny")


@dataclass(frozen=True)
class Classifier:
    """One way of training: where its class is, what it does, where it comes from, what sets it apart from its class."""

    target: str  # module:class below braincli.classification.approaches
    summary: str
    paper: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content."""
        return {**asdict(self), "presets": list(PRESETS)}


WOLLEB = "Wolleb et al. 2022 (MICCAI)"
CLASSIFIERS: dict[str, Classifier] = {
    "l2i": Classifier("l2i:L2I", "learns to ignore the site: classes gather round centres of their own", WOLLEB),
    "l2i-fixed": Classifier(
        "l2i:L2I", "l2i with centres that are not learnt (ablation)", WOLLEB, {"centres": "fixed"}
    ),
    "l2i-no-margin": Classifier("l2i:L2I", "l2i without margins (ablation)", WOLLEB, {"d": 2.0, "r": 0.0}),
    "vanilla": Classifier("plain:Vanilla", "cross-entropy alone", WOLLEB),
    "class-aware": Classifier("plain:ClassAware", "cross-entropy, as many volumes of each class in a batch", WOLLEB),
    "weighted": Classifier("plain:Weighted", "cross-entropy, rare classes weighing more", WOLLEB),
    "dann": Classifier("dann:DANN", "a site classifier whose gradient is reversed", "Ganin et al. 2016 (JMLR)"),
    "unlearning": Classifier(
        "unlearning:Unlearning", "a site classifier that is to be confused", "Dinsdale et al. 2021 (NeuroImage)"
    ),
    "contrastive": Classifier(
        "contrastive:Contrastive", "supervised contrastive embedding", "Khosla et al. 2020 (NeurIPS)"
    ),
    "can": Classifier(
        "can:CAN", "contrastive adaptation to target sites without their labels", "Kang et al. 2019 (CVPR)"
    ),
}  # fmt: skip


def spec(name: str) -> Classifier:
    """The entry of ``name``.

    Raises:
        UsageError: there is none.
    """
    if name not in CLASSIFIERS:
        from braincli.methods.registry import METHODS

        slices = f" {name} works on slices: braincli train --method {name}." if name in METHODS else ""
        raise UsageError(f"There is no classifier {name!r}.", f"Choose one of: {', '.join(CLASSIFIERS)}.{slices}")
    return CLASSIFIERS[name]


def approach_class(name: str) -> type[Approach]:
    """The class of ``name``."""
    module, _, attribute = spec(name).target.partition(":")
    kind: type[Approach] = getattr(import_module(f"braincli.classification.approaches.{module}"), attribute)
    return kind


def options(
    name: str, preset: str = "compact", settings: Mapping[str, Any] | None = None, *, prefix: str = ""
) -> ApproachConfig:
    """The preset's options, overridden by ``settings``.

    Args:
        prefix: what a user writes before the name of an option, e.g. ``--set ``.

    Raises:
        UsageError: unknown classifier, preset or option, or a value out of range.
    """
    from braincli import parsing
    from braincli.classification.approaches.base import COMMON

    if preset not in PRESETS:
        raise UsageError(f"{name} has no preset {preset!r}.", f"Presets: {', '.join(PRESETS)}.")
    kind, own = approach_class(name), spec(name).settings
    chosen = {**COMMON[preset], **kind.PRESETS.get(preset, {}), **own, **(settings or {})}
    if fixed := [key for key in own if chosen[key] != own[key]]:
        raise UsageError(f"{name} is what it is by {fixed[0]}.", "Leave that out, or set it for l2i.")
    return parsing.parse(kind.Config, chosen, prefix=prefix)
