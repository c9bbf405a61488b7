"""What in a case a classifier of slices looks at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from braincli.detection import restore
from braincli.errors import UsageError
from braincli.imaging.cases import Case
from braincli.methods import registry
from braincli.methods.base import Method, Tick, Verdict
from braincli.model.folder import LoadedModel
from braincli.networks.attribution import attributions
from braincli.translation.explaining import ExplainJob, Explanation, shares
from braincli.translation.pictures import maps
from braincli.translation.work import Ready, SliceJob, refuse_model


@dataclass
class ExplainSlices(SliceJob, ExplainJob[LoadedModel, Ready]):
    """Explains slice by slice."""

    def verdict(self) -> Verdict:
        """The classifier of the model.

        Raises:
            ModelError: it holds none.
        """
        verdict = self.model.method.verdict()
        if verdict is None:
            able = [name for name in registry.METHODS if registry.method_class(name).verdict is not Method.verdict]
            raise refuse_model(self.model, "holds no classifier of slices", able)
        return verdict

    def refuse(self) -> None:
        name = self.verdict().name
        if self.config.of_class is not None:
            raise UsageError(
                f"{self.model.info.name} knows no classes by name: it says the {name} of each slice.",
                "Leave out --of-class.",
            )

    def given(self, case: Case) -> Ready:
        return self.sliced(case)

    def explained(self, case: Case, given: Ready) -> Explanation:
        verdict, config, slices = self.verdict(), self.config, given.slices

        def ask(given: restore.Given, rows: np.ndarray, tick: Tick) -> dict[str, Tensor | None]:
            value, saliency, activation = attributions(verdict.value, verdict.features, given["image"])
            tick()
            return {"value": value, "saliency": saliency, "cam": activation}

        parts, _ = restore.over_slices(  # in float32: gradients of bfloat16 are coarse, and this is quick
            slices, self.model, ask, title=f"explain {case.id}", batch=config.batch, on_oom=config.on_oom,
            reporter=self.reporter,
        )  # fmt: skip
        made, largest = {}, {}
        for name in ("saliency", "cam"):
            found, largest[name] = shares(parts[name] * slices.brain)
            made[name] = slices.to_volume(found[:, 0])
        values = parts["value"]
        highest = int(values.argmax())
        reading = {
            "value": verdict.name, "mean": round(float(values.mean()), 4),
            "highest": round(float(values[highest]), 4), "slice": int(slices.index[highest]),
        }  # fmt: skip
        shown = {"class activation map": made["cam"], "saliency": made["saliency"]}
        picture = partial(maps, given.images, given.brain, slices, values, verdict.name, shown)
        return Explanation(
            made["saliency"], made["cam"], largest, reading, table(verdict.name, slices.index, values), picture
        )  # fmt: skip


def table(name: str, numbers: np.ndarray, values: np.ndarray) -> str:
    """What the classifier says of each slice, as TSV."""
    lines = [f"slice\t{name}"]
    lines += [f"{number}\t{value:.4f}" for number, value in zip(numbers, values, strict=True)]
    return "\n".join(lines) + "\n"
