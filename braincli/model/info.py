"""What a trained model says of itself, the options of its method too: ``model.json``, typed throughout."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import SerializeAsAny, SerializerFunctionWrapHandler, model_serializer, model_validator

from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.methods import registry
from braincli.methods.base import PlainConfig
from braincli.model.facts import FORMAT as FORMAT
from braincli.model.facts import WEIGHT_SUM_TOLERANCE as WEIGHT_SUM_TOLERANCE
from braincli.model.facts import WORTHLESS as WORTHLESS
from braincli.model.facts import Calibration as Calibration
from braincli.model.facts import Healthy as Healthy
from braincli.model.facts import HealthyBound as HealthyBound
from braincli.model.facts import Heritage as Heritage
from braincli.model.facts import Judged as Judged
from braincli.model.facts import Normal as Normal
from braincli.model.facts import Provenance as Provenance
from braincli.model.facts import Said, Stored
from braincli.model.facts import Training as Training
from braincli.model.facts import subset as subset
from braincli.spec import MapOptions, SliceSpec
from braincli.wording import counted

APART = ("slices", "map")  # options that the file holds beside the others


class ModelInfo(Said):
    """Contents of ``model.json``; ``options`` are an instance of the method's own ``Config``.

    It is made of ``options``, or, as the file has it, of ``settings``, ``slices`` and ``map``: what these do not say is
    the preset's.

    Raises:
        UsageError: there is no such method, preset or option.
    """

    options: SerializeAsAny[PlainConfig]

    @model_validator(mode="before")
    @classmethod
    def _with_options(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or "options" in content:
            return content
        rest = {name: value for name, value in content.items() if name not in ("settings", *APART)}
        apart = {name: _plain(content[name]) for name in APART if name in content}
        settings = dict(content.get("settings", {})) | apart
        return rest | {"options": registry.options(str(content["method"]), str(content["preset"]), settings)}

    @model_serializer(mode="wrap")
    def _as_stored(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        said = handler(self)
        options = said.pop("options")
        apart = {name: options.pop(name) for name in APART}
        known = [name for name in Stored.model_fields if name != "normal" or self.normal is not None]
        return {name: (said | {"settings": options} | apart)[name] for name in known}

    @classmethod
    def of(cls, stored: Stored) -> ModelInfo:
        """What a file says, with its options checked.

        Raises:
            UsageError: there is no such method, preset or option.
        """
        return cls.model_validate({name: getattr(stored, name) for name in Stored.model_fields})

    @property
    def slices(self) -> SliceSpec:
        """How slices are cut."""
        return self.options.slices

    @property
    def map(self) -> MapOptions:
        """How anomaly maps are made."""
        return self.options.map

    @property
    def fusion(self) -> dict[Contrast, float]:
        """Weights of the contrasts, summing to 1, where none are calibrated."""
        shares = self.map.weights
        return dict(zip(CONTRASTS, [1 / len(CONTRASTS)] * 4 if shares == "equal" else shares, strict=True))

    @property
    def unfinished(self) -> str:
        """In words what is left of its training; empty where that came to its end."""
        left = ", ".join(f"{counted(count, 'step')} of {stage}" for stage, count in self.training.left.items())
        return f"the training of {self.name} has not ended: left are {left}" if left else ""

    def calibration_for(self, contrasts: Collection[Contrast]) -> Calibration | None:
        """The calibration for scans with just these contrasts, however good; None where there is none."""
        return self.calibration if set(contrasts) == set(self.own_contrasts) else self.subsets.get(subset(contrasts))

    @property
    def own_contrasts(self) -> tuple[Contrast, ...]:
        """What :attr:`calibration` is for: all contrasts, unless the cases that it was fitted on had fewer."""
        fitted = self.calibration.provenance.contrasts if self.calibration else None
        return tuple(fitted) if fitted else self.contrasts

    def calibrated(self) -> dict[tuple[Contrast, ...], Calibration]:
        """What the model reads: every set of contrasts with a calibration that is worth something.

        The first is the model's own, whatever its figures; one for fewer counts with a DSC of WORTHLESS
        or more (cross-fitted if it was).
        """
        own = {self.own_contrasts: self.calibration} if self.calibration else {}
        parts = {tuple(Contrast(part) for part in name.split("+")): c for name, c in self.subsets.items()}
        return own | {contrasts: c for contrasts, c in parts.items() if (c.dsc is None or c.dsc >= WORTHLESS)}

    def best_for(self, contrasts: Collection[Contrast]) -> tuple[Contrast, ...] | None:
        """Of the calibrated sets that these contrasts hold, the one that keeps most weight; of equals the largest.

        Weights are those of the model's own calibration, or of its maps (:attr:`fusion`). None: no set is calibrated.
        """
        weights = (self.calibration.weights if self.calibration else {}) or self.fusion
        held = [those for those in self.calibrated() if set(those) <= set(contrasts)]
        return max(
            held, key=lambda those: (round(sum(weights.get(c, 0.0) for c in those), 4), len(those)), default=None
        )


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, SliceSpec | MapOptions) else value
